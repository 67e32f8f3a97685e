"""The sound of a video to be written: any sound file or chunks, as AAC takes it, in exact amounts."""

from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import soxr

from core.media.audio import AudioFile, AudioLimits, open_audio
from core.types import SAMPLE_RATE, AudioChunk

_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # AAC's own, as far as useful
_UNLIMITED = AudioLimits(max_bytes=2**63, max_seconds=float("inf"))  # the video's length is the limit
_HALF_POWER = 2**-0.5


class Soundtrack:
    """Hands out float32 (channels, n), -1..1, at `rate` Hz; `channels` is 1 or 2.

    A sound file keeps its rate where AAC knows it, else the next higher one; more than two channels are
    mixed down to two. Chunks stay 16 kHz mono. Raises BadAudio, BadPath as `open_audio` does.
    """

    def __init__(self, audio: Path | Iterator[AudioChunk]) -> None:
        self.rate, self.channels = SAMPLE_RATE, 1
        if isinstance(audio, Path):
            file = open_audio(audio, _UNLIMITED)
            self.rate = next((rate for rate in _RATES if rate >= file.sample_rate), _RATES[-1])
            self.channels = min(2, file.channels)
            self._blocks = _blocks(file, self.rate)
        else:
            self._blocks = (chunk.samples[None] for chunk in audio)
        self._rest = np.zeros((self.channels, 0), np.float32)

    def take(self, n: int) -> np.ndarray:
        """The next n samples, (channels, n); silence once the sound has ended."""
        parts, have = [self._rest], self._rest.shape[1]
        while have < n:
            block = next(self._blocks, None)
            if block is None:
                block = np.zeros((self.channels, n - have), np.float32)
            parts.append(block)
            have += block.shape[1]
        sound = np.concatenate(parts, axis=1)
        self._rest = sound[:, n:]
        return sound[:, :n]

    def close(self) -> None:
        """Close the sound file; what was not taken is left."""
        self._blocks.close()


def _blocks(file: AudioFile, rate: int) -> Generator[np.ndarray, None, None]:
    mix = _mix(file.speakers)
    blocks = file.blocks()
    try:
        if rate == file.sample_rate:
            for block in blocks:
                yield block if mix is None else mix @ block
            return
        channels = file.channels if mix is None else 2
        stream = soxr.ResampleStream(file.sample_rate, rate, channels, dtype="float32", quality="HQ")
        for block in blocks:
            yield stream.resample_chunk(np.ascontiguousarray((block if mix is None else mix @ block).T)).T
        yield stream.resample_chunk(np.zeros((0, channels), np.float32), last=True).T
    finally:
        blocks.close()


def _mix(speakers: tuple[str, ...]) -> np.ndarray | None:
    """Weights (2, channels) that fold more than two channels into two, None where nothing is folded.

    Centre and surround come at -3 dB, as in ITU-R BS.775, and the low-frequency channel is dropped; the
    sum is scaled so that it cannot clip. Channels without names are averaged.
    """
    if len(speakers) <= 2:
        return None
    weights = np.zeros((2, len(speakers)), np.float32)
    for column, name in enumerate(speakers):
        if name.startswith("LFE"):
            continue
        gain = 1.0 if name in ("FL", "FR", "") else _HALF_POWER
        weights[0, column] = 0.0 if name.endswith("R") else gain
        weights[1, column] = 0.0 if name.endswith("L") else gain
    return weights / np.maximum(weights.sum(axis=1, keepdims=True), 1e-6)
