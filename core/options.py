"""Every option, defined once: the command line, REST, the page, the SDK and the docs are made from
these classes. Options of the source (`Crop`) decide what is registered and enter the avatar key;
all others belong to one clip.

Users speak in flat names (`crop_scale=2.5`); `core.option_table` sorts them into the groups.
"""

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "contempt")
MOTION_KEYS = ("exp", "pitch", "yaw", "roll", "t")
MotionKey = Literal["exp", "pitch", "yaw", "roll", "t"]

Degrees = Annotated[float, Field(ge=-30, le=30)]
Factor = Annotated[float, Field(ge=0, le=3)]
Alpha = Annotated[float, Field(ge=0, le=1)]


def _emotion(value: object) -> int:
    if isinstance(value, str) and not value.strip().lstrip("-").isdecimal():
        if value.strip().lower() not in EMOTIONS:
            raise ValueError(f"'{value}' is no emotion")
        return EMOTIONS.index(value.strip().lower())
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r} is no emotion")
    if not 0 <= int(value) < len(EMOTIONS):
        raise ValueError(f"{value} is no emotion")
    return int(value)


def emotion_rows(value: object) -> tuple[tuple[int, ...], ...]:
    """One label, a mix of labels, or one mix per frame (cycled) -> rows of labels."""
    if isinstance(value, str) and value.replace(" ", "").startswith("[["):
        value = _json(value)
    elif isinstance(value, str) and "," in value:
        value = value.strip("[]() ").split(",")
    if isinstance(value, list | tuple):
        if not value:
            raise ValueError("the list of emotions is empty")
        if all(isinstance(item, list | tuple) for item in value):
            rows = tuple(tuple(_emotion(label) for label in row) for row in value)
        else:
            rows = (tuple(_emotion(label) for label in value),)
        if not all(rows):
            raise ValueError("a row of emotions is empty")
        return rows
    return ((_emotion(value),),)


def _keys(value: object) -> object:
    if isinstance(value, str):
        value = [part for part in value.replace(" ", "").split(",") if part]
    return tuple(value) if isinstance(value, list) else value


def _factors(value: object) -> object:
    """None, names, or a factor per name -> None or a factor per name."""
    if isinstance(value, str) and value.strip().lower() in ("none", "null"):
        return None
    value = _json(value) if isinstance(value, str) and value.lstrip().startswith("{") else _keys(value)
    if isinstance(value, list | tuple):
        return dict.fromkeys(value, 1.0)
    return value


def _gaps(value: object) -> object:
    if isinstance(value, str) and ("," in value or value.lstrip().startswith("[")):
        value = [part for part in value.strip("[] ").split(",") if part.strip()]
    if value in ([], ()):
        raise ValueError("the list of gaps is empty")
    return tuple(value) if isinstance(value, list) else value


def _json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error.msg} at character {error.pos})") from error
    except RecursionError as error:
        raise ValueError("is not JSON that can be read: it is nested too deeply") from error


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


def _optional_bool(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "auto", "null") else value


Emotions = Annotated[tuple[tuple[int, ...], ...], BeforeValidator(emotion_rows)]
Gaps = Annotated[
    Annotated[int, Field(ge=-1, le=3000)] | tuple[Annotated[int, Field(ge=10, le=3000)], ...],
    BeforeValidator(_gaps),
]
DrivenKeys = Annotated[dict[MotionKey, Factor] | None, BeforeValidator(_factors)]
KeyNames = Annotated[tuple[MotionKey, ...], BeforeValidator(_keys)]


