"""Two stages at the same time: the upstream part of a pipeline runs on a thread of its own."""

import threading
from collections.abc import Generator, Iterable
from queue import Empty, Full, Queue
from typing import TypeVar

T = TypeVar("T")
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
