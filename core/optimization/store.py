"""What the stores stand on: a private folder, a lock between processes, an index of names.

The index is diskcache over SQLite with a `Disk` that knows text and nothing else: no pickle is ever
read or written, and no row can name a file to be opened or removed.
"""

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from diskcache import UNKNOWN, Cache, Disk, Timeout
from filelock import FileLock
from filelock import Timeout as LockTimeout

from core.errors import BadPath, StoreFailed

_log = logging.getLogger(__name__)
_RAW = 1  # diskcache's mode for a value that lies in the row itself
_BROKEN = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def private_folder(folder: Path) -> Path:
    """`folder`, made if need be, and open to its user alone. Raises BadPath."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
    except OSError as error:
        raise BadPath(
            f"The folder {folder} cannot be used: {error.strerror}.",
            "Set VISAVIS_HOME to a folder that you may write to.",
        ) from error
    return folder


@contextmanager
def locked(path: Path, wait_s: float) -> Iterator[bool]:
    """Hold a lock between threads and processes; it falls when its holder dies.

    Gives False where someone else still has it after `wait_s`. Raises StoreFailed (disk full).
    """
    lock = FileLock(path, thread_local=False)
    try:
        lock.acquire(timeout=wait_s)
    except LockTimeout:
        yield False
        return
    except OSError as error:
        raise StoreFailed(
            f"The lock {path} cannot be made: {error.strerror}.", "Free disk space in VISAVIS_HOME."
        ) from error
    try:
        yield True
    finally:
        lock.release()


class CorruptRow(Exception):
    """A row of the index that this program did not write."""


class TextDisk(Disk):
    """Keys and values are text in the row. Pickles, files and all else are refused both ways."""

    def put(self, key: object) -> tuple[str, bool]:
        if type(key) is not str:
            raise TypeError(f"the key of a row is text, not {type(key).__name__}")
        return key, True

    def get(self, key: object, raw: object) -> str:
        if not raw or type(key) is not str:
            raise CorruptRow("the key is not text")
        return key

    def store(self, value: object, read: bool, key: object = UNKNOWN) -> tuple[int, int, None, str]:
        if type(value) is not str or read:
            raise TypeError(f"the value of a row is text, not {type(value).__name__}")
        return 0, _RAW, None, value

    def fetch(self, mode: int, filename: object, value: object, read: bool) -> str:
        if mode != _RAW or type(value) is not str:
            raise CorruptRow("the value is not text")
        return value

    def remove(self, file_path: str) -> None:
        """No row of ours has a file; one that says so was planted, and the file is somebody else's."""


class Index:
    """Names -> text, shared by threads and processes, kept over restarts. A row not ours is a miss.

    Raises StoreFailed where the disk is full or the index stays locked for a minute.
    """

    def __init__(self, folder: Path) -> None:
        private_folder(folder)
        with _translated():
            if not _healthy(folder / "cache.db"):
                _log.warning("the index in %s is corrupt and starts anew", folder)
                for path in folder.glob("cache.db*"):
                    path.unlink(missing_ok=True)
            self._cache = Cache(str(folder), timeout=60, disk=TextDisk, eviction_policy="none", cull_limit=1)

    def read(self, name: str) -> str | None:
        with _translated():
            try:
                return self._cache.get(name)
            except CorruptRow:
                _log.warning("a row of the index is not text; it is removed")
                self._cache.delete(name)
                return None

    def write(self, name: str, text: str, ttl_s: float | None) -> None:
        with _translated():
            self._cache.set(name, text, expire=ttl_s)

    def touch(self, name: str, ttl_s: float | None) -> None:
        """Let a row live `ttl_s` from now."""
        with _translated():
            self._cache.touch(name, expire=ttl_s)

    def remove(self, name: str) -> None:
        with _translated():
            self._cache.delete(name)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing of what is done inside; others' writes wait meanwhile."""
        with _translated():
            try:
                with self._cache.transact():
                    yield
            except sqlite3.Error:
                self.close()  # a commit that failed may leave its transaction open on this connection
                raise

    def close(self) -> None:
        """Close this thread's connection; another use opens a new one."""
        self._cache.close()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, Timeout) as error:
        reason = str(error) or "it is locked"
        raise StoreFailed(
            f"The avatar index cannot be used: {reason}.", "Free disk space in VISAVIS_HOME, then try again."
        ) from error


def _healthy(database: Path) -> bool:
    """False only where SQLite itself says that the file is broken."""
    try:
        with closing(sqlite3.connect(database, timeout=60)) as connection:
            return connection.execute("PRAGMA quick_check(1)").fetchone() == ("ok",)
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode & 0xFF in _BROKEN:  # the low byte; the rest are details
            return False
        raise
