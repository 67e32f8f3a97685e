"""From a caller's options, and what the configuration of the checkpoints adds, to the rules of each stage.

Of a file's `default_kwargs`, emotions and resets count where the caller left the option at its default;
what no option carries (the course of a blink, limits, a reference character, the columns a reset keeps, the
controls of all frames) is the file's alone. The rest of it repeats what the presets say.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from core.atomic_components.audio2motion import MotionRules
from core.atomic_components.blinks import blink_schedule
from core.atomic_components.condition import ConditionRows, Face, emotion_vectors
from core.atomic_components.keypoints import join_vector
from core.atomic_components.motion_stitch import DRIVEN, StitchRules
from core.engines.ditto.config import Audio2MotionConfig, DefaultKwargs, ReferenceCharacter
from core.options import Expression, FrameControl, GenerationOptions, Motion

_BLINKS = 3000  # frames of a schedule; a longer clip goes through it again
_SCALE = "scale"


@dataclass(frozen=True)
class Subject:
    """Who is shown: a motion of a row a frame with `kp`, what the motion model is told, and what it is."""

    motion: Mapping[str, np.ndarray]
    face: Face
    is_image: bool


def motion_rules(options: GenerationOptions, given: DefaultKwargs) -> MotionRules:
    """How windows of motion are joined."""
    own = options.motion
    reset = own.fix_kp_cond if own.fix_kp_cond != Motion().fix_kp_cond else given.fix_kp_cond
    return MotionRules(
        overlap=own.overlap_v2, smooth=own.smo_k_d, reset_every=reset, keep=given.fix_kp_cond_dim
    )


def condition_rows(
    subject: Subject, options: GenerationOptions, given: DefaultKwargs, model: Audio2MotionConfig | None
) -> ConditionRows:
    """What the motion model hears and knows."""
    face = _reference_face(given.ch_info) if given.ch_info else subject.face
    flags = (True,) * 4
    if model is not None:
        flags = (model.use_emo, model.use_eye_open, model.use_eye_ball, model.use_sc)
    return ConditionRows(face, _emotions(options, given), options.expression.eye_f0_mode, *flags)


def first_condition(subject: Subject, given: DefaultKwargs) -> np.ndarray:
    """What the first window starts from, (265,): the source's motion, or the reference character's."""
    motion = _reference_motion(given.ch_info) if given.ch_info else subject.motion
    return join_vector({key: value[:1] for key, value in motion.items()})


def limits(given: DefaultKwargs) -> np.ndarray | None:
    """Least and greatest value of each column of motion, (2, 265), or None."""
    return None if given.v_min_max_for_clip is None else given.v_min_max_for_clip[:2].astype(np.float32)


def stitch_rules(
    subject: Subject, options: GenerationOptions, given: DefaultKwargs, rng: random.Random
) -> StitchRules:
    """What is driven, and how. A fade without a type goes to the source."""
    own, expression = options.stitch, options.expression
    keys: Mapping[str, float] = dict.fromkeys(DRIVEN if subject.is_image else ("exp",), 1.0)
    if own.use_d_keys is not None:
        keys = {str(key): factor for key, factor in own.use_d_keys.items()}
    ratio = 1.0
    if given.ch_info is not None:
        ratio = float(given.ch_info.scale[0].item() / subject.motion[_SCALE][0].item())
    deltas, blinks = given.delta_eye_arr, None
    if deltas is not None:
        blinks = blink_schedule(_BLINKS, len(deltas), expression.delta_eye_open_n, rng)
    return StitchRules(
        use_d_keys=keys,
        drive_eye=subject.is_image if expression.drive_eye is None else expression.drive_eye,
        relative=own.relative_d,
        overall=_overall(options, given),
        fade_type=own.fade_type or "s",
        fade_keys=own.fade_out_keys,
        eye_deltas=None if deltas is None else deltas.astype(np.float32),
        blinks=blinks,
        size_ratio=ratio,
    )


def _overall(options: GenerationOptions, given: DefaultKwargs) -> FrameControl:
    own = options.stitch
    deltas = {"delta_pitch": own.delta_pitch, "delta_yaw": own.delta_yaw, "delta_roll": own.delta_roll}
    return given.overall_ctrl_info.model_copy(update={name: value for name, value in deltas.items() if value})


def _emotions(options: GenerationOptions, given: DefaultKwargs) -> np.ndarray:
    own = options.expression.emo
    if own != Expression().emo:
        return emotion_vectors(own)
    return given.emo if isinstance(given.emo, np.ndarray) else emotion_vectors(given.emo)


def _reference_face(character: ReferenceCharacter) -> Face:
    return Face(*(np.asarray(a, np.float32) for a in (character.eye_open, character.eye_ball, character.sc)))


def _reference_motion(character: ReferenceCharacter) -> dict[str, np.ndarray]:
    return {key: getattr(character, key) for key in (_SCALE, *DRIVEN)}
