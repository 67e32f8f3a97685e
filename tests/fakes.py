"""Stand-ins without weights: they prove the pipeline, not the pictures."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from core.atomic_components.windows import frame_count
from core.contracts import Capabilities, StageClock
from core.options import Crop, GenerationOptions
from core.types import AudioChunk, AvatarSource, Frame, RegisteredAvatar


def chunks_of(samples: np.ndarray, size: int) -> Iterator[AudioChunk]:
    """Sound cut into chunks of `size` samples."""
    for start in range(0, len(samples), size):
        yield AudioChunk(samples[start : start + size], start)


class FakeEngine:
    """Frames whose pixels tell their index; loud sound is bright."""

    name = "fake"
    loaded: Mapping[str, Path] = {}

    def __init__(self, prefetch: int = 0, fail_at: int | None = None) -> None:
        self.capabilities = Capabilities(acts_on=frozenset(("seed",)), prefetch=prefetch)
        self.fail_at = fail_at
        self.registrations = 0
        self.closed_streams = 0

    def fingerprint(self, source: AvatarSource, crop: Crop) -> str:
        return bytes(source.data or str(source.path).encode()).hex()[:40].ljust(40, "0")

    def register(
        self, source: AvatarSource, crop: Crop, progress: Callable[[float], None] = lambda fraction: None
    ) -> RegisteredAvatar:
        self.registrations += 1
        progress(1.0)
        rgb = np.full((64, 64, 3), 90, np.uint8)
        return RegisteredAvatar(self.fingerprint(source, crop), self.name, True, 1, (64, 64), {"rgb": rgb})

    def preview(self, avatar: RegisteredAvatar) -> np.ndarray:
        return avatar.arrays["rgb"]

    def canvas_size(self, avatar: RegisteredAvatar, options: GenerationOptions) -> tuple[int, int]:
        return avatar.size

    def lookahead(self, options: GenerationOptions) -> int:
        return 0

    def animate(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        try:
            total, index = 0, 0
            for chunk in audio:
                total += len(chunk.samples)
                while (index + 1) * 640 <= total:
                    yield self._frame(index, clock)
                    index += 1
            while index < frame_count(total):
                yield self._frame(index, clock)
                index += 1
        finally:
            self.closed_streams += 1

    def _frame(self, index: int, clock: StageClock) -> Frame:
        if index == self.fail_at:
            raise RuntimeError("the renderer broke")
        with clock.stage("render"):
            return Frame(index, np.full((64, 64, 3), index % 256, np.uint8), 0.5)

    def close(self) -> None:
        pass
