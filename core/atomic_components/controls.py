"""What of the caller's controls goes for which frame, and fades: how strongly it follows its motion."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import TypeVar

from core.option_values import FrameControl
from core.options import GenerationOptions, Stitch

T = TypeVar("T")


def overall_control(stitch: Stitch) -> FrameControl:
    """The controls of all frames; the clip's own turn of the head goes before them."""
    given = {"delta_pitch", "delta_yaw", "delta_roll"} & stitch.model_fields_set
    turned = {name: getattr(stitch, name) for name in given}  # 0, too: it takes back what all frames have
    return stitch.overall_ctrl_info.model_copy(update=turned)


def merged(overall: FrameControl, single: FrameControl | None) -> FrameControl:
    """The controls of one frame: what is set for it alone goes before those of all."""
    return overall if single is None else overall.model_copy(update=single.model_dump(exclude_unset=True))


def frame_control(options: GenerationOptions, index: int, total: int | None) -> FrameControl:
    """The controls of frame `index`: its own before those of all frames; a fade of the clip goes before one
    of the frame, as Ditto has it."""
    made = merged(overall_control(options.stitch), options.ctrl_info.get(index))
    alpha = fade_alpha(index, total, options.stitch.fade_in, options.stitch.fade_out)
    return made if alpha is None else made.model_copy(update={"fade_alpha": alpha})


def fade_alpha(index: int, total: int | None, fade_in: int, fade_out: int) -> float | None:
    """How much of the motion frame `index` shows, 0..1; None outside the fades.

    Fade-in: index / fade_in. Fade-out: 1 at frame total - fade_out - 1 down to 0 at the last frame,
    and it rules where both meet, as in Ditto. `total` is None while the end is not in sight; a clip that
    goes on after it stays faded out.
    """
    if total is not None and fade_out > 0 and index >= total - fade_out - 1:
        return max(0.0, (total - 1 - index) / fade_out)
    return index / fade_in if index < fade_in else None


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
