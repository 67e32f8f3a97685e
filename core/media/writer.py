"""Frames and sound out: H.264 + AAC in an MP4 that appears under its name only when it is whole."""

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Self

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from core.errors import EncodeFailed
from core.media.mp4 import Mp4
from core.types import FPS, AudioChunk

_BT601, _LIMITED, _BT709 = 6, 1, 1  # code points of ITU-T H.273
# Rows Cb and Cr of ITU-R BT.601-7 (2.5.3), limited range, for 8-bit RGB.
_CHROMA = np.array(
    [
        [-0.168736 * 224 / 255, -0.331264 * 224 / 255, 0.5 * 224 / 255, 128],
        [0.5 * 224 / 255, -0.418688 * 224 / 255, -0.081312 * 224 / 255, 128],
    ],
    np.float32,
)


class VideoWriter:
    """Writes one MP4; use it in a `with`, which keeps the file on success and leaves nothing otherwise.

    `size` is (width, height) of the frames; odd sides gain one repeated column or row. `audio` is a
    sound file (kept in mono or stereo, at its own rate up to 48 kHz) or 16 kHz chunks; it is cut, or
    filled with silence, to the length of the video. `metadata` are MP4's own tags (title, comment, ...).
    The same input gives the same bytes.

    Raises BadOption (not .mp4), BadPath (folder missing, not writable, ...), BadAudio, and EncodeFailed
    where writing fails (disk full, ...).
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        *,
        audio: Path | Iterator[AudioChunk] | None = None,
        crf: int = 18,
        preset: str = "veryfast",
        fps: int = FPS,
        metadata: Mapping[str, str] | None = None,
        threads: int = 1,
    ) -> None:
        self.frames = 0
        self._path, self._size, self._fps = path, size, fps
        self._file: Mp4 | None = Mp4(path, audio, metadata or {})
        self._pictures: VideoStream | None = None
        try:
            with self._file.translated():
                self._pictures = self._stream(self._file, crf, preset, threads)
                self._file.start_sound()
        except BaseException:
            self.abort()
            raise

    def _stream(self, file: Mp4, crf: int, preset: str, threads: int) -> VideoStream:
        options = {"crf": str(crf), "preset": preset}
        video = file.container.add_stream("libx264", rate=self._fps, options=options)
        video.width, video.height = (side + side % 2 for side in self._size)
        video.pix_fmt = "yuv420p"
        codec = video.codec_context
        codec.thread_count, codec.time_base = threads, Fraction(1, self._fps)
        # Players without regard for tags assume the matrix BT.601; primaries and curve stay the source's.
        codec.colorspace, codec.color_range = _BT601, _LIMITED
        codec.color_primaries = codec.color_trc = _BT709
        return video

    def write(self, rgb: np.ndarray) -> None:
        """Add one frame, uint8 (H, W, 3) of the writer's size, with the sound that goes with it."""
        width, height = self._size
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"frame is {rgb.dtype} {rgb.shape}, expected uint8 {(height, width, 3)}")
        if self._file is None or self._pictures is None:
            raise ValueError("the writer is closed")
        frame = av.VideoFrame.from_ndarray(_yuv(rgb), "yuv420p")
        frame.colorspace, frame.color_range = _BT601, _LIMITED
        frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
        with self._file.translated():
            self._file.container.mux(self._pictures.encode(frame))
            self.frames += 1
            self._file.sound_until(self.frames, self._fps)

    def close(self) -> None:
        """Finish the file and move it to its name; nothing happens when the writer is closed already."""
        if self._file is None or self._pictures is None:
            return
        try:
            if not self.frames:
                raise EncodeFailed(f"'{self._path.name}' was not written: there are no frames.")
            with self._file.translated():
                self._file.container.mux(self._pictures.encode(None))
                self._file.finish()
        finally:
            self.abort()

    def abort(self) -> None:
        """Give everything back and drop what is not finished; nothing happens after `close`."""
        if self._file is not None:
            self._file.abort()
        self._file = self._pictures = None  # the encoder's threads go with its stream

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()


def _yuv(rgb: np.ndarray) -> np.ndarray:
    """uint8 (H, W, 3) -> I420 of even sides, uint8 (H * 3 / 2, W); each chroma sample is the mean of four."""
    height, width = rgb.shape[:2]
    if height % 2 or width % 2:
        rgb = cv2.copyMakeBorder(rgb, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        height, width = rgb.shape[:2]
    planes = cv2.cvtColor(rgb, cv2.COLOR_RGB2YUV_I420)
    half = cv2.resize(rgb, (width // 2, height // 2), interpolation=cv2.INTER_AREA)
    chroma = planes.reshape(-1)[height * width :].reshape(2, height // 2, width // 2)
    chroma[:] = cv2.transform(half, _CHROMA).transpose(2, 0, 1)  # cvtColor takes one pixel of four
    return planes
