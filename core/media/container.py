"""One way into every sound and video file: size first, then only formats that carry their own data.

Playlists and the like, which name further files or addresses, are not among the formats, and a file
that still asks for another one is refused: nothing but the given bytes is ever read.
"""

import io
import stat
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import av
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from core.errors import BadPath, InputError, TooLong, one_line

_Stream = TypeVar("_Stream", AudioStream, VideoStream)
_FORMATS = (
    "wav,w64,aiff,au,caf,voc,mp3,aac,ac3,eac3,flac,ogg,amr,ape,wv,tta,"
    "mov,matroska,avi,flv,asf,mpeg,mpegts,mpegvideo,h264,hevc,ivf"
)
_SAID = {"audio": "sound", "video": "pictures"}
_BUFFER = 1 << 18  # bytes a read; FFmpeg's 32 KiB would call back into Python eight times as often


@dataclass
class Damage:
    """How decoding went: frames that came, packets that failed, whether reading broke off."""

    good: int = 0
    failed: int = 0
    cut: bool = False

    @property
    def any(self) -> bool:
        return self.cut or self.failed > 0

    @property
    def hopeless(self) -> bool:
        """More fails than works: not a damaged file, but something else."""
        return self.failed > self.good


def describe(source: Path | bytes) -> str:
    """How messages call a source."""
    return f"'{one_line(source.name)}'" if isinstance(source, Path) else "The file"


def check_size(source: Path | bytes, max_bytes: int, error: type[InputError]) -> int:
    """Bytes of a readable, regular, non-empty file within the limit. Raises BadPath, TooLong, `error`."""
    if isinstance(source, Path):
        try:
            status = source.stat()
        except (OSError, ValueError) as cause:  # ValueError: a null byte in the name
            reason = getattr(cause, "strerror", None) or "not a valid name"
            raise BadPath(f"Cannot open '{source!s:.200}': {reason}.", "Check the path.") from cause
        if not stat.S_ISREG(status.st_mode):
            what = "a folder" if stat.S_ISDIR(status.st_mode) else "not a regular file"
            raise error(f"{describe(source)} is {what}.", "Give the path of a file.")
        size = status.st_size
    else:
        size = len(source)
    if size == 0:
        raise error(f"{describe(source)} is empty (0 bytes).")
    if size > max_bytes:
        raise TooLong(
            f"{describe(source)} has {size / 2**20:.1f} MiB; the limit is {max_bytes / 2**20:.1f} MiB."
        )
    return size


@contextmanager
def open_input(source: Path | bytes, error: type[InputError]) -> Iterator[InputContainer]:
    """An open container, closed again on leaving. Raises `error` where it cannot be opened, BadPath."""
    try:
        file = source.open("rb") if isinstance(source, Path) else io.BytesIO(source)
    except OSError as cause:
        raise BadPath(
            f"Cannot open '{source!s:.200}': {cause.strerror}.", "Check its permissions."
        ) from cause
    with file:
        try:
            container = av.open(
                file,
                "r",
                options={"format_whitelist": _FORMATS},
                metadata_errors="replace",
                buffer_size=_BUFFER,
                io_open=_refuse,
            )
        except (av.FFmpegError, OSError) as cause:
            raise error(f"{describe(source)} is not a sound or video file that can be read.") from cause
        with container:
            yield container


def known(stream: _Stream, source: Path | bytes, error: type[InputError]) -> _Stream:
    """The stream itself, once it is clear that its codec can be decoded."""
    if stream.codec_context is None:
        raise error(f"{describe(source)} holds {_SAID[stream.type]} in a format that cannot be decoded.")
    return stream


def decoded(
    container: InputContainer, stream: AudioStream | VideoStream, damage: Damage
) -> Generator[AudioFrame | VideoFrame, None, None]:
    """The frames of a stream; what cannot be decoded is left out and counted, a broken end is an end."""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError):
            damage.cut = True
            return
        if packet is None:
            return
        try:
            frames = packet.decode()
        except av.FFmpegError:
            damage.failed += 1
            continue
        for frame in frames:
            if not isinstance(frame, AudioFrame | VideoFrame) or frame.is_corrupt:
                damage.failed += 1
                continue
            damage.good += 1
            yield frame


def announced_seconds(container: InputContainer, stream: AudioStream | VideoStream) -> float | None:
    """How long a stream lasts by what the file says; None if it does not say."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return container.duration / av.time_base if container.duration is not None else None


def _refuse(url: str, flags: int, options: dict[str, str]) -> NoReturn:
    raise PermissionError("a media file may not refer to another one")
