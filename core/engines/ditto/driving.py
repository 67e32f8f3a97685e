"""Sound -> the motion that drives a face, frame by frame: features, condition rows, motion model."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from core.atomic_components.audio2motion import WINDOW, MotionRules, Predict, motion_rows
from core.atomic_components.condition import ConditionRows
from core.atomic_components.speech_features import offline_features, online_features
from core.atomic_components.windows import frame_count
from core.aux_models.hubert import WIDTH, ChunkSize, Hubert
from core.types import SAMPLES_PER_FRAME, AudioChunk

DEFAULT_CHUNK = ChunkSize()


@dataclass(frozen=True)
class Driving:
    """One clip's motion, rows (265,) float32. Online, `lead` rows of motion in silence come first.

    `source` (265,) is the source's own motion, `limits` (2, 265) or None
    the least and greatest value of each column.
    """

    hubert: Hubert
    conditions: ConditionRows
    predict: Predict
    source: np.ndarray
    rules: MotionRules
    chunk: ChunkSize = DEFAULT_CHUNK
    limits: np.ndarray | None = None

    def __call__(self, sound: Iterable[AudioChunk]) -> Iterator[np.ndarray]:
        """Rows of motion as soon as they are settled, `frame_count` of the sound in all."""
        heard = 0

        def counted() -> Iterator[AudioChunk]:
            nonlocal heard
            for chunk in sound:
                heard += len(chunk.samples)
                yield chunk

        described = (online_features if self.rules.online else offline_features)(
            counted(), self.hubert, self.chunk
        )
        return self._motion(described, lambda: frame_count(heard))

    def of_features(self, blocks: Iterable[np.ndarray], most: int = -1) -> Iterator[np.ndarray]:
        """The same of sound that is described already, blocks (n, 1024): a row of motion for each, or
        `most` where that is not -1 and the last blocks describe more than the sound."""
        seen = 0

        def counted() -> Iterator[np.ndarray]:
            nonlocal seen
            for block in blocks:
                seen += len(block)
                yield block

        return self._motion(counted(), lambda: seen if most < 0 else min(seen, most))

    @property
    def lead(self) -> int:
        """Rows that come before the clip's first: motion in the silence before it."""
        return self.rules.overlap if self.rules.online else 0

    def _motion(self, features: Iterable[np.ndarray], frames: Callable[[], int]) -> Iterator[np.ndarray]:
        """`frames` tells how many the clip has so far: the last windows show more."""
        given = -self.lead
        for piece in motion_rows(self._condition_rows(features), self.source, self.predict, self.rules):
            for row in piece[: max(0, frames() - given)]:
                yield row if self.limits is None else row.clip(*self.limits)
            given += len(piece)

    def _condition_rows(self, features: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """The rows of all frames. Online those of the silence before the clip too, numbered below 0, and
        at the end the last sound repeated until a window is complete."""
        if not self.rules.online:
            yield from self._rows(features, 0)
            return
        silence = [AudioChunk(np.zeros(self.lead * SAMPLES_PER_FRAME, np.float32), 0)]
        before = np.concatenate(
            [np.zeros((0, WIDTH), np.float32), *offline_features(silence, self.hubert, DEFAULT_CHUNK)]
        )[: self.lead]  # `frame_count` rounds a few lengths up
        yield self.conditions(before, -self.lead)
        yield from self._rows(self._completed(features), 0)

    def _rows(self, blocks: Iterable[np.ndarray], frame: int) -> Iterator[np.ndarray]:
        for block in blocks:
            yield self.conditions(block, frame)
            frame += len(block)

    def _completed(self, blocks: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        count, last = self.lead, None
        for block in blocks:
            yield block
            count, last = count + len(block), block[-1:]
        if last is not None:
            missing = (
                WINDOW - count if count < WINDOW else self.rules.step - (count - WINDOW) % self.rules.step
            )
            yield last.repeat(missing, axis=0)
