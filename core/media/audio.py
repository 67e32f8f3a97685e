"""Speech in: any sound file, or a video's sound, becomes 16 kHz mono chunks, lazily.

The samples equal those of `librosa.load(path, sr=16000)`: the mean of the channels, libsoxr HQ, and
ceil(n * 16000 / rate) samples in all, however the stream is cut. Samples beyond full scale are clipped
before resampling, which itself may overshoot by a few percent. Memory does not grow with length.
"""

import os
import struct
from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import soxr
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from core.errors import BadAudio, TooLong
from core.media.container import Damage, announced_seconds, check_size, decoded, describe, known, open_input
from core.types import SAMPLE_RATE, AudioChunk

MIN_SECONDS = 0.01  # less is no sound
MIN_DAMAGED_SECONDS = 0.1  # a damaged file is used if at least so much of it can be decoded
_LOUD = 2.0  # peaks up to here are what lossy codecs do; above, the scale itself is wrong
_RATES = (1_000, 768_000)  # Hz; a header beyond is a lie, and one of few Hz would blow up the resampler
_MOST_CHUNKS = 64  # of a WAV file before its sound
_STREAMED = 0xFFFF_FF00  # a length from here on means: until the end
_COUNTED = {"wav", "w64", "flac", "aiff", "au"}  # their length is a number of samples
_ESTIMATED = {"mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegts"}  # they announce no exact length


@dataclass(frozen=True)
class AudioLimits:
    """What speech may be: bytes of the file, seconds of sound."""

    max_bytes: int = 200 * 2**20
    max_seconds: float = 2 * 3600.0


