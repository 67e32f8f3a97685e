"""Every option, defined once: the command line, REST, the page, the SDK and the docs are made from
these classes. Options of the source (`Crop`) decide what is registered and enter the avatar key;
all others belong to one clip.

Users speak in flat names (`crop_scale=2.5`); `parse_options` sorts them into the groups.
"""

import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic.fields import FieldInfo

from core.errors import BadOption

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


def _emotion_rows(value: object) -> tuple[tuple[int, ...], ...]:
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
    return (
        tuple(part for part in value.replace(" ", "").split(",") if part) if isinstance(value, str) else value
    )


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
        return value.strip("[] ").split(",")
    return value


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


class _Group(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class FrameControl(_Group):
    """What one frame overrides (upstream's `ctrl_info` row); None leaves the clip's own value."""

    delta_pitch: Degrees | None = None
    delta_yaw: Degrees | None = None
    delta_roll: Degrees | None = None
    alpha_pitch: Factor = 1.0
    alpha_yaw: Factor = 1.0
    alpha_roll: Factor = 1.0
    alpha_exp: Factor = 1.0
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


class Crop(_Group):
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


class Motion(_Group):
    """How speech becomes motion."""

    seed: int = opt(1024, "same seed, same frames", ge=0, le=2**32 - 1)
    smo_k_d: int = opt(3, "smoothing of the head motion", unit="frames", ge=1, le=25)
    sampling_timesteps: int = opt(50, "denoising steps of the diffusion model", unit="steps", ge=1, le=1000)
    overlap_v2: int = opt(10, "frames shared by neighbouring motion windows", unit="frames", ge=0, le=79)
    fix_kp_cond: int = opt(
        0, "windows between resets of the condition; 0 never", unit="windows", ge=0, le=1000
    )


class Expression(_Group):
    """Emotion and eyes."""

    emo: Annotated[tuple[tuple[int, ...], ...], BeforeValidator(_emotion_rows)] = opt(
        ((4,),),
        "emotion by number or name; a list mixes several, a list of lists goes by frame",
        allowed="0-7 or " + ", ".join(EMOTIONS),
    )
    drive_eye: Annotated[bool | None, BeforeValidator(_optional_bool)] = opt(
        None,
        "whether eyes and brows are driven; none: yes for an image, no for a video",
        allowed="true | false | none",
    )
    delta_eye_open_n: Annotated[
        Annotated[int, Field(ge=-1, le=3000)] | tuple[Annotated[int, Field(ge=10, le=3000)], ...],
        BeforeValidator(_gaps),
    ] = opt(
        0,
        "frames between blinks: -1 no blinks, 0 at random (60-100), n every n, a list in turn",
        unit="frames",
        allowed="-1 .. 3000, or a list of 10 .. 3000",
    )
    eye_f0_mode: bool = opt(False, "takes the eye condition from the first source frame only")


class Stitch(_Group):
    """How motion and source are joined."""

    use_d_keys: Annotated[dict[MotionKey, Factor] | None, BeforeValidator(_factors)] = opt(
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
    fade_out_keys: Annotated[tuple[MotionKey, ...], BeforeValidator(_keys)] = opt(
        ("exp",), "what a fade acts on", allowed="of " + ", ".join(MOTION_KEYS)
    )
    relative_d: bool = opt(True, "drives relative to the first driven frame")
    flag_stitching: bool = opt(True, "runs the stitching network")


class Output(_Group):
    """What is drawn."""

    resolution: Annotated[Literal["320", "512", "source"], BeforeValidator(_text)] = opt(
        "512", "canvas: a face-centred square of 320 or 512 pixels, or the source's own size"
    )
    render_size: int = opt(
        0, "side of the face crop that is computed; 0: its size on the canvas", unit="pixels", ge=0, le=1024
    )


class GenerationOptions(_Group):
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


GROUPS: dict[str, type[_Group]] = {
    "crop": Crop, "motion": Motion, "expression": Expression, "stitch": Stitch, "output": Output,
}  # fmt: skip

PRESETS: dict[str, dict[str, Any]] = {
    "fast": {"sampling_timesteps": 25, "overlap_v2": 5, "smo_k_d": 1, "smo_k_s": 1, "max_size": 512},
    "balanced": {"sampling_timesteps": 50, "overlap_v2": 10, "smo_k_d": 3, "smo_k_s": 13, "max_size": 1920},
    "quality": {"sampling_timesteps": 100, "overlap_v2": 20, "smo_k_d": 5, "smo_k_s": 15, "max_size": 1920},
}


@dataclass(frozen=True)
class OptionSpec:
    """One row of the option table: what a door needs to offer, explain and check it."""

    name: str
    group: str  # a name of GROUPS, or "" for ctrl_info
    info: FieldInfo

    @property
    def default(self) -> Any:
        return self.info.default

    @property
    def help(self) -> str:
        return self.info.description or ""

    def _extra(self, key: str) -> str:
        extra = self.info.json_schema_extra
        return str(extra[key]) if isinstance(extra, dict) else ""

    @property
    def unit(self) -> str:
        return self._extra("unit")

    @property
    def bounds(self) -> tuple[float | None, float | None]:
        """Least and greatest value, None where open."""
        found = {type(item).__name__: item for item in self.info.metadata}
        least, greatest = found.get("Ge"), found.get("Le")
        return getattr(least, "ge", None), getattr(greatest, "le", None)

    @property
    def choices(self) -> tuple[str, ...]:
        origin = getattr(self.info.annotation, "__origin__", None)
        return self.info.annotation.__args__ if origin is Literal else ()  # type: ignore[union-attr]

    @property
    def range(self) -> str:
        """The allowed values in words."""
        if self.choices:
            return " | ".join(choice or '""' for choice in self.choices)
        if self.info.annotation is bool:
            return "true | false"
        least, greatest = self.bounds
        return self._extra("allowed") if least is None else f"{least} .. {greatest}"


def _table() -> dict[str, OptionSpec]:
    rows = [
        OptionSpec(name, group, info)
        for group, cls in GROUPS.items()
        for name, info in cls.model_fields.items()
    ]
    rows.append(OptionSpec("ctrl_info", "", GenerationOptions.model_fields["ctrl_info"]))
    return {row.name: row for row in rows}


OPTIONS: dict[str, OptionSpec] = _table()


def parse_options(values: Mapping[str, Any], preset: str = "balanced") -> GenerationOptions:
    """Flat option values over a preset's -> checked options.

    Raises BadOption, naming the option, what is wrong and the allowed range.
    """
    if preset not in PRESETS:
        raise BadOption(f"Unknown preset '{preset}'.", f"Choose one of {', '.join(PRESETS)}.")
    unknown = [name for name in values if name not in OPTIONS]
    if unknown:
        near = difflib.get_close_matches(unknown[0], OPTIONS, n=1)
        raise BadOption(
            f"Unknown option '{unknown[0]}'.",
            f"Did you mean '{near[0]}'?" if near else f"Known: {', '.join(OPTIONS)}.",
        )
    merged = {**PRESETS[preset], **values}
    nested: dict[str, Any] = {}
    for name, value in merged.items():
        group = OPTIONS[name].group
        if group:
            nested.setdefault(group, {})[name] = value
        else:
            nested[name] = value
    try:
        return GenerationOptions.model_validate(nested)
    except ValidationError as error:
        raise BadOption(*_explain(error)) from error


def _explain(error: ValidationError) -> tuple[str, str]:
    first = error.errors(include_url=False)[0]
    where = [str(part) for part in first["loc"]]
    name = next((part for part in where if part in OPTIONS), where[-1])
    inner = ".".join(where[where.index(name) + 1 :]) if name == "ctrl_info" else ""
    spec = OPTIONS[name]
    wrong = first["msg"].removeprefix("Value error, ")
    given = f" at {inner}" if inner else f" (given: {str(first['input'])[:60]!r})"
    return f"Option '{name}': {wrong}{given}.", f"Allowed: {spec.range}."


def flat(options: GenerationOptions) -> dict[str, Any]:
    """The options as a flat JSON-ready dict, every name of the table."""
    dumped = options.model_dump(mode="json")
    return {
        name: (dumped[spec.group][name] if spec.group else dumped[name]) for name, spec in OPTIONS.items()
    }
