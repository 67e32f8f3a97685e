"""Work on a thread of its own: the upstream part of a pipeline, a long call that reports progress, or work
that is fed piece by piece."""

import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from queue import Empty, Full, Queue
from typing import Generic, TypeVar

from core.errors import Cancelled

T = TypeVar("T")
R = TypeVar("R")
_POLL_S = 0.05


class _End:
    """Marks the end of the stream, with the upstream error if there was one."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def close_upstream(items: Iterable[object]) -> None:
    """Close a generator so that its `finally` parts run now; other iterables have nothing to close."""
    if isinstance(items, Generator):
        items.close()


def overlap(items: Iterable[T], depth: int) -> Generator[T, None, None]:
    """The same items in the same order, made up to `depth` ahead on a thread of their own.

    Depth 0 uses no thread. An upstream error is raised here; closing this generator stops the
    thread, closes the upstream part on it and waits for both.
    """
    if depth == 0:
        try:
            yield from items
        finally:
            close_upstream(items)
        return
    queue: Queue[T | _End] = Queue(depth)
    stopped = threading.Event()

    def put(item: T | _End) -> None:
        while not stopped.is_set():
            try:
                queue.put(item, timeout=_POLL_S)
                return
            except Full:
                continue

    def pull() -> None:
        error: BaseException | None = None
        try:
            for item in items:
                put(item)
                if stopped.is_set():
                    break
        except BaseException as caught:  # whatever it is, it belongs to the caller's thread
            error = caught
        finally:
            close_upstream(items)
            put(_End(error))

    thread = threading.Thread(target=pull, name="visavis-overlap", daemon=True)
    thread.start()
    try:
        while True:
            try:
                item = queue.get(timeout=_POLL_S)
            except Empty:
                continue
            if isinstance(item, _End):
                if item.error is not None:
                    raise item.error
                return
            yield item
    finally:
        stopped.set()
        thread.join()


def with_progress(work: Callable[[Callable[[float], None]], R]) -> Generator[float, None, R]:
    """Run `work(report)` on a thread of its own: yields what it reports, returns what it returns.

    An error is raised here. Closing this generator makes the next report raise Cancelled in the work,
    and waits for its end.
    """
    reports: Queue[float | _End] = Queue()
    stopped = threading.Event()
    results: list[R] = []

    def report(fraction: float) -> None:
        if stopped.is_set():
            raise Cancelled("Stopped.")
        reports.put(fraction)

    def run() -> None:
        error: BaseException | None = None
        try:
            results.append(work(report))
        except BaseException as caught:  # whatever it is, it belongs to the caller's thread
            error = caught
        finally:
            reports.put(_End(error))

    thread = threading.Thread(target=run, name="visavis-work", daemon=True)
    thread.start()
    try:
        while not isinstance(item := reports.get(), _End):
            yield item
    finally:
        stopped.set()
        thread.join()
    if item.error is not None:
        raise item.error
    return results[0]


class FedWork(Generic[T, R]):
    """Work on a thread of its own that is fed from here: `work(items, look)`, begun by the first `put`.

    The work iterates over `items` and calls `look` now and then, which raises Cancelled once `cancel` was
    called. At most `depth` items wait; then `put` does, until the work takes one or ends.
    """

    def __init__(self, work: Callable[[Iterator[T], Callable[[], None]], R], depth: int) -> None:
        self._work, self._queue = work, Queue[T | _End](depth)
        self._stopped = threading.Event()
        self._ended = threading.Event()
        self._results: list[R] = []
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="visavis-fed", daemon=True)
        self._started = False

    def put(self, item: T) -> None:
        """Hand in the next item. Raises what the work has raised, if it has ended so."""
        self._send(item)
        if self._ended.is_set() and self._error is not None:
            raise self._error

    def finish(self) -> R:
        """No more items: wait for the work -> what it returns. Raises what it has raised."""
        self._send(_End(None))
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._results[0]

    def cancel(self) -> None:
        """Stop the work at its next look or item, and wait for its end."""
        self._stopped.set()
        if self._started and threading.current_thread() is not self._thread:  # where garbage is collected
            self._thread.join()

    def _send(self, item: T | _End) -> None:
        if not self._started:
            self._started = True
            self._thread.start()
        while not self._ended.is_set():
            try:
                self._queue.put(item, timeout=_POLL_S)
                return
            except Full:
                continue

    def _run(self) -> None:
        items = self._items()
        try:
            self._results.append(self._work(items, self._look))
        except BaseException as caught:  # whatever it is, it belongs to the thread that feeds
            self._error = caught
        finally:
            items.close()
            self._ended.set()

    def _items(self) -> Generator[T, None, None]:
        while True:
            self._look()
            try:
                item = self._queue.get(timeout=_POLL_S)
            except Empty:
                continue
            if isinstance(item, _End):
                return
            yield item

    def _look(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("Stopped.")
