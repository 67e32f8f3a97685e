"""Options that are arrays: rows of numbers, and a reference character made of them.

They come as arrays, lists or JSON and end as tuples, so that options can be compared and kept as JSON.
"""

import json
from typing import Annotated, Any

import numpy as np
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

MOTION_COLUMNS = 265  # of a motion vector: scale 1, pitch, yaw, roll 66 each, t 3, exp 63
MOST_ROWS = 3000  # of an array: two minutes of frames

_TOO_DEEP = "is not JSON that can be read: it is nested too deeply"

Row = tuple[float, ...]
Rows = tuple[Row, ...]


class OptionGroup(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def plain(value: object) -> object:
    """Arrays and numpy's numbers, in lists too, as lists and numbers."""
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def listed(value: object) -> object:
    """Text with commas, or a JSON list, as a list; anything else as it is."""
    value = plain(value)
    if not isinstance(value, str) or not (value.lstrip().startswith("[") or "," in value):
        return value
    text = value.strip()
    if text.startswith("["):
        try:
            return json.loads(text)
        except json.JSONDecodeError as error:
            if text.count("[") > 1:
                raise ValueError(f"is not JSON ({error.msg} at character {error.pos})") from error
        except RecursionError as error:
            raise ValueError(_TOO_DEEP) from error
    return [part.strip() for part in text.strip("[]() ").split(",") if part.strip()]


def from_json(value: object) -> object:
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON ({error.msg} at character {error.pos})") from error
    except RecursionError as error:
        raise ValueError(_TOO_DEEP) from error


def is_none(value: object) -> bool:
    return isinstance(value, str) and value.strip().lower() in ("none", "null")


def table_of(value: object, width: int | None, name: str = "the array") -> Rows:
    """Numbers in rows, an array, lists or JSON -> rows of `width` numbers each. Raises ValueError."""
    value = plain(from_json(value))
    try:
        array = np.asarray(value, np.float64)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{name} is no array of numbers") from error
    wanted = "any" if width is None else width
    if array.ndim != 2 or not 0 < len(array) <= MOST_ROWS or (width is not None and array.shape[1] != width):
        raise ValueError(f"{name} has the shape {array.shape}, not (1 .. {MOST_ROWS}, {wanted})")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} has numbers that are not finite")
    return tuple(tuple(row) for row in array.tolist())


def _blink(value: object) -> object:
    return None if value is None or is_none(value) else table_of(value, 63)


def _limits(value: object) -> object:
    """Least and greatest value of every column; of upstream's four rows the first two."""
    if value is None or is_none(value):
        return None
    rows = table_of(value, MOTION_COLUMNS)
    if len(rows) not in (2, 4):
        raise ValueError(f"has {len(rows)} rows, not 2 or 4")
    if any(least > greatest for least, greatest in zip(*rows[:2], strict=True)):
        raise ValueError("has a least value (first row) above the greatest (second row)")
    return rows[:2]


def _stretch(value: object) -> object:
    """First and one past the last of the columns of motion."""
    if value is None or is_none(value):
        return None
    return numbers_of(value, 2, "first and one past the last column")


def _columns(value: tuple[int, int] | None) -> tuple[int, int] | None:
    if value is not None and value[0] >= value[1]:
        raise ValueError("is no stretch of columns: the first must be below the second")
    return value


def numbers_of(value: object, count: int, what: str) -> object:
    value = listed(value)
    if not isinstance(value, list) or len(value) != count:
        raise ValueError(f"is not {count} numbers ({what})")
    return tuple(value)


Column = Annotated[int, Field(ge=0, le=MOTION_COLUMNS)]
Columns = Annotated[tuple[Column, Column] | None, BeforeValidator(_stretch), AfterValidator(_columns)]
BlinkCourse = Annotated[Rows | None, BeforeValidator(_blink)]
Limits = Annotated[Rows | None, BeforeValidator(_limits)]


class ReferenceCharacter(OptionGroup):
    """Whose proportions the motion model speaks for. Rows of numbers, one a frame: `pitch`, `yaw`, `roll`
    logits of 66, `t` 3, `exp` 63, `eye_open` 2, `eye_ball` 6; `sc` the 63 canonical keypoints.
    """

    scale: Rows
    pitch: Rows
    yaw: Rows
    roll: Rows
    t: Rows
    exp: Rows
    eye_open: Rows
    eye_ball: Rows
    sc: Row


_WIDTHS = {"scale": 1, "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63, "eye_open": 2, "eye_ball": 6}


def reference_rows(value: Any) -> dict[str, Any] | None:
    """A character as upstream keeps a source (a dict per frame), or as here -> rows by name.

    Pictures and what else is of no use here are left out. Raises ValueError.
    """
    value = from_json(value)
    if isinstance(value, ReferenceCharacter):
        return value.model_dump()
    if not isinstance(value, dict):
        raise ValueError("is no character: an object with scale, pitch, yaw, roll, t, exp, ...")
    if "x_s_info_lst" in value:
        infos = value["x_s_info_lst"]
        if not isinstance(infos, list | tuple) or not all(isinstance(info, dict) for info in infos):
            raise ValueError("x_s_info_lst is not a list with a dict for every frame")
        frames: dict[str, Any] = {name: [info.get(name) for info in infos] for name in _WIDTHS}
        frames |= {name: value.get(f"{name}_lst") for name in ("eye_open", "eye_ball")}
        value = {**frames, "sc": value.get("sc")}
    missing = [name for name in (*_WIDTHS, "sc") if value.get(name) is None]
    if missing:
        raise ValueError(f"lacks {', '.join(missing)}")
    rows = {name: table_of(_flat_rows(value[name]), width, name) for name, width in _WIDTHS.items()}
    if len({len(each) for each in rows.values()}) > 1:
        raise ValueError("has not the same number of frames everywhere")
    return {**rows, "sc": table_of([np.ravel(value["sc"]).tolist()], 63, "sc")[0]}


def _flat_rows(frames: Any) -> list[object]:
    """One row a frame, of frames that are rows or arrays (1, n)."""
    if not isinstance(frames, list | tuple | np.ndarray):
        raise ValueError("has something else than a row of numbers for each frame")
    return [np.ravel(np.asarray(frame)).tolist() for frame in frames]


def _reference(value: object) -> object:
    return None if value is None or is_none(value) else reference_rows(value)


Reference = Annotated[ReferenceCharacter | None, BeforeValidator(_reference)]
