"""Packets of a live session as what goes over the line: fragments of MP4, or pictures and their sound.

Runs on the thread that pulls the packets; the quality is steered from the event loop meanwhile.
"""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from typing import Literal, Protocol

import cv2
import numpy as np

from core.errors import EncodeFailed
from core.live import Packet
from core.media.fragments import MIME, FragmentStream
from core.types import FPS
from server.live_quality import Quality
from server.protocol_v2 import Kind, Speaking

_BATCH = 5  # frames of a fragment: 200 ms


@dataclass(frozen=True)
class Media:
    """What one media message will hold, media time `time` .. `until`: `frames` new pictures, and `left_out`
    were spared."""

    kind: Kind
    epoch: int
    time: float
    until: float
    payload: bytes
    frames: int = 0
    left_out: int = 0


class Coder(Protocol):
    """Packets in, media out."""

    mime: str
    drift_s: float

    def take(self, packet: Packet) -> list[Media]: ...
    def close(self) -> None: ...


class FragmentCoder:
    """Fragments of 200 ms; the first one, and the first one of an epoch, as soon as there is a frame."""

    mime = MIME

    def __init__(self, size: tuple[int, int], quality: Quality) -> None:
        self._size, self._quality = size, quality
        self._stream: FragmentStream | None = None
        self._crf = self._epoch = 0
        self._batch: list[Packet] = []
        self._wanted = 1
        self._shown = np.zeros(0, np.uint8)
        self.drift_s = 0.0

    def take(self, packet: Packet) -> list[Media]:
        """What is ready with this packet. What waits of an older epoch is dropped: nobody will see it."""
        made = [self._begin(packet)] if self._stream is None or packet.epoch != self._epoch else []
        self._batch.append(packet)
        if len(self._batch) < self._wanted:
            return made
        return made + self._fragment()

    def close(self) -> None:
        if self._stream is not None:
            self._stream.close()

    def _begin(self, packet: Packet) -> Media:
        sequence = 1 if self._stream is None else self._stream.sequence
        self.close()
        self._crf, self._epoch = self._quality.step.crf, packet.epoch
        self._stream = FragmentStream(self._size, self._crf, packet.index, sequence)
        self._batch, self._wanted = [], 1
        return self._header(packet)

    def _header(self, packet: Packet) -> Media:
        assert self._stream is not None
        time = packet.index / FPS
        return Media(Kind.HEADER, packet.epoch, time, time, self._stream.header)

    def _fragment(self) -> list[Media]:
        assert self._stream is not None
        made: list[Media] = []
        first, step = self._batch[0], self._quality.step
        if step.crf != self._crf:
            self._crf = step.crf
            self._stream.change(step.crf)
            made.append(self._header(first))
        frames, new = [], 0
        for packet in self._batch:
            if packet.index % step.divisor == 0 or not self._shown.size:
                self._shown, new = packet.rgb, new + 1
            frames.append((self._shown, packet.sound))  # the picture before costs next to nothing
        data = self._stream.add(frames)
        self.drift_s = self._stream.drift_s
        begin, end = first.index / FPS, self._stream.frame / FPS
        made.append(Media(Kind.FRAGMENT, first.epoch, begin, end, data, new, len(frames) - new))
        self._batch = []
        self._wanted = _BATCH if len(frames) > 1 else _BATCH - 1
        return made


class PictureCoder:
    """Every picture by itself, and its sound beside it: s16le at 16 kHz with the same media time."""

    drift_s = 0.0  # a picture and its sound have one time

    def __init__(self, image: Literal["webp", "jpeg"], quality: Quality) -> None:
        self._quality = quality
        self.mime = f"image/{image}"
        self._suffix = f".{image}"
        self._flag = cv2.IMWRITE_WEBP_QUALITY if image == "webp" else cv2.IMWRITE_JPEG_QUALITY

    def take(self, packet: Packet) -> list[Media]:
        """The sound of a packet, and its picture where it is one of those that are shown."""
        step, time, until = self._quality.step, packet.index / FPS, (packet.index + 1) / FPS
        is_shown = packet.index % step.divisor == 0
        sound = np.round(np.clip(packet.sound, -1, 1) * 32767).astype("<i2").tobytes()
        made = [Media(Kind.SOUND, packet.epoch, time, until, sound, left_out=not is_shown)]
        if is_shown:
            bgr = cv2.cvtColor(packet.rgb, cv2.COLOR_RGB2BGR)
            done, picture = cv2.imencode(self._suffix, bgr, [self._flag, step.image])
            if not done:
                raise EncodeFailed(f"A picture could not be coded as {self.mime}.")
            made.append(Media(Kind.FRAME, packet.epoch, time, until, picture.tobytes(), 1))
        return made

    def close(self) -> None:
        """Nothing is held."""


def coded(
    packets: Generator[Packet, None, None], coder: Coder
) -> Generator[list[Media | Speaking], None, None]:
    """For every packet what is ready to be sent, maybe nothing; where speech begins and ends in between."""
    speaking = False
    with closing(packets), closing(coder):
        for packet in packets:
            made: list[Media | Speaking] = []
            if packet.speaking != speaking:
                speaking = packet.speaking
                made.append(Speaking(on=speaking, epoch=packet.epoch, time=packet.index / FPS))
            yield [*made, *coder.take(packet)]
