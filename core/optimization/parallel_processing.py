"""Work on a thread of its own: the upstream part of a pipeline, or a long call that reports progress."""

import threading
from collections.abc import Callable, Generator, Iterable
from queue import Empty, Full, Queue
from typing import TypeVar

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
