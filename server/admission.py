"""How many live sessions there may be at a time, and how many requests in a minute."""

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from core.errors import Busy, RateLimited

_RETRY_S = 10.0
_MOST_KNOWN = 10_000  # callers whose rate is remembered


class Admission:
    """Counts live sessions; safe to use from any thread."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.active = 0
        self._lock = threading.Lock()

    @contextmanager
    def session(self) -> Iterator[None]:
        """Hold a place for as long as the block lasts. Raises Busy where all are taken."""
        with self._lock:
            if self.active >= self.most:
                raise Busy(
                    f"All {self.most} live sessions are taken.", "Try again later.", retry_after_s=_RETRY_S
                )
            self.active += 1
        try:
            yield
        finally:
            with self._lock:
                self.active -= 1


class Rates:
    """Requests of each caller: `per_minute` at once, then as many as flow back. Monotonic time."""

    def __init__(self, per_minute: int) -> None:
        self._most, self._each_s = float(per_minute), 60 / per_minute
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # caller: requests left, when
        self._lock = threading.Lock()

    def count(self, caller: str) -> None:
        """Raises RateLimited, with the time until the next request is let through."""
        with self._lock:
            now = time.monotonic()
            left, when = self._left.pop(caller, (self._most, now))
            left = min(self._most, left + (now - when) / self._each_s)
            if left >= 1:
                left -= 1
                wait_s = 0.0
            else:
                wait_s = (1 - left) * self._each_s
            self._left[caller] = (left, now)
            while len(self._left) > _MOST_KNOWN:
                self._left.popitem(last=False)
        if wait_s:
            raise RateLimited(
                f"More than {self._most:.0f} requests in a minute.", "Wait a little.", retry_after_s=wait_s
            )
