"""What of the caller's controls goes for which frame, and fades: how strongly it follows its motion."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from core.option_values import FrameControl
from core.options import Stitch

T = TypeVar("T")


def overall_control(stitch: Stitch) -> FrameControl:
    """The controls of all frames; the clip's own turn of the head goes before them."""
    deltas = {angle: getattr(stitch, angle) for angle in ("delta_pitch", "delta_yaw", "delta_roll")}
    return stitch.overall_ctrl_info.model_copy(
        update={name: value for name, value in deltas.items() if value}
    )


def merged(overall: FrameControl, single: FrameControl | None) -> FrameControl:
    """The controls of one frame: what is set for it alone goes before those of all."""
    return overall if single is None else overall.model_copy(update=single.model_dump(exclude_unset=True))


def fade_alpha(index: int, total: int | None, fade_in: int, fade_out: int) -> float:
    """How much of the motion frame `index` shows, 0..1.

    Fade-in: index / fade_in. Fade-out: 1 at frame total - fade_out - 1 down to 0 at the last frame,
    and it rules where both meet, as in Ditto. `total` is None while the end is not in sight; a clip that
    goes on after it stays faded out.
    """
    if total is not None and fade_out > 0 and index >= total - fade_out - 1:
        return max(0.0, (total - 1 - index) / fade_out)
    return index / fade_in if index < fade_in else 1.0


def counted(rows: Iterable[T], stitch: Stitch) -> Iterator[tuple[T, int | None]]:
    """Each row with the number of all rows as soon as that is known; it is, where the caller told it."""
    if stitch.N_d > 0:
        return ((row, stitch.N_d) for row in rows)
    return with_total(rows, max(stitch.fade_out, 0))


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
