"""The motion that sound asks for, joined with the motion the source has: one frame at a time.

All in float32 and in the order of antgroup/ditto-talkinghead e9191cf6, so that the same numbers come out:
relative motion, choice of lips and eyes, voice activity, controls, fade, gaze, keypoints, stitching.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.atomic_components.keypoints import ANGLES, Motion, degrees, transform_keypoints
from core.atomic_components.loop import mirror_index
from core.contracts import Network
from core.option_values import FrameControl

_LIPS = (6, 12, 14, 17, 19, 20)  # of the 21 points
_EYES = (11, 13, 15, 16, 18)
DRIVEN = ("exp", "pitch", "yaw", "roll", "t")
_SCALED = ("exp", *ANGLES)  # by another character's size


def _columns(points: Sequence[int]) -> np.ndarray:
    return (np.array(points)[:, None] * 3 + np.arange(3)).reshape(-1)


_LIP_COLUMNS, _EYE_COLUMNS = _columns(_LIPS), _columns(_EYES)


@dataclass(frozen=True)
class StitchRules:
    """What is driven, and how. See the option table; `use_d_keys` holds a factor for each driven key,
    `fade_type` is "" for no fade. `eye_deltas` (n, 63) is the course of a blink, `blinks` (m,) the place in
    it of every frame, cycled. `size_ratio` scales the amplitude of another character's motion. `corrected`
    lets factors of angles act on degrees and voice activity on the lips, where upstream takes logits and all
    of the expression.
    """

    use_d_keys: Mapping[str, float]
    drive_eye: bool
    relative: bool = True
    fade_type: str = ""
    fade_keys: Sequence[str] = ("exp",)
    eye_deltas: np.ndarray | None = None
    blinks: np.ndarray | None = None
    size_ratio: float = 1.0
    corrected: bool = False


class MotionStitch:
    """One clip's frames. Holds the first driven frame and what a fade returns to.

    `source` is a motion of f rows with `kp`; one row makes it an image. `stitch` is the stitching network,
    or None to leave the keypoints as they are.
    """

    def __init__(self, source: Motion, rules: StitchRules, stitch: Network | None) -> None:
        self._source, self._rules, self._stitch = source, rules, stitch
        self._count = len(source["exp"])
        self._pose = {angle: degrees(source[angle][:1]) for angle in ANGLES}
        self._first_driven: Motion | None = None
        self._first_mixed: dict[str, np.ndarray] | None = None

    def start_from(self, driven: Motion) -> None:
        """Make `driven`, a motion of one row, the one that all others are relative to."""
        self._first_driven = driven

    def __call__(self, driven: Motion, index: int, control: FrameControl) -> tuple[np.ndarray, np.ndarray]:
        """Frame `index` driven by a motion of one row -> source and driving points, (1, 21, 3) each."""
        rules = self._rules
        if rules.relative and self._first_driven is None:
            self.start_from(driven)
        row = mirror_index(index, self._count)
        source = {key: value[row : row + 1] for key, value in self._source.items()}
        mixed = self._mixed(source, driven)
        self._choose_expression(mixed, source, index)
        _apply(mixed, source, control, rules.corrected)
        self._fade(mixed, source, control)
        if rules.drive_eye:
            self._follow_with_eyes(mixed)
        x_s, x_d = (transform_keypoints(source["kp"], motion) for motion in (source, mixed))
        if self._stitch is not None:
            x_d = self._stitch({"kp_source": x_s, "kp_driving": x_d})["out"]
        return x_s, x_d

    def _mixed(self, source: Motion, driven: Motion) -> dict[str, np.ndarray]:
        rules = self._rules
        mixed = {key: source[key].copy() for key in ("scale", *DRIVEN)}
        for key, factor in rules.use_d_keys.items():
            change = driven[key] * (rules.size_ratio if key in _SCALED else 1)
            if self._first_driven is None:
                mixed[key] = change * factor
            else:
                first = self._first_driven[key] * (rules.size_ratio if key in _SCALED else 1)
                mixed[key] = source[key] + (change - first) * factor
        return mixed

    def _choose_expression(self, mixed: dict[str, np.ndarray], source: Motion, index: int) -> None:
        """Only lips, and eyes where asked for, come from the driving."""
        rules, chosen = self._rules, source["exp"].copy()
        chosen[:, _LIP_COLUMNS] = mixed["exp"][:, _LIP_COLUMNS]
        if rules.drive_eye and rules.eye_deltas is not None and rules.blinks is not None:
            delta = rules.eye_deltas[rules.blinks[index % len(rules.blinks)]]
            chosen[:, _EYE_COLUMNS] += delta[_EYE_COLUMNS]
        elif rules.drive_eye:
            chosen[:, _EYE_COLUMNS] = mixed["exp"][:, _EYE_COLUMNS]
        mixed["exp"] = chosen

    def _fade(self, mixed: dict[str, np.ndarray], source: Motion, control: FrameControl) -> None:
        if self._first_mixed is None:
            self._first_mixed = {key: value.copy() for key, value in mixed.items()}
        if not self._rules.fade_type or control.fade_alpha >= 1:
            return
        target = self._first_mixed if self._rules.fade_type == "d0" else source
        alpha = np.float32(control.fade_alpha)
        for key in control.fade_out_keys or self._rules.fade_keys:
            here, there = mixed[key], target[key]
            if here.shape != there.shape:  # one was set in degrees
                here, there = degrees(here), degrees(there)
            mixed[key] = here * alpha + there * (1 - alpha)

    def _follow_with_eyes(self, mixed: dict[str, np.ndarray]) -> None:
        """The eyes turn a little with the head, against the source's first pose."""
        dx = (degrees(mixed["yaw"]) - self._pose["yaw"]) * 0.26
        dy = (degrees(mixed["pitch"]) - self._pose["pitch"]) * 0.28
        exp = mixed["exp"] = mixed["exp"].copy()
        right = dx > 0
        exp[:, 33] += dx * np.where(right, 0.0007, 0.001)
        exp[:, 45] += dx * np.where(right, 0.001, 0.0007)
        exp[:, 34] -= 0.001 * dy
        exp[:, 46] -= 0.001 * dy


def _apply(
    mixed: dict[str, np.ndarray], source: Motion, control: FrameControl, corrected: bool
) -> None:  # fmt: skip
    """Voice activity, and the controls of this frame."""
    if control.vad_alpha < 1:
        alpha, exp = np.float32(control.vad_alpha), mixed["exp"].copy()
        columns = _LIP_COLUMNS if corrected else np.arange(exp.shape[1])
        exp[:, columns] = exp[:, columns] * alpha + source["exp"][:, columns] * (1 - alpha)
        mixed["exp"] = exp
    for angle in ANGLES:
        delta, factor = getattr(control, f"delta_{angle}"), getattr(control, f"alpha_{angle}")
        if corrected and factor != 1:
            mixed[angle] = degrees(mixed[angle])
        if delta is not None:
            mixed[angle] = (degrees(mixed[angle]) + delta).astype(np.float32)
        if factor != 1:
            mixed[angle] = (mixed[angle] * factor).astype(np.float32)
    if control.alpha_exp != 1 or control.delta_exp is not None:
        mixed["exp"] = (mixed["exp"] * control.alpha_exp + (control.delta_exp or 0)).astype(np.float32)
