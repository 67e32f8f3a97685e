"""The caller's hand on the motion: what is driven, per-frame controls, offsets and fades."""

from collections.abc import Iterable, Iterator

import numpy as np

from core.atomic_components.controls import counted, frame_control
from core.engines.lite.channels import ANGLES, HIGHEST, LOWEST, TURN, Channel, rest
from core.option_values import FrameControl
from core.options import GenerationOptions

KEY_COLUMNS: dict[str, slice] = {
    "exp": slice(Channel.OPEN, Channel.GAZE_Y + 1),
    "pitch": slice(Channel.PITCH, Channel.PITCH + 1),
    "yaw": slice(Channel.YAW, Channel.YAW + 1),
    "roll": slice(Channel.ROLL, Channel.ROLL + 1),
    "t": slice(Channel.SHIFT_X, Channel.SHIFT_Y + 1),
}


def drive_factors(options: GenerationOptions, is_image: bool) -> dict[str, float]:
    """How much of each motion key is driven: all of an image, only the expression of a video."""
    chosen = options.stitch.use_d_keys
    if chosen is not None:
        return {key: chosen.get(key, 0.0) for key in KEY_COLUMNS}  # type: ignore[call-overload]
    return {key: 1.0 if is_image or key == "exp" else 0.0 for key in KEY_COLUMNS}


def controlled(
    rows: Iterable[np.ndarray], options: GenerationOptions, is_image: bool
) -> Iterator[np.ndarray]:
    """Motion rows (WIDTH,) -> rows with the caller's controls, in Ditto's order: mix, controls, fade."""
    stitch = options.stitch
    factors = drive_factors(options, is_image)
    scale = rest(1)[0]
    for key, columns in KEY_COLUMNS.items():
        scale[columns] = factors[key]
    scale[Channel.TALK] = 1.0 if factors["exp"] > 0 else 0.0
    target = rest(1)[0]
    for index, (row, total) in enumerate(counted(rows, stitch)):
        control = frame_control(options, index, total)
        row = _apply(row * scale, control)
        if index == 0 and stitch.fade_type == "d0":
            target = row.copy()
        alpha = control.fade_alpha
        for key in stitch.fade_out_keys if control.fade_out_keys is None else control.fade_out_keys:
            columns = KEY_COLUMNS[key]
            row[columns] = target[columns] + alpha * (row[columns] - target[columns])
        yield _within_reach(row)


def _within_reach(row: np.ndarray) -> np.ndarray:
    """The row, in place, brought to what the renderer can draw: factors and offsets may ask for more."""
    np.clip(row, LOWEST, HIGHEST, out=row)
    row[ANGLES] *= min(1.0, TURN / max(float(np.linalg.norm(row[ANGLES])), 1e-6))
    return row


def _apply(row: np.ndarray, control: FrameControl) -> np.ndarray:
    talk = row[Channel.TALK]
    row[KEY_COLUMNS["exp"]] *= control.alpha_exp
    row[Channel.TALK] = talk  # a weaker expression is still a driven one
    row[KEY_COLUMNS["exp"]] *= control.vad_alpha
    for channel, factor, offset in (
        (Channel.PITCH, control.alpha_pitch, control.delta_pitch),
        (Channel.YAW, control.alpha_yaw, control.delta_yaw),
        (Channel.ROLL, control.alpha_roll, control.delta_roll),
    ):
        row[channel] = row[channel] * factor + (offset or 0.0)
    return row
