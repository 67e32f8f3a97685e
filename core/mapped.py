"""Arrays that lie in a file: they cost memory only while they are looked at."""

import mmap
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from core.errors import StoreFailed

_BLOCK = 4 * 2**20


class Spool:
    """Bytes that grow in a file without a name, to be mapped once they are all there.

    Use it in a `with`. The disk space is free again when neither the spool is open nor its array is in
    use, however the process ends. Raises StoreFailed where the disk is full.
    """

    def __init__(self) -> None:
        # /tmp may be memory; TMPDIR is the user's word
        roomy = "/var/tmp" if "TMPDIR" not in os.environ and Path("/var/tmp").is_dir() else None  # noqa: S108
        with _translated():
            self._file = tempfile.TemporaryFile(dir=roomy)  # noqa: SIM115  closed by __exit__
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with _translated():
            self._file.close()

    def append(self, data: bytes | memoryview) -> None:
        with _translated():
            self._file.write(data)
        self.size += memoryview(data).nbytes

    def array(self) -> np.ndarray:
        """All bytes so far, uint8 (n,), mapped and read-only; it outlives the spool."""
        with _translated():
            self._file.flush()
            if not self.size:
                return np.empty(0, np.uint8)
            return np.frombuffer(mmap.mmap(self._file.fileno(), self.size, access=mmap.ACCESS_READ), np.uint8)


def forget(array: np.ndarray) -> None:
    """Give back the memory that looking at a mapped, read-only array took; others of its file stay valid."""
    base: object = None if array.flags.writeable else array
    while isinstance(base, np.ndarray):
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap):
        base.madvise(mmap.MADV_DONTNEED)


def blocks(array: np.ndarray) -> Iterator[memoryview]:
    """The bytes of an array in C order, a few MiB at a time; a mapped one is forgotten as they pass."""
    flat = array.reshape(-1).view(np.uint8)
    for start in range(0, len(flat), _BLOCK):
        yield flat[start : start + _BLOCK].data
        forget(array)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StoreFailed(
            f"The pictures of the video cannot be kept for now: {error.strerror}.",
            "Free disk space, or set TMPDIR to a folder that has some.",
        ) from error
