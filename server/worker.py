"""One thread that computes, so that a clip has the machine's cores, and who waits for it."""

import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from core.errors import Busy, TalkerError

T = TypeVar("T")
_RETRY_S = 10.0
_log = logging.getLogger(__name__)


class Worker:
    """Runs one piece of work at a time, in order; at most `most` wait behind it. Safe from any thread."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="visavis-worker")
        self._lock = threading.Lock()
        self._under_way: dict[Future[Any], Callable[[], None]] = {}
        self._warming: Future[None] | None = None

    @property
    def open(self) -> int:
        """Pieces of work that wait or run."""
        return len(self._under_way)

    def admit(self) -> None:
        """Raises Busy where too many wait."""
        if len(self._under_way) > self._most:
            raise Busy(f"{self._most} requests wait already.", "Try again later.", retry_after_s=_RETRY_S)

    def submit(self, work: Callable[[], T], stop: Callable[[], None]) -> Future[T]:
        """Do `work` as soon as all before it is done; `stop`, from any thread, makes it end soon.

        Raises Busy where too many wait, or the server is about to stop.
        """
        with self._lock:
            self.admit()
            try:
                future = self._pool.submit(work)
            except RuntimeError as error:
                raise Busy("The server is about to stop.", "Try again later.") from error
            self._under_way[future] = stop
        future.add_done_callback(self._ended)
        return future

    def warm_up(self, work: Callable[[], None]) -> None:
        """Do `work` first of all; `ready` waits for it."""
        self._warming = self.submit(work, lambda: None)
        self._warming.add_done_callback(_told)

    @property
    def ready(self) -> bool:
        """Whether the engine is warm, or nobody asked for that."""
        return self._warming is None or (self._warming.done() and self._warming.exception() is None)

    def close(self) -> None:
        """Stop everything and wait for its end."""
        for future, stop in list(self._under_way.items()):
            if not future.cancel():
                stop()
        self._pool.shutdown(wait=True)

    def _ended(self, future: Future[Any]) -> None:
        with self._lock:
            self._under_way.pop(future, None)
        fault = None if future.cancelled() else future.exception()
        if fault is not None and not isinstance(fault, TalkerError):
            _log.error("Work failed unexpectedly", exc_info=fault)


def _told(warming: Future[None]) -> None:
    fault = None if warming.cancelled() else warming.exception()
    if isinstance(fault, TalkerError):  # others are logged anyway
        _log.error("The engine could not be made ready: %s", fault)
