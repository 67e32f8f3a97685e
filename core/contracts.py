"""The seams of the house: what doors may ask of an engine, and how an engine is put together."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from core.options import Crop, GenerationOptions
from core.types import AudioChunk, AvatarSource, Frame, RegisteredAvatar


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do.

    `acts_on` names the options that have an effect, `video_only` those of them that an image does not
    feel, `idle_controls` the fields of a FrameControl that have none, `needs` the option without which
    another has none; `defaults` are option values that the engine's files bring in place of the table's.
    `prefetch` is the number of frames that may be made ahead on a thread of their own (0: none).
    """

    acts_on: frozenset[str]
    prefetch: int = 0
    video_only: frozenset[str] = frozenset()
    idle_controls: frozenset[str] = frozenset()
    needs: Mapping[str, str] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


class StageClock:
    """Seconds spent per named stage, each without what the stages inside it took.

    Threads may share a clock as long as each stage runs on one thread only.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._local = threading.local()

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        inner: list[float] = self._local.__dict__.setdefault("inner", [])
        started = time.perf_counter()
        inner.append(0.0)
        try:
            yield
        finally:
            elapsed = time.perf_counter() - started
            self.seconds[name] = self.seconds.get(name, 0.0) + elapsed - inner.pop()
            if inner:
                inner[-1] += elapsed


class Network(Protocol):
    """A network ready for use: named arrays in, named arrays out, whatever runs it.

    Holds weights and nothing else, so that threads and sessions may share it.
    """

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Arrays as the network's NetworkSpec names and shapes them. Raises OutOfMemory, ComputeError."""
        ...

    def close(self) -> None: ...


class Engine(Protocol):
    """The only seam that doors know. One engine, shared: it holds weights, never a session's state."""

    name: str
    capabilities: Capabilities

    @property
    def loaded(self) -> Mapping[str, Path]:
        """The files in use by role; a folder where a package brings them."""
        ...

    def fingerprint(self, source: AvatarSource, crop: Crop) -> str:
        """The content key (hex) of a registration: same content, options, engine and weights, same key."""
        ...

    def register(
        self, source: AvatarSource, crop: Crop, progress: Callable[[float], None] = lambda fraction: None
    ) -> RegisteredAvatar:
        """Make a portrait ready. Raises InputError (NoFace, BadImage, TooLong)."""
        ...

    def preview(self, avatar: RegisteredAvatar) -> np.ndarray:
        """The avatar at rest, uint8 (H, W, 3), for galleries."""
        ...

    def canvas_size(self, avatar: RegisteredAvatar, options: GenerationOptions) -> tuple[int, int]:
        """(width, height) of the frames that `animate` gives."""
        ...

    def lookahead(self, options: GenerationOptions) -> int:
        """Samples of sound that must follow a frame's own before it is given; at most, with such options."""
        ...

    def animate(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        """Frames as soon as the sound for them is there; `frame_count(samples)` in all."""
        ...

    def close(self) -> None: ...


def warnings(
    engine: Engine, given: Iterable[str], options: GenerationOptions, is_image: bool
) -> tuple[str, ...]:
    """One line for every option, and control of single frames, that the caller gave and that cannot act on
    this engine or source."""
    able = engine.capabilities
    lines = []
    for name in given:
        if name not in able.acts_on:
            lines.append(f"Option '{name}' has no effect with engine '{engine.name}'.")
        elif is_image and name in able.video_only:
            lines.append(f"Option '{name}' has an effect on videos alone; the source is an image.")
        elif not _met(able.needs.get(name, ""), options):
            lines.append(f"Option '{name}' has no effect without '{able.needs[name]}'.")
    asked = {name for control in options.ctrl_info.values() for name in control.model_fields_set}
    asked |= options.stitch.overall_ctrl_info.model_fields_set
    for name in sorted(asked & able.idle_controls):
        lines.append(f"'{name}' in ctrl_info has no effect with engine '{engine.name}'.")
    return tuple(lines)


def _met(needed: str, options: GenerationOptions) -> bool:
    """Whether an option that another needs is set; none is needed where the name is empty."""
    groups = (options.crop, options.motion, options.expression, options.stitch, options.output)
    return not needed or any(getattr(group, needed, None) not in (None, False) for group in groups)
