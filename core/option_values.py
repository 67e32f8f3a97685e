"""What an option may be besides a number or a word: emotions, keys, gaps, chunks, a frame's controls."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from core.option_arrays import OptionGroup, Rows, from_json, is_none, listed, numbers_of, table_of

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "contempt")
MOTION_KEYS = ("exp", "pitch", "yaw", "roll", "t")
MotionKey = Literal["exp", "pitch", "yaw", "roll", "t"]

Degrees = Annotated[float, Field(ge=-30, le=30)]
Factor = Annotated[float, Field(ge=0, le=3)]
Alpha = Annotated[float, Field(ge=0, le=1)]


# --- emotions


def _emotion(value: object) -> int:
    if isinstance(value, str) and not value.strip().lstrip("-").isdecimal():
        if value.strip().lower() not in EMOTIONS:
            raise ValueError(f"'{value:.60}' is no emotion")
        return EMOTIONS.index(value.strip().lower())
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f"{value!r:.60} is no emotion")
    if not 0 <= int(value) < len(EMOTIONS):
        raise ValueError(f"{value!s:.60} is no emotion")
    return int(value)


def is_weights(row: Sequence[int | float]) -> bool:
    """Whether a row of `emo` weighs all emotions; a shorter one names some."""
    return len(row) == len(EMOTIONS)


def emotion_rows(value: object) -> tuple[tuple[int, ...], ...] | Rows:
    """One label, a mix of labels, one mix per frame, or one row of eight weights per frame (both cycled) ->
    rows of labels, or of weights."""
    value = listed(value)
    if not isinstance(value, list):
        return ((_emotion(value),),)
    if not value:
        raise ValueError("the list of emotions is empty")
    if not all(isinstance(item, list) for item in value):
        return (_labels(value),)
    if all(len(row) < len(EMOTIONS) for row in value):
        return tuple(_labels(row) for row in value)
    return table_of(value, len(EMOTIONS), "an array of weights")


def _labels(row: list[object]) -> tuple[int, ...]:
    if not 0 < len(row) < len(EMOTIONS):
        raise ValueError(f"a mix has 1 to {len(EMOTIONS) - 1} emotions, not {len(row)}")
    return tuple(_emotion(label) for label in row)


# --- keys, gaps, chunks


def _keys(value: object) -> object:
    value = listed(value)
    if isinstance(value, str):
        value = [value.strip()] if value.strip() else []
    return tuple(value) if isinstance(value, list) else value


def _factors(value: object) -> object:
    """None, names, or a factor per name -> None or a factor per name."""
    if is_none(value):
        return None
    value = from_json(value) if isinstance(value, str) and value.lstrip().startswith("{") else _keys(value)
    if isinstance(value, list | tuple):
        return dict.fromkeys(value, 1.0)
    return value


def _gaps(value: object) -> object:
    value = listed(value)
    if value == []:
        raise ValueError("the list of gaps is empty")
    return tuple(value) if isinstance(value, list) else value


def _chunk(value: object) -> object:
    return numbers_of(value, 3, "past, present, future")


def _chunk_fits(value: tuple[int, int, int]) -> tuple[int, int, int]:
    """What HuBERT's published TensorRT engine takes: 5 to 20 frames of 40 ms."""
    if not 5 <= sum(value) <= 20:
        raise ValueError(f"its sum is {sum(value)} frames, not 5 to 20")
    return value


def _optional_bool(value: object) -> object:
    return None if isinstance(value, str) and value.strip().lower() in ("", "none", "auto", "null") else value


def _text(value: object) -> object:
    return str(value) if isinstance(value, int) else value


Emotions = Annotated[tuple[tuple[int | float, ...], ...], BeforeValidator(emotion_rows)]
Gaps = Annotated[
    Annotated[int, Field(ge=-1, le=3000)] | tuple[Annotated[int, Field(ge=10, le=3000)], ...],
    BeforeValidator(_gaps),
]
DrivenKeys = Annotated[dict[MotionKey, Factor] | None, BeforeValidator(_factors)]
KeyNames = Annotated[tuple[MotionKey, ...], BeforeValidator(_keys)]
Chunk = Annotated[
    tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]],
    BeforeValidator(_chunk),
    AfterValidator(_chunk_fits),
]
OptionalBool = Annotated[bool | None, BeforeValidator(_optional_bool)]
Resolution = Annotated[Literal["320", "512", "source"], BeforeValidator(_text)]


# --- compound values


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
    fade_out_keys: KeyNames | None = None


def _by_frame(value: object) -> object:
    """Controls by frame number; upstream's list of them begins with frame 0."""
    value = from_json(value)
    return dict(enumerate(value)) if isinstance(value, list | tuple) else value


FrameControls = Annotated[dict[Annotated[int, Field(ge=0)], FrameControl], BeforeValidator(_by_frame)]
OverallControl = Annotated[FrameControl, BeforeValidator(from_json)]
