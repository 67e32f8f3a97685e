"""Sound as a live client sends it, in pieces of any size, as float32 at 16 kHz."""

from typing import Protocol

import av
import numpy as np
import soxr

from core.errors import BadAudio
from core.types import SAMPLE_RATE
from server.protocol_v2 import Opus, Pcm

_OPUS_RATE = 48_000  # what its decoder gives, whatever went in


class Ear(Protocol):
    """Holds one utterance's unfinished sound. Not safe for several threads at a time."""

    def hear(self, data: bytes) -> np.ndarray:
        """A message -> float32 (n,) at 16 kHz, as much as can be told yet. Raises BadAudio."""
        ...

    def rest(self) -> np.ndarray:
        """The utterance is whole -> what was held back, float32 (n,)."""
        ...

    def forget(self) -> None:
        """Drop what is held: another utterance begins."""
        ...


class _Resampler:
    """Mono float32 of one rate to 16 kHz."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._stream: soxr.ResampleStream | None = None

    def more(self, samples: np.ndarray) -> np.ndarray:
        if self._rate == SAMPLE_RATE or not len(samples):
            return samples
        if self._stream is None:
            self._stream = soxr.ResampleStream(self._rate, SAMPLE_RATE, 1, dtype="float32", quality="HQ")
        return np.asarray(self._stream.resample_chunk(samples), np.float32)

    def rest(self) -> np.ndarray:
        stream, self._stream = self._stream, None
        nothing = np.zeros(0, np.float32)
        return (
            nothing if stream is None else np.asarray(stream.resample_chunk(nothing, last=True), np.float32)
        )


class PcmEar:
    """s16le, mono; a sample may be cut by the end of a message."""

    def __init__(self, rate: int) -> None:
        self._resampler = _Resampler(rate)
        self._half = b""

    def hear(self, data: bytes) -> np.ndarray:
        data = self._half + data
        whole = len(data) // 2 * 2
        self._half = data[whole:]
        return self._resampler.more(np.frombuffer(data[:whole], "<i2").astype(np.float32) / 32768)

    def rest(self) -> np.ndarray:
        self._half = b""
        return self._resampler.rest()

    def forget(self) -> None:
        self.rest()


class OpusEar:
    """One Opus packet (RFC 6716) a message, mono or stereo."""

    def __init__(self) -> None:
        self._resampler = _Resampler(_OPUS_RATE)
        self.forget()

    def hear(self, data: bytes) -> np.ndarray:
        if not data:
            return np.zeros(0, np.float32)
        try:
            frames = self._codec.decode(av.Packet(data))
        except av.FFmpegError as error:
            raise BadAudio("A message is no Opus packet.", "Send one packet in each.") from error
        heard = [frame.to_ndarray().reshape(-1, len(frame.layout.channels)).mean(1) for frame in frames]
        samples = np.concatenate([np.zeros(0), *heard]) / 32768  # s16 is what libopus gives through FFmpeg
        return self._resampler.more(samples.astype(np.float32))

    def rest(self) -> np.ndarray:
        return self._resampler.rest()

    def forget(self) -> None:
        self._resampler.rest()
        codec = av.CodecContext.create("libopus", "r")
        assert isinstance(codec, av.AudioCodecContext)
        self._codec = codec


def ear_for(announced: Pcm | Opus) -> Ear:
    """What hears the sound that `start` announced."""
    return PcmEar(announced.rate) if isinstance(announced, Pcm) else OpusEar()
