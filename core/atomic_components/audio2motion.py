"""Condition rows -> motion, window by window, as a stream.

The motion model sees 80 frames at a time. Neighbouring windows share `overlap` frames: there the old is
faded into the new and head motion is smoothed, and the frame before the shared ones is the condition
that the next window starts from. Rows come out as soon as no later window can change them. The rules
are those of antgroup/ditto-talkinghead e9191cf6.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from core.atomic_components.keypoints import POSE_WIDTH
from core.atomic_components.smooth import centred_mean
from core.atomic_components.windows import windows

WINDOW = 80  # frames

Predict = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Condition frame (265,) and condition rows (80, C) -> motion (80, 265)."""


@dataclass(frozen=True)
class MotionRules:
    """How windows are joined.

    overlap: frames shared by neighbours, 0..79. smooth: frames in the mean over head motion, 1 for none.
    reset_every: windows between resets of the condition to the source's motion, 0 for never; keep: first
    and one past the last column that a reset leaves as predicted. online: fade over at most the frames
    that are new and smooth once, so that nothing waits, and see complete windows only; else pad the last
    windows and smooth all a second time. early: give a window's frames at once and, in place of fading it
    into the next one, lead that one on from its last frame.
    """

    overlap: int = 10
    smooth: int = 3
    reset_every: int = 0
    keep: tuple[int, int] | None = None
    online: bool = False
    early: bool = False

    @property
    def step(self) -> int:
        """Frames from one window to the next."""
        return WINDOW - self.overlap

    @property
    def fade(self) -> int:
        """Frames over which two windows are faded."""
        return min(self.overlap, self.step) if self.online else self.overlap

    @property
    def held(self) -> int:
        """Frames at the end of a window that wait for the next one."""
        return 0 if self.early else self.fade


def motion_rows(
    conditions: Iterable[np.ndarray], source: np.ndarray, predict: Predict, rules: MotionRules
) -> Iterator[np.ndarray]:
    """Condition rows in chunks (n, C) -> motion in pieces (m, 265) float32.

    As many rows come out as go in. `source` (265,) is the source's own motion, the first condition.
    """
    pieces = _as_long_as(conditions, lambda rows: _joined(rows, source, predict, rules))
    return pieces if rules.online else _smoothed(pieces, rules.smooth)


def _as_long_as(
    rows: Iterable[np.ndarray], work: Callable[[Iterable[np.ndarray]], Iterator[np.ndarray]]
) -> Iterator[np.ndarray]:
    """What `work` makes of the rows, cut to their number: it pads the last window."""
    count = 0

    def counted() -> Iterator[np.ndarray]:
        nonlocal count
        for chunk in rows:
            count += len(chunk)
            yield chunk

    given = 0
    for piece in work(counted()):
        yield piece[: max(0, count - given)]
        given += len(piece)


def _joined(
    conditions: Iterable[np.ndarray], source: np.ndarray, predict: Predict, rules: MotionRules
) -> Iterator[np.ndarray]:
    overlap, margin = rules.overlap, rules.smooth // 2
    condition = source
    join = _led_on if rules.early else _faded
    kept = np.zeros((0, len(source)), np.float32)  # the end of the sequence, as far back as is looked at
    given = 0  # rows of `kept` that are out already
    for number, window in enumerate(windows(conditions, WINDOW, overlap, padded=not rules.online), 1):
        new = predict(condition, window)
        kept = _smooth_pose(new, 0, len(new), rules.smooth) if number == 1 else join(kept, new, rules)
        condition = kept[len(kept) - overlap - 1].copy()
        if rules.reset_every and number % rules.reset_every == 0:
            condition = _reset(condition, source, rules.keep)
        settled = len(kept) - rules.held
        yield kept[given:settled]
        dropped = max(0, settled - max(overlap - rules.held + 1, margin))
        kept, given = kept[dropped:], settled - dropped
    yield kept[given:]


def _faded(kept: np.ndarray, new: np.ndarray, rules: MotionRules) -> np.ndarray:
    """The next window (80, 265) behind the sequence so far; where both have frames the old fades out."""
    fade = rules.fade
    seam = len(kept) - fade
    weight = (np.arange(fade, dtype=np.float32) / max(fade, 1))[:, None]
    shared = (1 - weight) * kept[seam:] + weight * new[rules.overlap - fade : rules.overlap]
    kept = np.concatenate([kept[:seam], shared, new[rules.overlap :]])
    return _smooth_pose(kept, seam, seam + fade + 1, rules.smooth)


def _led_on(kept: np.ndarray, new: np.ndarray, rules: MotionRules) -> np.ndarray:
    """The same where the sequence so far is out already: what the next window is off at the seam is made
    up for, and that fades out over its first frames."""
    following = new[rules.overlap :].copy()
    if rules.overlap:
        off = kept[-1] - new[rules.overlap - 1]
        left = 1 - np.arange(1, rules.fade + 1, dtype=np.float32) / (rules.fade + 1)
        following[: rules.fade] += left[:, None] * off
    end = len(kept) + len(following)
    return _smooth_pose(np.concatenate([kept, following]), len(kept), end, rules.smooth)


def _reset(predicted: np.ndarray, source: np.ndarray, keep: tuple[int, int] | None) -> np.ndarray:
    condition = source.copy()
    if keep:
        columns = slice(*keep)
        condition[columns] = predicted[columns]
    return condition


def _smooth_pose(rows: np.ndarray, start: int, end: int, k: int) -> np.ndarray:
    """Rows (n, 265) with the pose columns of start..end - 1 smoothed; a new array."""
    out = rows.copy()
    if k > 1:
        low = max(0, start - k // 2)
        smooth = centred_mean(rows[low : end + k // 2, :POSE_WIDTH], k)
        out[start:end, :POSE_WIDTH] = smooth[start - low : end - low]
    return out


def _smoothed(pieces: Iterable[np.ndarray], k: int) -> Iterator[np.ndarray]:
    """The pose columns of the whole sequence smoothed, each row held back until its neighbours are in."""
    half = k // 2 if k > 1 else 0
    kept: np.ndarray | None = None
    before = 0  # rows of `kept` that are out already and only looked at
    for piece in pieces:
        kept = piece if kept is None else np.concatenate([kept, piece])
        ready = len(kept) - half
        if ready > before:
            yield _smooth_pose(kept, before, ready, k)[before:ready]
            dropped = max(0, ready - half)
            kept, before = kept[dropped:], ready - dropped
    if kept is not None and len(kept) > before:
        yield _smooth_pose(kept, before, len(kept), k)[before:]
