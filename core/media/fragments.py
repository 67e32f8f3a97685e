"""Frames and sound as a stream that a browser plays while it is made: H.264 and AAC in fragments of MP4."""

from fractions import Fraction
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.codec.context import Flags

from core.media.fmp4 import (
    AUDIO,
    VIDEO,
    Sample,
    Track,
    avc_setup,
    fragment,
    header,
    split_units,
    with_lengths,
)
from core.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME

MIME = 'video/mp4; codecs="avc1.42C01E, mp4a.40.2"'
_AAC_FRAME = 1024  # samples; the encoder's first packet holds the silence before the sound, and is left out
_BIT_RATE = 64_000
_SPS, _PPS, _KEY, _ASIDE = 7, 8, 5, (6, 9)  # kinds of H.264 units; aside: no pictures


class FragmentStream:
    """Codes frames with their sound; what is ready leaves as one fragment.

    `size` is (width, height), even. `crf` is x264's, 18 (good) .. 40. `first` is the count of the first
    frame, so that a stream of another quality goes on where one ended; `sequence` that of the first fragment.
    `header` are the bytes that a player needs before any fragment.
    """

    def __init__(self, size: tuple[int, int], crf: int = 23, first: int = 0, sequence: int = 1) -> None:
        self.frame, self.sequence = first, sequence
        self._sound_at = first * SAMPLES_PER_FRAME
        self._size = size
        self._audio = av.CodecContext.create("aac", "w")
        self._audio.sample_rate, self._audio.layout, self._audio.format = SAMPLE_RATE, "mono", "fltp"
        self._audio.bit_rate, self._audio.options = _BIT_RATE, {"aac_coder": "fast"}
        self._audio.time_base = Fraction(1, SAMPLE_RATE)
        self._audio.open()
        self._shown = self._heard = 0  # pictures and samples handed to the encoders
        self._primed = False
        self.change(crf)

    def change(self, crf: int) -> None:
        """Another quality from the next frame on, which begins anew; `header` is another one then, too."""
        self._video = _video_encoder(self._size, crf)
        units = {unit[0] & 31: unit for unit in split_units(bytes(self._video.extradata or b""))}
        tracks = (
            Track(VIDEO, FPS, avc_setup(units[_SPS], units[_PPS]), self._size),
            Track(AUDIO, SAMPLE_RATE, bytes(self._audio.extradata or b"")),
        )
        self.header = header(tracks)

    @property
    def drift_s(self) -> float:
        """By how much the pictures' track is longer than that of sound, less what the encoder of sound holds:
        two blocks and a part of one."""
        held = self._heard % _AAC_FRAME + min(self._heard // _AAC_FRAME, 2) * _AAC_FRAME
        return (self.frame * SAMPLES_PER_FRAME - self._sound_at - held) / SAMPLE_RATE

    def add(self, frames: list[tuple[np.ndarray, np.ndarray]]) -> bytes:
        """Frames uint8 (H, W, 3) with their sound float32 (640,) each -> one fragment.

        Sound comes out in blocks of 64 ms: up to that much stays for the next fragment.
        """
        pictures, sounds = [], []
        for rgb, sound in frames:
            pictures.append(self._picture(rgb))
            sounds += self._spoken(sound)
        made = fragment(
            self.sequence, [(VIDEO, self.frame, pictures), (AUDIO, self._sound_at, sounds)]
        )  # fmt: skip
        self.frame += len(pictures)
        self._sound_at += sum(sample.duration for sample in sounds)
        self.sequence += 1
        return made

    def close(self) -> None:
        """Give the encoders back; the sound that they still hold is dropped."""
        del self._video, self._audio

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _picture(self, rgb: np.ndarray) -> Sample:
        planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420).astype(np.uint8, copy=False)
        frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
        frame.pts, frame.time_base = self._shown, Fraction(1, FPS)
        self._shown += 1
        units = [
            unit
            for packet in self._video.encode(frame)
            for unit in split_units(bytes(packet))
            if unit[0] & 31 not in _ASIDE
        ]
        return Sample(with_lengths(units), 1, any(unit[0] & 31 == _KEY for unit in units))

    def _spoken(self, sound: np.ndarray) -> list[Sample]:
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(sound[None], np.float32), "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = SAMPLE_RATE, self._heard, Fraction(1, SAMPLE_RATE)
        self._heard += len(sound)
        found = [Sample(bytes(packet), _AAC_FRAME) for packet in self._audio.encode(frame)]
        if found and not self._primed:
            self._primed = True
            found = found[1:]
        return found


def _video_encoder(size: tuple[int, int], crf: int) -> av.VideoCodecContext:
    made = av.CodecContext.create("libx264", "w")
    assert isinstance(made, av.VideoCodecContext)
    made.width, made.height, made.pix_fmt = *size, "yuv420p"
    made.time_base, made.framerate = Fraction(1, FPS), Fraction(FPS)
    made.gop_size, made.thread_count = 2 * FPS, 1
    made.options = {"crf": str(crf), "preset": "superfast", "tune": "zerolatency", "profile": "baseline"}
    made.flags |= Flags.global_header
    made.open()
    return made
