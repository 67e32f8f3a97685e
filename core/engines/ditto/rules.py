"""From a caller's options to the rules of each stage."""

import logging
import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.atomic_components.audio2motion import MotionRules
from core.atomic_components.blinks import blink_schedule
from core.atomic_components.condition import ConditionRows, Face, emotion_vectors
from core.atomic_components.keypoints import join_vector
from core.atomic_components.motion_stitch import DRIVEN, StitchRules
from core.engines.ditto.config import Audio2MotionConfig, DefaultKwargs
from core.errors import BadOption
from core.option_arrays import ReferenceCharacter
from core.option_table import parse_options
from core.options import GenerationOptions

_BLINKS = 3000  # frames of a schedule where no length is known; a longer clip goes through it again
_SCALE = "scale"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Subject:
    """Who is shown: a motion of a row a frame with `kp`, what the motion model is told, and what it is."""

    motion: Mapping[str, np.ndarray]
    face: Face
    is_image: bool


def option_defaults(given: DefaultKwargs) -> dict[str, Any]:
    """What a file sets, as option values; one that no option allows is left out, with a line in the log."""
    dumped = given.model_dump(exclude_unset=True)
    kept: dict[str, Any] = {}
    for name, value in dumped.items():
        try:
            parse_options({name: value, "online_mode": True})
        except BadOption as error:
            _log.warning("Ditto's configuration: %s", error)
        else:
            kept[name] = value
    return kept


def motion_rules(options: GenerationOptions) -> MotionRules:
    """How windows of motion are joined."""
    own = options.motion
    return MotionRules(
        overlap=own.overlap_v2,
        smooth=own.smo_k_d,
        reset_every=own.fix_kp_cond,
        keep=own.fix_kp_cond_dim,
        online=own.online_mode,
        early=own.low_latency,
    )


def condition_rows(
    subject: Subject, options: GenerationOptions, model: Audio2MotionConfig | None
) -> ConditionRows:
    """What the motion model hears and knows."""
    character = options.motion.ch_info
    face = _reference_face(character) if character else subject.face
    flags = (True,) * 4
    if model is not None:
        flags = (model.use_emo, model.use_eye_open, model.use_eye_ball, model.use_sc)
    return ConditionRows(
        face, emotion_vectors(options.expression.emo), options.expression.eye_f0_mode, *flags
    )


def first_condition(subject: Subject, options: GenerationOptions) -> np.ndarray:
    """What the first window starts from, (265,): the source's motion, or the reference character's."""
    character = options.motion.ch_info
    motion = _reference_motion(character) if character else subject.motion
    return join_vector({key: value[:1] for key, value in motion.items()})


def limits(options: GenerationOptions) -> np.ndarray | None:
    """Least and greatest value of each column of motion, (2, 265), or None."""
    rows = options.motion.v_min_max_for_clip
    return None if rows is None else np.array(rows, np.float32)


def stitch_rules(subject: Subject, options: GenerationOptions, rng: random.Random) -> StitchRules:
    """What is driven, and how. A fade without a type goes to the source."""
    own, expression, character = options.stitch, options.expression, options.motion.ch_info
    keys: Mapping[str, float] = dict.fromkeys(DRIVEN if subject.is_image else ("exp",), 1.0)
    if own.use_d_keys is not None:
        keys = {str(key): factor for key, factor in own.use_d_keys.items()}
    ratio = 1.0
    if character is not None:
        ratio = float(_reference_motion(character)[_SCALE][0].item() / subject.motion[_SCALE][0].item())
    deltas, blinks = expression.delta_eye_arr, None
    if deltas is not None:
        frames = own.N_d if own.N_d > 0 else _BLINKS
        blinks = blink_schedule(frames, len(deltas), expression.delta_eye_open_n, rng)
    return StitchRules(
        use_d_keys=keys,
        drive_eye=subject.is_image if expression.drive_eye is None else expression.drive_eye,
        relative=own.relative_d,
        fade_type=own.fade_type or "s",
        fade_keys=own.fade_out_keys,
        eye_deltas=None if deltas is None else np.array(deltas, np.float32),
        blinks=blinks,
        size_ratio=ratio,
        corrected=own.corrected_controls,
    )


def _reference_face(character: ReferenceCharacter) -> Face:
    return Face(
        *(np.array(rows, np.float32) for rows in (character.eye_open, character.eye_ball, character.sc))
    )


def _reference_motion(character: ReferenceCharacter) -> dict[str, np.ndarray]:
    return {key: np.array(getattr(character, key), np.float32) for key in (_SCALE, *DRIVEN)}