class OptionGroup(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FrameControl(OptionGroup):
    """What one frame overrides (upstream's `ctrl_info` row); None leaves the clip's own value."""

    delta_pitch: Degrees | None = None
    delta_yaw: Degrees | None = None
    delta_roll: Degrees | None = None
    alpha_pitch: Factor = 1.0
    alpha_yaw: Factor = 1.0
    alpha_roll: Factor = 1.0
    alpha_exp: Factor = 1.0
    delta_exp: Annotated[float, Field(ge=-1, le=1)] | None = None
    vad_alpha: Alpha = 1.0
    fade_alpha: Alpha = 1.0
    fade_out_keys: tuple[MotionKey, ...] | None = None


def opt(
    default: Any,
    help_: str,
    *,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
    allowed: str = "",
) -> Any:
    """A pydantic field with what the doors show: help, unit, and the range where bounds do not tell it."""
    return Field(
        default, ge=ge, le=le, description=help_, json_schema_extra={"unit": unit, "allowed": allowed}
    )


class Crop(OptionGroup):
    """How the source is read and framed; these options enter the avatar key."""

    crop_scale: float = opt(2.3, "size of the face crop; larger is looser", unit="face sizes", ge=1.2, le=5)
    crop_vx_ratio: float = opt(0.0, "moves the crop sideways", unit="crop sizes, + right", ge=-1, le=1)
    crop_vy_ratio: float = opt(-0.125, "moves the crop along the face", unit="crop sizes, - up", ge=-1, le=1)
    crop_flag_do_rot: bool = opt(
        True, "turns the crop with a tilted head, which then nods along its face, else along the picture"
    )
    max_size: int = opt(1920, "longest side the source is reduced to", unit="pixels", ge=128, le=4096)
    template_n_frames: int = opt(
        -1, "frames taken from a source video; -1 takes all", unit="frames", ge=-1, le=3000
    )
    smo_k_s: int = opt(13, "smoothing of the landmarks of a source video", unit="frames", ge=1, le=51)


class Motion(OptionGroup):
    """How speech becomes motion."""

    seed: int = opt(1024, "same seed, same frames", ge=0, le=2**32 - 1)
    smo_k_d: int = opt(3, "smoothing of the head motion", unit="frames", ge=1, le=25)
    sampling_timesteps: int = opt(50, "denoising steps of the diffusion model", unit="steps", ge=1, le=1000)
    overlap_v2: int = opt(10, "frames shared by neighbouring motion windows", unit="frames", ge=0, le=79)
    fix_kp_cond: int = opt(
        0, "windows between resets of the condition; 0 never", unit="windows", ge=0, le=1000
    )


class Expression(OptionGroup):
    """Emotion and eyes."""

    emo: Emotions = opt(
        ((4,),),
        "emotion by number or name; a list mixes several, a list of lists goes by frame",
        allowed="0-7 or " + ", ".join(EMOTIONS),
    )
    drive_eye: Annotated[bool | None, BeforeValidator(_optional_bool)] = opt(
        None,
        "whether eyes and brows are driven; none: yes for an image, no for a video",
        allowed="true | false | none",
    )
    delta_eye_open_n: Gaps = opt(
        0,
        "frames between blinks: -1 no blinks, 0 at random (60-100), n every n, a list in turn",
        unit="frames",
        allowed="-1 .. 3000, or a list of 10 .. 3000",
    )
    eye_f0_mode: bool = opt(False, "takes the eye condition from the first source frame only")


class Stitch(OptionGroup):
    """How motion and source are joined."""

    use_d_keys: DrivenKeys = opt(
        None,
        "what is driven, or a factor 0-3 for each; none: all for an image, exp for a video",
        allowed="of " + ", ".join(MOTION_KEYS),
    )
    delta_pitch: Degrees = opt(0.0, "nods the head for the whole clip", unit="degrees, + down")
    delta_yaw: Degrees = opt(
        0.0, "turns the head for the whole clip", unit="degrees, + to the picture's right"
    )
    delta_roll: Degrees = opt(0.0, "tilts the head for the whole clip", unit="degrees, + clockwise")
    fade_in: int = opt(-1, "the motion fades in over the first frames; -1 off", unit="frames", ge=-1, le=3000)
    fade_out: int = opt(
        -1, "the motion fades out over the last frames; -1 off", unit="frames", ge=-1, le=3000
    )
    fade_type: Literal["", "d0", "s"] = opt(
        "", "what a fade fades to: s the source, d0 the first driven frame; empty: s"
    )
    fade_out_keys: KeyNames = opt(("exp",), "what a fade acts on", allowed="of " + ", ".join(MOTION_KEYS))
    relative_d: bool = opt(True, "drives relative to the first driven frame")
    flag_stitching: bool = opt(True, "runs the stitching network")


class Output(OptionGroup):
    """What is drawn."""

    resolution: Annotated[Literal["320", "512", "source"], BeforeValidator(_text)] = opt(
        "512", "canvas: a face-centred square of 320 or 512 pixels, or the source's own size"
    )
    render_size: int = opt(
        0, "side of the face crop that is computed; 0: its size on the canvas", unit="pixels", ge=0, le=1024
    )


class GenerationOptions(OptionGroup):
    """All options of one clip; `ctrl_info` overrides single frames, by frame number from 0."""

    crop: Crop = Crop()
    motion: Motion = Motion()
    expression: Expression = Expression()
    stitch: Stitch = Stitch()
    output: Output = Output()
    ctrl_info: Annotated[dict[Annotated[int, Field(ge=0)], FrameControl], BeforeValidator(_json)] = opt(
        {},
        "controls of single frames, as JSON",
        allowed='{"frame number": {' + ", ".join(FrameControl.model_fields) + "}}",
    )
