"""Windows at the same places whatever the chunks, and the number of frames for a sound."""

import math

import numpy as np
import pytest

from core.atomic_components.windows import frame_count, windows

OVERLAPS = (0, 5, 10, 20, 40, 70, 75)


def rows(n: int) -> np.ndarray:
    return np.random.default_rng(n).normal(size=(n, 3)).astype(np.float32)


def pieces(stream: np.ndarray, size: int) -> list[np.ndarray]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]


@pytest.mark.parametrize("overlap", OVERLAPS)
@pytest.mark.parametrize("n", [1, 7, 79, 80, 81, 160, 333])
def test_windows_lie_at_fixed_places(n: int, overlap: int) -> None:
    stream = rows(n)
    whole = list(windows([stream], 80, overlap))
    starts = range(0, n, 80 - overlap)
    assert len(whole) == len(starts)
    for start, window in zip(starts, whole, strict=True):
        assert window.shape == (80, 3)
        shown = stream[start : start + 80]
        np.testing.assert_array_equal(window[: len(shown)], shown)
        np.testing.assert_array_equal(window[len(shown) :], stream[-1:].repeat(80 - len(shown), 0))
    for size in (1, 5, 50, 79):
        np.testing.assert_array_equal(list(windows(pieces(stream, size), 80, overlap)), whole)


@pytest.mark.parametrize("overlap", OVERLAPS)
def test_unpadded_windows_are_complete(overlap: int) -> None:
    for n in (79, 80, 81, 333):
        expected = len(range(0, n - 79, 80 - overlap))
        assert len(list(windows([rows(n)], 80, overlap, padded=False))) == expected


def test_a_window_comes_as_soon_as_it_is_full() -> None:
    pulled = 0

    def source():
        nonlocal pulled
        for chunk in pieces(rows(400), 10):
            pulled += len(chunk)
            yield chunk

    made = windows(source(), 80, 10)
    next(made)
    assert pulled == 80
    next(made)
    assert pulled == 150


def test_no_rows_no_windows() -> None:
    assert not list(windows([], 80, 10))


@pytest.mark.parametrize("overlap", [-1, 80, 99])
def test_impossible_overlaps(overlap: int) -> None:
    with pytest.raises(ValueError, match="overlap"):
        next(windows([rows(3)], 80, overlap))


def test_frame_count() -> None:
    assert [frame_count(n) for n in (1, 639, 640, 641, 16000, 16001)] == [1, 1, 1, 2, 25, 26]
    assert frame_count(4480) == 8  # in floating point, one more than 4480 / 640
    for n in range(1, 40000, 7):
        assert frame_count(n) - math.ceil(n / 640) in (0, 1)