@dataclass(frozen=True)
class AudioFile:
    """A checked sound file, decoded anew by each iteration.

    `sample_rate` (Hz), `channels` and `speakers` (one name a channel, "" where unknown) are those of
    the file; `duration_s` is what the file announces, None if it does not, `exact` whether that is counted
    in samples. `notes` are for the user;
    those about the sound itself come while it is decoded.
    """

    path: Path
    limits: AudioLimits
    sample_rate: int
    speakers: tuple[str, ...]
    duration_s: float | None
    exact: bool = False
    _notes: dict[str, None] = field(default_factory=dict, repr=False)

    @property
    def channels(self) -> int:
        return len(self.speakers)

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def blocks(self) -> Generator[np.ndarray, None, None]:
        """The sound as it is: float32 (channels, n), n > 0, within -1..1, at `sample_rate`.

        Parts that cannot be decoded, or come at another rate or with other channels, are left out.
        Raises BadAudio where it is not finite, mostly undecodable or too short, TooLong past the limit.
        """
        heard = 0
        damage = Damage()
        with open_input(self.path, BadAudio) as container:
            stream = _stream(container, self.path)
            for frame in _frames(container, stream, damage):
                block = _floats(frame)
                if frame.sample_rate != self.sample_rate or len(block) != self.channels:
                    damage.good, damage.failed = damage.good - 1, damage.failed + 1
                    continue
                heard += block.shape[1]
                self._check(block, heard)
                yield np.clip(block, -1, 1)
            exact = container.format.name not in _ESTIMATED
            announced = announced_seconds(container, stream) if exact else None
        self._check_end(heard / self.sample_rate, announced, damage)

    def chunks(self, samples: int = 32_000) -> Generator[AudioChunk, None, None]:
        """16 kHz mono chunks of `samples` each, the last one shorter. Raises as `blocks` does."""
        waiting: list[np.ndarray] = []
        have = start = 0
        with closing(self._resampled()) as pieces:
            for piece in pieces:
                waiting.append(piece)
                have += len(piece)
                if have < samples:
                    continue
                sound = np.concatenate(waiting)
                whole = have // samples * samples
                for at in range(0, whole, samples):
                    yield AudioChunk(sound[at : at + samples], start + at)
                start += whole
                have -= whole
                waiting = [sound[whole:]]
        if have:
            yield AudioChunk(np.concatenate(waiting), start)

    def _resampled(self) -> Generator[np.ndarray, None, None]:
        with closing(self.blocks()) as blocks:
            mono = (block.mean(axis=0) for block in blocks)
            if self.sample_rate == SAMPLE_RATE:
                yield from mono
                return
            stream = soxr.ResampleStream(self.sample_rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
            heard = made = 0
            for block in mono:
                heard += len(block)
                piece = stream.resample_chunk(block)
                made += len(piece)
                yield piece
            tail = stream.resample_chunk(np.zeros(0, np.float32), last=True)
            missing = -(-heard * SAMPLE_RATE // self.sample_rate) - made
            yield np.pad(tail, (0, max(0, missing - len(tail))))[:missing]

    def _check(self, block: np.ndarray, heard: int) -> None:
        name, seconds = describe(self.path), heard / self.sample_rate
        if not np.isfinite(block).all():
            raise BadAudio(f"{name} has samples that are not numbers (NaN or infinite) near {seconds:.1f} s.")
        if seconds > self.limits.max_seconds:
            raise _too_long(name, f"more than {self.limits.max_seconds:.0f} s", self.limits)
        if np.abs(block).max() > _LOUD:
            self._notes[f"{name} has samples far beyond full scale; they were clipped."] = None

    def _check_end(self, seconds: float, announced: float | None, damage: Damage) -> None:
        name = describe(self.path)
        if damage.hopeless or (damage.any and seconds < MIN_DAMAGED_SECONDS):
            raise _damaged(name, seconds)
        if seconds < MIN_SECONDS:
            raise BadAudio(
                f"{name} holds only {seconds * 1000:.1f} ms of sound.",
                f"At least {MIN_SECONDS * 1000:.0f} ms are needed.",
            )
        if announced is not None and seconds < announced - MIN_DAMAGED_SECONDS:
            self._notes[_ends_early(name, seconds, announced)] = None
        elif damage.any:
            self._notes[f"{name} is damaged in places; what can be decoded is used."] = None


def open_audio(path: Path, limits: AudioLimits) -> AudioFile:
    """Check a sound file and decode its first 0.1 s.

    Raises BadPath (missing), BadAudio (a folder, empty, no sound in it, too short, not decodable),
    TooLong (bytes; seconds if the file announces them).
    """
    size = check_size(path, limits.max_bytes, BadAudio)
    with open_input(path, BadAudio) as container:
        stream = _stream(container, path)
        seconds, codec = announced_seconds(container, stream), stream.codec_context
        lost = 0.0
        if seconds is not None and codec.name.startswith("pcm_") and codec.bit_rate:
            seconds = min(seconds, size * 8 / codec.bit_rate)  # a header may lie, the size does not
            lost = _missing_bytes(path, size) * 8 / codec.bit_rate
        first = next(_frames(container, stream, Damage()), None)
        counted = container.format.name in _COUNTED
    if first is None:
        raise BadAudio(f"{describe(path)} holds no sound that can be decoded.")
    if seconds is not None and seconds > limits.max_seconds:
        raise _too_long(describe(path), f"{seconds:.0f} s", limits)
    if not _RATES[0] <= first.sample_rate <= _RATES[1]:
        raise BadAudio(
            f"{describe(path)} has {first.sample_rate} samples a second.", "8 to 96 kHz are usual."
        )
    speakers = tuple("" if c.name == "NONE" else c.name for c in first.layout.channels)
    sound = AudioFile(path, limits, first.sample_rate, speakers, seconds, counted)
    heard = 0.0
    with closing(sound.blocks()) as blocks:
        for block in blocks:
            heard += block.shape[1] / sound.sample_rate
            if heard >= MIN_DAMAGED_SECONDS:
                break
    if lost and seconds is not None:
        if seconds < MIN_DAMAGED_SECONDS:
            raise _damaged(describe(path), seconds)
        sound._notes[_ends_early(describe(path), seconds, seconds + lost)] = None
    return sound


def read_audio(path: Path, limits: AudioLimits) -> np.ndarray:
    """A whole sound as float32 (n,), 16 kHz mono, -1..1. Raises as `open_audio` and `chunks` do."""
    return np.concatenate([chunk.samples for chunk in open_audio(path, limits).chunks()])


def _stream(container: InputContainer, path: Path) -> AudioStream:
    if not container.streams.audio:
        raise BadAudio(f"{describe(path)} has no sound in it.", "Give a sound file or a video with sound.")
    return known(container.streams.audio[0], path, BadAudio)


def _frames(container: InputContainer, stream: AudioStream, damage: Damage) -> Iterator[AudioFrame]:
    for frame in decoded(container, stream, damage):
        if isinstance(frame, AudioFrame) and frame.samples:
            yield frame


def _floats(frame: AudioFrame) -> np.ndarray:
    """Samples of any sample format as float32 (channels, n), full scale 1."""
    raw = frame.to_ndarray()
    if frame.format.is_packed:
        raw = raw.reshape(-1, len(frame.layout.channels)).T
    if raw.dtype == np.uint8:
        return (raw.astype(np.float32) - 128) / 128
    if raw.dtype.kind == "i":
        return raw.astype(np.float32) / np.float32(2.0 ** (8 * raw.itemsize - 1))
    with np.errstate(over="ignore"):  # too large for float32 becomes infinite, and is refused as that
        return raw.astype(np.float32)


def _missing_bytes(path: Path, size: int) -> int:
    """Bytes of sound that a WAV header promises and the file does not have; FFmpeg passes over that."""
    with path.open("rb") as file:
        form = file.read(12)
        if form[:4] != b"RIFF" or form[8:] != b"WAVE":
            return 0
        for _ in range(_MOST_CHUNKS):
            head = file.read(8)
            if len(head) < 8:
                return 0
            name, length = struct.unpack("<4sI", head)
            if name == b"data":
                return max(0, file.tell() + length - size) if length < _STREAMED else 0
            file.seek(length + length % 2, os.SEEK_CUR)
    return 0


def _ends_early(name: str, seconds: float, promised: float) -> str:
    return f"{name} ends early: {seconds:.1f} of {promised:.1f} s are there and used."


def _damaged(name: str, seconds: float) -> BadAudio:
    return BadAudio(f"{name} is damaged: only {seconds:.3f} s of it can be decoded.")


def _too_long(name: str, lasts: str, limits: AudioLimits) -> TooLong:
    return TooLong(f"{name} lasts {lasts}; the limit is {limits.max_seconds:.0f} s.")
