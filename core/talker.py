"""The one composition: an engine, a registered avatar and a stream of sound give a talking head.

`Session` gives frames as they come; `clip` sends them to a file. Both are generators: whoever stops
pulling stops the work, and closing them leaves neither a thread nor a half-written file.
"""

import math
import time
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from core.contracts import Engine, StageClock
from core.errors import BadOption
from core.media.audio import AudioLimits, open_audio
from core.media.writer import VideoWriter
from core.optimization.parallel_processing import close_upstream, overlap
from core.option_table import check_frames
from core.options import GenerationOptions
from core.settings import Settings
from core.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk, Frame, RegisteredAvatar

_UNSURE = 2  # frames by which the length that a file announces may be off
CHUNK = 10 * SAMPLES_PER_FRAME  # 0.4 s: the first frame comes early, memory stays small


@dataclass(frozen=True)
class Progress:
    """How far a clip is; `fraction` and `eta_s` are None while the length of the sound is unknown."""

    stage: str
    fraction: float | None
    eta_s: float | None


@dataclass(frozen=True)
class ClipInfo:
    """What was made, and how fast. `loudness` (RMS) and `opening` (lips, 0..1) have a value a frame."""

    output: Path
    frames: int
    duration_s: float
    size: tuple[int, int]
    ffd_ms: float
    rtf: float
    stages_ms: dict[str, float]
    notes: tuple[str, ...]
    loudness: list[float] = field(repr=False)
    opening: list[float] = field(repr=False)


def audio_limits(settings: Settings) -> AudioLimits:
    """What speech may be, from the settings."""
    return AudioLimits(max_bytes=int(settings.max_audio_mib * 2**20), max_seconds=settings.max_audio_s)


class Session:
    """One listener's stream: holds the random state, never weights."""

    def __init__(self, engine: Engine, avatar: RegisteredAvatar, options: GenerationOptions) -> None:
        self.clock = StageClock()
        self._engine, self._avatar, self._options = engine, avatar, options
        self._rng = np.random.default_rng(options.motion.seed)

    def frames(self, audio: Iterable[AudioChunk]) -> Generator[Frame, None, None]:
        """Frames in order, each as soon as the sound for it is there; a generator of sound is closed then."""
        made = self._engine.animate(self._avatar, iter(audio), self._options, self._rng, self.clock)
        try:
            yield from overlap(made, self._engine.capabilities.prefetch)
        finally:
            close_upstream(audio)  # now, not only when the traceback of an error is forgotten


class _Loudness:
    """Passes sound through and notes its RMS per frame."""

    def __init__(self, chunks: Iterable[AudioChunk], clock: StageClock) -> None:
        self._chunks, self._clock = chunks, clock
        self._rest = np.zeros(0, np.float32)
        self.seconds = 0.0
        self.values: list[float] = []

    def __iter__(self) -> Iterator[AudioChunk]:
        chunks = iter(self._chunks)
        while True:
            with self._clock.stage("audio"):
                chunk = next(chunks, None)
            if chunk is None:
                break
            self.seconds += len(chunk.samples) / SAMPLE_RATE
            sound = np.concatenate([self._rest, chunk.samples])
            whole = len(sound) // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME
            blocks = sound[:whole].reshape(-1, SAMPLES_PER_FRAME)
            self.values += np.sqrt((blocks**2).mean(1)).tolist()
            self._rest = sound[whole:]
            yield chunk
        if len(self._rest):
            self.values.append(float(np.sqrt((self._rest**2).mean())))


def clip(
    engine: Engine,
    avatar: RegisteredAvatar,
    audio: Path,
    output: Path,
    options: GenerationOptions,
    limits: AudioLimits,
) -> Generator[Progress, None, ClipInfo]:
    """Make an mp4: yields progress, returns (StopIteration.value) what was made.

    Raises InputError for the sound or the output's place, EncodeFailed where writing fails; then, and
    when closed before its end, no file is left.
    """
    started = time.perf_counter()
    sound = open_audio(audio, limits)
    session = Session(engine, avatar, options)
    clock = session.clock
    chunks = sound.chunks(CHUNK)
    heard = _Loudness(chunks, clock)
    expected = sound.duration_s * FPS if sound.duration_s else None
    if expected:
        check_frames(options, math.ceil(expected) + (0 if sound.exact else _UNSURE))
    opening: list[float] = []
    first = 0.0
    size = engine.canvas_size(avatar, options)
    with (
        closing(chunks),
        VideoWriter(output, size, audio=audio) as writer,
        closing(session.frames(heard)) as frames,
    ):
        for frame in frames:
            first = first or time.perf_counter()
            with clock.stage("encode"):
                writer.write(frame.rgb)
            opening.append(frame.opening)
            yield _progress(len(opening), expected, started)
        yield Progress("mux", 1.0, 0.0)
        with clock.stage("encode"):
            writer.close()
    wall = time.perf_counter() - started
    return ClipInfo(
        output=output,
        frames=len(opening),
        duration_s=len(opening) / FPS,
        size=size,
        ffd_ms=1000 * (first - started),
        rtf=wall / heard.seconds,
        stages_ms={name: 1000 * seconds for name, seconds in clock.seconds.items()},
        notes=avatar.notes + sound.notes + _beyond(options, len(opening)),
        loudness=heard.values,
        opening=opening,
    )


def _beyond(options: GenerationOptions, frames: int) -> tuple[str, ...]:
    """A note where controls are meant for frames after the last one: the sound was shorter than announced."""
    try:
        check_frames(options, frames)
    except BadOption as error:
        return (error.message,)
    return ()


def _progress(done: int, expected: float | None, started: float) -> Progress:
    if not expected:
        return Progress("frames", None, None)
    fraction = min(done / expected, 1.0)
    elapsed = time.perf_counter() - started
    return Progress("frames", fraction, elapsed * (1 - fraction) / max(fraction, 1e-6))
