"""Sound in chunks of any length becomes features of speech, one row a video frame.

Two framings, both of antgroup/ditto-talkinghead e9191cf6: `offline` describes a whole recording and stops
with it; `online` is that of its streaming caller, whose windows lie 80 samples later and go on until all
sound has been the first of a window. Either way a window is used as soon as its sound is there.
"""

from collections.abc import Iterable, Iterator

import numpy as np

from core.atomic_components.windows import frame_count
from core.aux_models.hubert import ChunkSize, Hubert
from core.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk


def offline_features(chunks: Iterable[AudioChunk], hubert: Hubert, size: ChunkSize) -> Iterator[np.ndarray]:
    """Blocks of rows float32 (n, 1024), 0 < n <= size.present; `frame_count` of the sound in all."""
    sound = _Sound(size, lead=size.samples - (size.present + size.future) * SAMPLES_PER_FRAME)
    frame = 0
    for chunk in chunks:
        sound.add(chunk.samples)
        while (window := sound.window(_start(frame))) is not None:
            yield hubert(window, size)
            frame += size.present
    while (left := frame_count(sound.heard) - frame) > 0:
        yield hubert(sound.padded(_start(frame)), size)[:left]
        frame += size.present


def online_features(chunks: Iterable[AudioChunk], hubert: Hubert, size: ChunkSize) -> Iterator[np.ndarray]:
    """Blocks of rows float32 (size.present, 1024); the last ones may describe more than the sound."""
    for window in online_windows(chunks, size):
        yield hubert(window, size)


def online_windows(chunks: Iterable[AudioChunk], size: ChunkSize) -> Iterator[np.ndarray]:
    """What `online_features` describes: float32 (size.samples,), one every size.present frames."""
    lead = size.past * SAMPLES_PER_FRAME
    sound = _Sound(size, lead)
    start = 0
    for chunk in chunks:
        sound.add(chunk.samples)
        while (window := sound.window(start)) is not None:
            yield window
            start += size.present * SAMPLES_PER_FRAME
    while sound.heard and start < lead + sound.heard:
        yield sound.padded(start)
        start += size.present * SAMPLES_PER_FRAME


def _start(frame: int) -> int:
    """Where a frame's window begins: in this floating point, by which some begin one sample early."""
    return int(frame * (1 / FPS) * SAMPLE_RATE)


class _Sound:
    """The sound that windows still need, behind `lead` samples of silence; windows are asked for in order."""

    def __init__(self, size: ChunkSize, lead: int) -> None:
        self._length = size.checked().samples
        self._kept = np.zeros(lead, np.float32)
        self._gone = 0  # samples dropped from the front, silence included
        self.heard = 0

    def add(self, samples: np.ndarray) -> None:
        self._kept = np.concatenate([self._kept, samples])
        self.heard += len(samples)

    def window(self, start: int) -> np.ndarray | None:
        """The window that begins at sample `start`, silence included; None while its sound is not there."""
        if start + self._length > self._gone + len(self._kept):
            return None
        self._kept = self._kept[start - self._gone :]
        self._gone = start
        return self._kept[: self._length]

    def padded(self, start: int) -> np.ndarray:
        """The same after the end of the sound, silence behind it."""
        rest = self._kept[start - self._gone :][: self._length]
        return np.pad(rest, (0, self._length - len(rest)))
