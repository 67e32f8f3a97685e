"""Exactly N frames, the same values, whatever the length, the overlap and the chunks."""

import math

import numpy as np
import pytest

from core.atomic_components.windows import frame_count, join, windows

OVERLAPS = (0, 5, 10, 20, 40, 70, 75)


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)


def pieces(stream: np.ndarray, size: int) -> list[np.ndarray]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_identity_gives_every_row_back(overlap: int) -> None:
    for n in range(1, 402):
        stream = rows(n)
        out = np.concatenate(list(join(windows(pieces(stream, 50), 80, overlap), overlap, lambda w: w)))
        assert out.shape == stream.shape, n
        np.testing.assert_allclose(out, stream, atol=1e-5)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_chunks_do_not_matter(overlap: int) -> None:
    def predict(window: np.ndarray) -> np.ndarray:  # depends on where a row lies in its window
        return window * np.linspace(1, 2, len(window), dtype=np.float32)[:, None]

    for n in (1, 7, 79, 80, 81, 160, 333):
        stream = rows(n)
        whole = np.concatenate(list(join(windows([stream], 80, overlap), overlap, predict)))
        for size in (1, 5, 50, 79):
            part = np.concatenate(list(join(windows(pieces(stream, size), 80, overlap), overlap, predict)))
            np.testing.assert_array_equal(part, whole)


def test_fuse_weights_are_dittos() -> None:
    """The new window's weight is i / overlap: 0 on the first shared row."""
    calls = iter((0.0, 1.0))
    stream = rows(150)
    out = np.concatenate(list(join(windows([stream], 80, 10), 10, lambda w: np.full_like(w, next(calls)))))
    np.testing.assert_allclose(out[70:80, 0], np.arange(10) / 10, atol=1e-6)
    assert not out[:70].any()
    assert (out[80:] == 1).all()


def test_rows_come_as_soon_as_they_are_final() -> None:
    pulled = 0

    def source():
        nonlocal pulled
        for chunk in pieces(rows(400), 10):
            pulled += len(chunk)
            yield chunk

    first = next(join(windows(source(), 80, 70), 70, lambda w: w))
    assert len(first) == 10
    assert pulled == 80


def test_no_rows_no_windows() -> None:
    assert list(windows([], 80, 10)) == []
    assert list(join([], 10, lambda w: w)) == []


def test_overlap_must_leave_a_step() -> None:
    with pytest.raises(ValueError, match="overlap 80"):
        list(windows([rows(5)], 80, 80))


def test_frame_count_is_upstreams_floating_point() -> None:
    assert frame_count(252_075) == 394
    assert frame_count(640) == 1
    assert frame_count(641) == 2
    assert frame_count(4480) == 8  # exact arithmetic says 7
    assert all(frame_count(n) - math.ceil(n / 640) in (0, 1) for n in range(1, 20_000))
