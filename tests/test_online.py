"""Online: what comes when, and that nothing grows."""

import tracemalloc
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from core.atomic_components.audio2motion import MotionRules, motion_rows
from core.atomic_components.condition import ConditionRows, Face, emotion_vectors
from core.atomic_components.windows import frame_count
from core.aux_models.hubert import Hubert
from core.engines.ditto.driving import Driving
from core.types import AudioChunk
from scripts.parity.kit import stub_hubert

FACE = Face(np.full((1, 2), 0.5), np.zeros((1, 6)), np.zeros(63))
SOURCE = np.zeros(265, np.float32)


def wave(condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """A motion that goes on from its condition, and a little of its own in every window."""
    time = np.arange(80)[:, None] + 7 * float(np.abs(rows[0, :8]).sum())
    return (0.9 * condition + 0.3 * np.sin(0.2 * time + np.arange(265))).astype(np.float32)


class Hearing:
    """The kit's stand-in for HuBERT; keeps nothing."""

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"encoding_out": stub_hubert(arrays["input_values"][0])}

    def close(self) -> None: ...


def driving(rules: MotionRules) -> Driving:
    hubert = Hubert(Hearing())
    rows = ConditionRows(FACE, emotion_vectors([[4]]))
    return Driving(hubert, rows, wave, SOURCE, rules)


def sound(samples: int, step: int = 640) -> Iterator[AudioChunk]:
    rng = np.random.default_rng(0)
    for start in range(0, samples, step):
        yield AudioChunk(rng.uniform(-0.3, 0.3, min(step, samples - start)).astype(np.float32), start)


def heard_before(rules: MotionRules, frame: int) -> float:
    """Seconds of sound that are needed before a frame of the clip comes out."""
    heard = 0

    def counted() -> Iterator[AudioChunk]:
        nonlocal heard
        for piece in sound(160_000, 160):
            heard += len(piece.samples)
            yield piece

    made = driving(rules)
    for number, _ in enumerate(made(counted())):
        if number - made.lead == frame:
            return heard / 16_000
    raise AssertionError


ONLINE = MotionRules(overlap=70, online=True)
EARLY = MotionRules(overlap=70, online=True, early=True)


def test_low_latency_is_half_a_second() -> None:
    assert heard_before(ONLINE, 0) == pytest.approx(0.89, abs=0.01)  # 20 rows, 2 of look-ahead, 80 samples
    assert heard_before(EARLY, 0) <= 0.5
    assert heard_before(EARLY, 10) == pytest.approx(heard_before(EARLY, 0) + 0.4, abs=0.01)
    assert heard_before(MotionRules(overlap=75, online=True, early=True), 0) <= 0.3


@pytest.mark.parametrize("overlap", [0, 5, 40, 70, 79])
@pytest.mark.parametrize("samples", [1, 640, 16_000, 51_234])
def test_low_latency_gives_every_frame_once(overlap: int, samples: int) -> None:
    made = driving(MotionRules(overlap=overlap, online=True, early=True))
    rows = list(made(sound(samples)))[made.lead :]
    assert len(rows) == frame_count(samples)


@pytest.mark.parametrize("overlap", [40, 70, 75])
def test_low_latency_has_no_seams(overlap: int) -> None:
    """From one window to the next the motion goes on; without the lead it would jump."""

    def steps(rules: MotionRules) -> np.ndarray:
        made = driving(rules)
        rows = np.stack(list(made(sound(160_000))))[made.lead :]
        return np.abs(np.diff(rows[:, 202:], axis=0)).max(1)

    seam = 80 - overlap
    early, faded = (steps(MotionRules(overlap=overlap, online=True, early=e)) for e in (True, False))
    inside = np.delete(early, np.arange(seam - 1, len(early), seam))
    assert early[seam - 1 :: seam].max() <= 1.3 * inside.max()
    assert early.max() < 1.5 * faded.max() + 0.05
    raw = _unled(overlap)
    assert raw.max() > 2 * early.max(), "the test's motion does jump where windows are just put together"


def _unled(overlap: int) -> np.ndarray:
    windows: list[np.ndarray] = []

    def predict(condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        windows.append(wave(condition, rows))
        return windows[-1]

    made = driving(MotionRules(overlap=overlap, online=True, early=True))
    list(motion_rows(made._condition_rows(features(160_000)), SOURCE, predict, made.rules))
    ends = [(a[-1, 202:], b[overlap, 202:]) for a, b in pairwise(windows)]
    return np.array([np.abs(after - before).max() for before, after in ends])


def features(samples: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(1)
    for _ in range(frame_count(samples) // 5):
        yield rng.normal(0, 1, (5, 1024)).astype(np.float32)


@pytest.mark.parametrize("online", [False, True])
def test_an_hour_needs_no_more_memory_than_a_minute(online: bool) -> None:
    """Six minutes are enough to see whether something is kept: an hour of frames would be ten times that."""

    def peak(samples: int) -> int:
        tracemalloc.start()
        rows = driving(MotionRules(overlap=40, online=online))(sound(samples, 16_000))
        count = sum(1 for _ in rows)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count >= frame_count(samples)
        return found

    assert peak(16_000 * 360) < 1.1 * peak(16_000 * 60) + 100_000


@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("overlap", range(80))
def test_every_frame_is_its_own_at_every_overlap(overlap: int, early: bool) -> None:
    """The motion model answers with the number that stands in its condition: 1 for the clip's first frame."""

    def numbered(condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return np.repeat(rows[:, :1], 265, axis=1).astype(np.float32)

    def blocks() -> Iterator[np.ndarray]:
        for start in range(0, 55, 5):
            yield np.repeat(np.arange(start, start + 5)[:, None] + 1.0, 1024, axis=1)

    rules = MotionRules(overlap=overlap, smooth=1, online=True, early=early)
    made = replace(driving(rules), predict=numbered)
    rows = list(made.of_features(blocks(), 53))
    assert len(rows) == overlap + 53
    np.testing.assert_allclose([row[-1] for row in rows[overlap:]], np.arange(1, 54), atol=1e-3)
