"""Frames and sound out: H.264 + AAC in an MP4 that appears under its name only when it is whole."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import av
import cv2
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer
from av.video.stream import VideoStream

from core.errors import BadOption, BadPath, EncodeFailed, TalkerError
from core.media.soundtrack import Soundtrack
from core.types import FPS, AudioChunk

_AAC_BIT_RATE = 96_000  # a channel
_BT601, _LIMITED, _BT709 = 6, 1, 1  # code points of ITU-T H.273
# Rows Cb and Cr of ITU-R BT.601-7 (2.5.3), limited range, for 8-bit RGB.
_CHROMA = np.array(
    [
        [-0.168736 * 224 / 255, -0.331264 * 224 / 255, 0.5 * 224 / 255, 128],
        [0.5 * 224 / 255, -0.418688 * 224 / 255, -0.081312 * 224 / 255, 128],
    ],
    np.float32,
)


@dataclass(frozen=True)
class _Output:
    """What FFmpeg holds while a file is written."""

    container: OutputContainer
    video: VideoStream
    audio: AudioStream | None


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
        self._path, self._size, self._fps = path.absolute(), size, fps
        check_target(self._path)
        self._sound = None if audio is None else Soundtrack(audio)
        self._sent = 0  # samples
        self._part = self._path.with_name(f".visavis-{secrets.token_hex(8)}.part")
        self._output: _Output | None = None
        self._file = _create(self._part)
        try:
            with self._translated():
                self._output = self._open(crf, preset, threads, metadata or {})
        except BaseException:
            self.abort()
            raise

    def _open(self, crf: int, preset: str, threads: int, metadata: Mapping[str, str]) -> _Output:
        container = av.open(
            self._file,
            "w",
            format="mp4",
            options={"movflags": "+faststart", "fflags": "+bitexact"},
            io_open=self._reopen,
        )
        container.metadata.update(metadata)
        video = container.add_stream("libx264", rate=self._fps, options={"crf": str(crf), "preset": preset})
        video.width, video.height = (side + side % 2 for side in self._size)
        video.pix_fmt = "yuv420p"
        codec = video.codec_context
        codec.thread_count, codec.time_base = threads, Fraction(1, self._fps)
        # Players without regard for tags assume the matrix BT.601; primaries and curve stay the source's.
        codec.colorspace, codec.color_range = _BT601, _LIMITED
        codec.color_primaries = codec.color_trc = _BT709
        if self._sound is None:
            return _Output(container, video, None)
        # As close to speech as the default coder in a quarter of the time; only full-scale tones suffer.
        audio = container.add_stream("aac", rate=self._sound.rate, options={"aac_coder": "fast"})
        audio.layout = "mono" if self._sound.channels == 1 else "stereo"
        audio.bit_rate = _AAC_BIT_RATE * self._sound.channels
        audio.codec_context.flags |= Flags.bitexact  # leaves out the encoder's version
        return _Output(container, video, audio)

    def _reopen(self, url: str, flags: int, options: dict[str, str]) -> BinaryIO:
        """The file for reading: FFmpeg moves the index to the front at the end."""
        self._file.flush()
        return self._part.open("rb")

    def write(self, rgb: np.ndarray) -> None:
        """Add one frame, uint8 (H, W, 3) of the writer's size, with the sound that goes with it."""
        width, height = self._size
        if rgb.shape != (height, width, 3) or rgb.dtype != np.uint8:
            raise ValueError(f"frame is {rgb.dtype} {rgb.shape}, expected uint8 {(height, width, 3)}")
        if self._output is None:
            raise ValueError("the writer is closed")
        frame = av.VideoFrame.from_ndarray(_yuv(rgb), "yuv420p")
        frame.colorspace, frame.color_range = _BT601, _LIMITED
        frame.pts, frame.time_base = self.frames, Fraction(1, self._fps)
        with self._translated():
            self._output.container.mux(self._output.video.encode(frame))
            self.frames += 1
            if self._sound is not None and self._output.audio is not None:
                self._write_sound(self._output, self._output.audio, self._sound)

    def _write_sound(self, output: _Output, audio: AudioStream, sound: Soundtrack) -> None:
        until = self.frames * sound.rate // self._fps
        block = np.ascontiguousarray(sound.take(until - self._sent))
        frame = av.AudioFrame.from_ndarray(block, "fltp", "mono" if sound.channels == 1 else "stereo")
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, self._sent, Fraction(1, sound.rate)
        output.container.mux(audio.encode(frame))
        self._sent = until

    def close(self) -> None:
        """Finish the file and move it to its name; nothing happens when the writer is closed already."""
        if self._output is None:
            return
        try:
            if not self.frames:
                raise EncodeFailed(f"'{self._path.name}' was not written: there are no frames.")
            with self._translated():
                self._finish(self._output)
        finally:
            self.abort()

    def _finish(self, output: _Output) -> None:
        output.container.mux(output.video.encode(None))
        if output.audio is not None:
            output.container.mux(output.audio.encode(None))
        output.container.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)

    def abort(self) -> None:
        """Give everything back and drop what is not finished; nothing happens after `close`."""
        with suppress(OSError):  # what could not be written is dropped anyway
            self._file.close()  # before the container, which then writes no more
        if self._output is not None:
            self._output.container.close()
        self._output = None
        if self._sound is not None:
            self._sound.close()
        self._part.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.abort()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (OSError, av.FFmpegError) as error:
            raise _failed(self._path, error) from error


def check_target(path: Path) -> None:
    """Raise BadOption or BadPath where no MP4 can be meant by this path, before any work is done."""
    if path.suffix.lower() != ".mp4":
        raise BadOption(f"The output '{path.name}' is not an .mp4 file.", "Give it the suffix .mp4.")
    try:
        is_file = stat.S_ISREG(path.stat().st_mode)
    except FileNotFoundError:
        is_file = True
    except (OSError, ValueError) as error:  # a name that is too long or no name, a file taken for a folder
        reason = getattr(error, "strerror", None) or "not a valid name"
        raise BadPath(f"The output '{path!s:.200}' cannot be used: {reason}.", "Check the path.") from error
    if not is_file:
        raise BadPath(f"The output '{path}' exists and is not a file.", "Choose another name.")
    if not path.parent.is_dir():
        raise BadPath(f"The output folder '{path.parent}' does not exist.", "Create it first.")


def _create(part: Path) -> BinaryIO:
    try:
        return open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "w+b")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _failed(part, error) from error
        raise BadPath(
            f"The output folder '{part.parent}' is not writable: {error.strerror}.", "Choose another folder."
        ) from error


def _failed(path: Path, error: Exception) -> TalkerError:
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        with suppress(OSError):
            free = shutil.disk_usage(path.parent).free / 2**20
            return EncodeFailed(
                f"The disk is full: {free:.0f} MiB are free in '{path.parent}'; no file was written.",
                "Free some space or choose another folder.",
            )
    reason = getattr(error, "strerror", None) or str(error)
    return EncodeFailed(f"'{path.name}' could not be written: {reason}.")


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
