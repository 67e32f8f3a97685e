"""The diffusion model of motion, as the function that windows are made with."""

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from core.atomic_components.audio2motion import WINDOW
from core.atomic_components.diffusion import Step, sample, schedule
from core.atomic_components.keypoints import MOTION_WIDTH
from core.contracts import Network

_SHAPE = (1, WINDOW, MOTION_WIDTH)


class Noise(Protocol):
    """The noise of one session, standard normal float32 (1, 80, 265) each."""

    @property
    def steps(self) -> Sequence[np.ndarray]:
        """That of every step but the last: the same for all windows, as upstream has it."""
        ...

    def start(self) -> np.ndarray:
        """What the next window begins as."""
        ...


class SeededNoise:
    """Noise out of a session's own random numbers: same seed, same motion, whatever runs the network."""

    def __init__(self, rng: np.random.Generator, steps: int) -> None:
        self._rng = rng
        self.steps: Sequence[np.ndarray] = [self.start() for _ in range(steps - 1)]

    def start(self) -> np.ndarray:
        return self._rng.standard_normal(_SHAPE, dtype=np.float32)


class MotionModel:
    """Condition frame (265,) and rows (80, C) -> motion (80, 265); see `audio2motion.Predict`.

    Raises BadOption for fewer than one step or more than 1000.
    """

    def __init__(self, lmdm: Network, steps: int, noise: Noise) -> None:
        self._lmdm, self._noise = lmdm, noise
        self._steps: tuple[Step, ...] = schedule(steps)

    def __call__(self, condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        cond_frame = np.ascontiguousarray(condition[None], np.float32)
        cond = np.ascontiguousarray(rows[None], np.float32)

        def denoise(x: np.ndarray, time: int) -> tuple[np.ndarray, np.ndarray]:
            time_cond = np.array([time], np.int64)
            out = self._lmdm({"x": x, "cond_frame": cond_frame, "cond": cond, "time_cond": time_cond})
            return out["pred_noise"], out["x_start"]

        return sample(denoise, self._noise.start(), self._noise.steps, self._steps)[0]
