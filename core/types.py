"""The nouns of the house. Arrays are numpy; shapes, units and ranges stand beside them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16_000  # Hz, mono, everywhere below the media room
FPS = 25  # video frames a second, everywhere
SAMPLES_PER_FRAME = SAMPLE_RATE // FPS  # 640


@dataclass(frozen=True)
class AudioChunk:
    """Consecutive samples of one stream: float32 (n,), -1..1, 16 kHz mono; `start` in samples."""

    samples: np.ndarray
    start: int


@dataclass(frozen=True)
class Frame:
    """One finished picture: rgb uint8 (H, W, 3); shown at `index / FPS` seconds.

    `opening` is how far the lips were driven apart, 0 closed .. 1 widest, for plots.
    """

    index: int
    rgb: np.ndarray
    opening: float = 0.0

    @property
    def time(self) -> float:
        return self.index / FPS


@dataclass(frozen=True)
class AvatarSource:
    """A portrait as handed in: a path, or the bytes of a file. Image or video is told by content."""

    path: Path | None = None
    data: bytes | None = None


@dataclass(frozen=True)
class RegisteredAvatar:
    """A portrait made ready once, for any number of clips.

    `arrays` go to a safetensors file and may come back memory-mapped and read-only; `meta` is JSON.
    `size` is (width, height) of the source after the size rule. `key` names the content: equal
    sources registered with equal options by equal code have equal keys.
    """

    key: str
    engine: str
    is_image: bool
    n_frames: int
    size: tuple[int, int]
    arrays: Mapping[str, np.ndarray]
    meta: Mapping[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
