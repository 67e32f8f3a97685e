"""Registered avatars as files of one folder, by content key; the least recently used make room.

The files are our own and not values of diskcache, because
- they have to be mapped, and removed oldest first by their bytes: diskcache removes one row per write
  whatever its size, and its `cull()` ten at a time;
- a file that carries its own checksum, and whose time of change is its last use, needs no bookkeeping
  that a crash could tear: it is complete under its name, or it is not there.
"""

import logging
import os
import re
import secrets
import time
from contextlib import suppress
from pathlib import Path

from core.errors import StoreFailed, TooLong
from core.optimization.avatar_format import AvatarCard, CorruptAvatar, read_avatar, read_card, write_avatar
from core.optimization.store import private_folder
from core.types import RegisteredAvatar

KEY = r"^[0-9a-f]{8,128}$"  # of a content key: safe as a file name
_KEY = re.compile(KEY)
_log = logging.getLogger(__name__)


class AvatarFiles:
    """The registered avatars of one folder by key, at most `max_bytes` in all; unused ones expire."""

    def __init__(self, folder: Path, max_bytes: int, ttl_s: float | None) -> None:
        self._folder, self._max_bytes, self._ttl_s = private_folder(folder), max_bytes, ttl_s

    def load(self, key: str) -> RegisteredAvatar | None:
        """The avatar, marked as used just now; None where there is none or it is corrupt (then removed)."""
        path = self._path(key)
        try:
            avatar = read_avatar(path)
            if avatar.key != key:
                raise CorruptAvatar("The file holds another avatar.")
            _mark_used(path)
        except CorruptAvatar as error:
            _log.warning("%s is corrupt and removed: %s", path.name, error)
            self.remove(key)
            return None
        except OSError:
            return None
        return avatar

    def card(self, key: str) -> AvatarCard | None:
        """What the avatar is, without a look at its arrays; None where there is none."""
        with suppress(OSError, CorruptAvatar):
            return read_card(self._path(key))
        return None

    def save(self, avatar: RegisteredAvatar, thumbnail: bytes) -> None:
        """Store an avatar whole or not at all, after the least used ones have made room.

        Raises TooLong where it is larger than the cache, StoreFailed where the disk is full.
        """
        size = sum(array.nbytes for array in avatar.arrays.values())
        if size > self._max_bytes:
            raise TooLong(
                f"The avatar needs {size / 2**20:.0f} MiB; the cache has {self._max_bytes / 2**20:.0f}.",
                "Use a shorter video (template_n_frames) or raise VISAVIS_CACHE_GIB.",
            )
        self.trim(size)
        path = self._path(avatar.key)
        temporary = path.with_suffix(f".{secrets.token_hex(8)}.tmp")
        try:
            write_avatar(temporary, avatar, thumbnail)
            _mark_used(temporary)
            os.replace(temporary, path)
            _sync_folder(self._folder)
        except OSError as error:
            raise StoreFailed(
                f"The avatar cannot be stored: {error.strerror}.", "Free disk space in VISAVIS_HOME."
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, key: str) -> None:
        self._path(key).unlink(missing_ok=True)

    def stored(self) -> set[str]:
        """Keys that have a value."""
        return self._keys("*.safetensors")

    def half_written(self) -> set[str]:
        """Keys that someone is writing, or that a writer that died has left."""
        return self._keys("*.tmp")

    def drop_half_written(self, key: str) -> None:
        """Remove what a writer that died has left; only to be called where no one else can be writing."""
        for path in self._folder.glob(f"{key}.*.tmp"):
            path.unlink(missing_ok=True)

    def trim(self, room: int = 0) -> None:
        """Remove what has expired, then the least recently used until `room` bytes are free.

        Times are the wall clock's: they have to outlive the process. One that lies in the future tells
        of a clock that was set back; it counts from now, so that nothing lives longer than meant.
        """
        now = time.time()
        found = []
        for path in self._folder.glob("*.safetensors"):
            with suppress(OSError):
                stat = path.stat()
                if stat.st_mtime > now + 1:
                    _mark_used(path)
                found.append((min(stat.st_mtime, now), stat.st_size, path))
        total = room + sum(size for _, size, _ in found)
        for used, size, path in sorted(found):
            if total <= self._max_bytes and (self._ttl_s is None or now - used <= self._ttl_s):
                break
            path.unlink(missing_ok=True)
            total -= size

    def _keys(self, pattern: str) -> set[str]:
        names = (path.name.partition(".")[0] for path in self._folder.glob(pattern))
        return {name for name in names if _KEY.fullmatch(name)}

    def _path(self, key: str) -> Path:
        check_key(key)
        return self._folder / f"{key}.safetensors"


def check_key(key: str) -> None:
    """Content keys are hex digits and become file names: ValueError for anything else."""
    if not _KEY.fullmatch(key):
        raise ValueError("the key of an avatar is 8 to 128 hex digits in lower case")


def _mark_used(path: Path) -> None:
    """By this machine's clock, which a network folder's may differ from."""
    now = time.time()
    os.utime(path, (now, now))


def _sync_folder(folder: Path) -> None:
    """See a rename onto the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
