"""An MP4 in the making, with its sound: it appears under its name only when it is whole."""

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import OutputContainer

from core.errors import BadOption, BadPath, EncodeFailed, TalkerError
from core.media.soundtrack import Soundtrack
from core.types import AudioChunk

_BIT_RATE = 96_000  # of AAC, a channel


class Mp4:
    """The file under another name, the container in it, and the sound that is to go along.

    Put the pictures' stream into `container`, then call `start_sound`. `audio` is a sound file (kept in mono
    or stereo, at its own rate up to 48 kHz), 16 kHz chunks, or None. Raises as `VideoWriter` does; work on
    the container belongs inside `translated`.
    """

    def __init__(
        self, path: Path, audio: Path | Iterator[AudioChunk] | None, metadata: Mapping[str, str]
    ) -> None:
        self._path = path.absolute()
        check_target(self._path)
        self._sound = None if audio is None else Soundtrack(audio)
        self._voice: AudioStream | None = None
        self._sent = 0  # samples
        self._part = self._path.with_name(f".visavis-{secrets.token_hex(8)}.part")
        self._file = _create(self._part)
        with self.translated():
            self.container: OutputContainer = av.open(
                self._file,
                "w",
                format="mp4",
                options={"movflags": "+faststart", "fflags": "+bitexact"},
                io_open=_reading(self._file, self._part),
            )
            self.container.metadata.update(metadata)

    def start_sound(self) -> None:
        """Make the sound's stream, behind that of the pictures."""
        if self._sound is None:
            return
        # As close to speech as the default coder in a quarter of the time; only full-scale tones suffer.
        voice = self.container.add_stream("aac", rate=self._sound.rate, options={"aac_coder": "fast"})
        voice.layout = "mono" if self._sound.channels == 1 else "stereo"
        voice.bit_rate = _BIT_RATE * self._sound.channels
        voice.codec_context.flags |= Flags.bitexact  # leaves out the encoder's version
        self._voice = voice

    def sound_until(self, frames: int, fps: int) -> None:
        """Write the sound of the first `frames` pictures, as far as it is not written."""
        if self._sound is None or self._voice is None:
            return
        sound = self._sound
        until = frames * sound.rate // fps
        block = np.ascontiguousarray(sound.take(until - self._sent))
        frame = av.AudioFrame.from_ndarray(block, "fltp", "mono" if sound.channels == 1 else "stereo")
        frame.sample_rate, frame.pts, frame.time_base = sound.rate, self._sent, Fraction(1, sound.rate)
        self.container.mux(self._voice.encode(frame))
        self._sent = until

    def finish(self) -> None:
        """Write what is left and give the file its name."""
        if self._voice is not None:
            self.container.mux(self._voice.encode(None))
        self.container.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._part.replace(self._path)

    def abort(self) -> None:
        """Give everything back and drop what is not finished; nothing happens after `finish`."""
        with suppress(OSError):  # what could not be written is dropped anyway
            self._file.close()  # before the container, which then writes no more
        self.container.close()
        if self._sound is not None:
            self._sound.close()
        self._part.unlink(missing_ok=True)

    @contextmanager
    def translated(self) -> Iterator[None]:
        """Errors of FFmpeg and the disk as ours."""
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


@contextmanager
def folder_made(folder: Path) -> Iterator[None]:
    """The folder is there; what had to be made of it and stays empty goes again. Raises BadPath."""
    missing = [each for each in (folder, *folder.parents) if not os.path.lexists(each)]
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BadPath(
                f"The output folder '{folder!s:.200}' cannot be made: {error.strerror}.", "Choose another."
            ) from error
        yield
    finally:
        for each in missing:  # the innermost first
            with suppress(OSError):
                each.rmdir()


def _create(part: Path) -> BinaryIO:
    try:
        return open(os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o666), "w+b")
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _failed(part, error) from error
        raise BadPath(
            f"The output folder '{part.parent}' is not writable: {error.strerror}.", "Choose another folder."
        ) from error


def _reading(file: BinaryIO, part: Path) -> Callable[[str, int, dict[str, str]], BinaryIO]:
    """Opens the file for reading: FFmpeg moves the index to the front at the end.

    It knows nothing of the Mp4: a container that refers to its owner would live on, and its threads with it.
    """

    def reopen(url: str, flags: int, options: dict[str, str]) -> BinaryIO:
        file.flush()
        return part.open("rb")

    return reopen


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
