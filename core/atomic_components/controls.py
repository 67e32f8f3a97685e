"""Fades: how strongly each frame follows its motion."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def fade_alpha(index: int, total: int | None, fade_in: int, fade_out: int) -> float:
    """How much of the motion frame `index` shows, 0..1.

    Fade-in: index / fade_in. Fade-out: 1 at frame total - fade_out - 1 down to 0 at the last frame,
    and it rules where both meet, as in Ditto. `total` is None while the end is not in sight.
    """
    if total is not None and fade_out > 0 and index >= total - fade_out - 1:
        return (total - 1 - index) / fade_out
    return index / fade_in if index < fade_in else 1.0


def with_total(items: Iterable[T], hold: int) -> Iterator[tuple[T, int | None]]:
    """Each item, and the count of all items where at most `hold` items follow it (else None).

    A stream does not know its end: so `hold` items are held back until it comes. 0 holds none.
    """
    waiting: deque[T] = deque()
    count = 0
    for item in items:
        count += 1
        waiting.append(item)
        if len(waiting) > hold:
            yield waiting.popleft(), None
    for item in waiting:
        yield item, count
