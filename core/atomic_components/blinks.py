"""When a face blinks."""

import itertools
import random
from collections.abc import Iterator, Sequence

import numpy as np

RANDOM_GAP = (60, 100)  # frames, both included


def blink_schedule(
    frames: int, length: int, gaps: int | Sequence[int], rng: random.Random
) -> np.ndarray:  # fmt: skip
    """Place in the blink of every frame: int (frames,), 0 .. length - 1 during a blink and 0 between.

    `gaps` are the frames between blinks: -1 no blinks, 0 at random, n always n, a list in turn. No blink
    begins so late that it, or the gap kept at the end, would not fit. As antgroup/ditto-talkinghead
    e9191cf6 does; with a `random.Random` of the same seed, the same blinks.
    """
    places = np.zeros(frames, np.int64)
    if gaps == -1:
        return places
    following = _gaps(gaps, rng)
    start = next(following)
    last = gaps[-1] if not isinstance(gaps, int) else next(following)
    while start < frames - max(last, length):
        places[start : start + length] = np.arange(length)
        start += length + next(following)
    return places


def _gaps(gaps: int | Sequence[int], rng: random.Random) -> Iterator[int]:
    if not isinstance(gaps, int):
        return itertools.cycle(gaps)
    return itertools.repeat(gaps) if gaps else iter(lambda: rng.randint(*RANDOM_GAP), -1)
