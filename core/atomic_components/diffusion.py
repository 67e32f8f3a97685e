"""Out of noise, a motion, step by step (DDIM with eta 1: Song et al. 2020, arXiv:2010.02502).

The coefficients are Python floats and the arithmetic is the arrays' own, so numpy arrays and tensors on any
device go through alike. All noise is handed in: same noise, same motion.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np

from core.errors import BadOption
from core.models.schedule import TIMES, alphas_cumprod


class Array(Protocol):
    """What the sampler asks of an array."""

    def __add__(self, other: Any, /) -> Any: ...

    def __rmul__(self, other: Any, /) -> Any: ...


A = TypeVar("A", bound=Array)


class Step(NamedTuple):
    """One step, from `time` down to the next: how much of the motion, of the noise that was found in it
    and of fresh noise make up what goes on."""

    time: int
    motion: float
    found: float
    fresh: float


def times(steps: int) -> np.ndarray:
    """When the network is called, then -1: int (steps + 1,), 999 falling to -1.

    Evenly spaced in float32, counted from the nearer end, and cut to whole numbers: the rounding decides
    some of them, and the published code rounds so.
    """
    index = np.arange(steps + 1)
    each = np.float32(TIMES) / np.float32(steps)
    from_low = np.float32(-1) + each * index.astype(np.float32)
    from_high = np.float32(TIMES - 1) - each * index[::-1].astype(np.float32)
    rising = np.where(index < (steps + 1) // 2, from_low, from_high)
    return rising.astype(np.int64)[::-1]


def schedule(steps: int) -> tuple[Step, ...]:
    """The steps of a run. After the last, the motion is the network's own, without any noise.

    `steps` is 1..1000; raises BadOption. Computed in float32, as the published code does.
    """
    if not 1 <= steps <= TIMES:
        raise BadOption(f"{steps} sampling steps are asked for.", f"Take 1 to {TIMES}.")
    at = times(steps)
    alpha = alphas_cumprod()
    now, after = alpha[at[:-2]], alpha[at[1:-1]]  # (steps - 1,) float32
    fresh = np.sqrt((1 - now / after) * (1 - after) / (1 - now))
    # below zero by rounding where the schedule leaves nothing at all, with 3 steps
    found = np.sqrt(np.maximum(1 - after - fresh**2, 0))
    rows = zip(at.tolist(), np.sqrt(after).tolist(), found.tolist(), fresh.tolist(), strict=False)
    return (*(Step(*row) for row in rows), Step(int(at[-2]), 1.0, 0.0, 0.0))


def sample(denoise: Callable[[A, int], tuple[A, A]], x: A, noises: Sequence[A], steps: Sequence[Step]) -> A:
    """The motion that noise `x` becomes.

    denoise(x, time) gives the noise found in x and the motion beneath it, shaped like x; `noises` is the
    fresh noise of every step but the last.
    """
    for step, noise in zip(steps[:-1], noises, strict=True):
        found, motion = denoise(x, step.time)
        x = step.motion * motion + step.found * found + step.fresh * noise
    return denoise(x, steps[-1].time)[1]
