"""What the controls of the options show by default, and which of their values somebody really gave."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.contracts import Engine
from core.option_arrays import ReferenceCharacter
from core.option_table import OPTIONS, OptionSpec, parse_options
from core.option_values import EMOTIONS, FrameControl
from core.options import GenerationOptions

BASIC = ("emo", "resolution")  # these have their place beside the preset
ADVANCED = tuple(name for name in OPTIONS if name not in BASIC)


@dataclass(frozen=True)
class Shown:
    """What each option's control shows before anybody touches it, and which options the engine acts on.

    The page keeps it, for the engine may change behind it. `own` are options of which the engine's files
    bring more than a control can hold; these show "".
    """

    engine: str
    acting: frozenset[str]
    values: Mapping[str, Any]
    own: frozenset[str]


def shown_by(engine: Engine, preset: str) -> Shown:
    """The table's defaults under those that the engine brings under the preset's. Raises BadOption."""
    options = parse_options({}, preset, engine.capabilities.defaults)
    faces = {name: _face(OPTIONS[name], _value(options, name)) for name in (*BASIC, *ADVANCED)}
    values = {name: "" if face is None else face for name, face in faces.items()}
    own = frozenset(name for name, face in faces.items() if face is None)
    return Shown(engine.name, engine.capabilities.acts_on, values, own)


def given(values: Mapping[str, Any], before: Shown) -> dict[str, Any]:
    """The controls' values as option values. What stands as it was shown is not given, so that it does not
    hide what an engine brings; a box that was emptied goes back to the table's default."""
    moved = {name: value for name, value in values.items() if value not in (None, before.values[name])}
    return {name: OPTIONS[name].default if value == "" else value for name, value in moved.items()}


def few_values(spec: OptionSpec) -> tuple[str, ...]:
    """The values of an option that has few: its choices, or those of a yes, no or automatic."""
    return spec.choices or (("none", "true", "false") if spec.range == "true | false | none" else ())


def is_written(spec: OptionSpec) -> bool:
    """Whether an option is written into a box of text."""
    return not (isinstance(spec.default, bool) or few_values(spec) or spec.bounds != (None, None))


def _value(options: GenerationOptions, name: str) -> Any:
    group = OPTIONS[name].group
    return getattr(getattr(options, group) if group else options, name)


def _face(spec: OptionSpec, value: Any) -> Any:
    """An option's value as its control shows it, None where none could."""
    if spec.name == "emo":
        return EMOTIONS[value[0][0]] if len(value) == len(value[0]) == 1 else None
    if few_values(spec):
        return value if isinstance(value, str) else {None: "none", True: "true", False: "false"}[value]
    return _text(value) if is_written(spec) else value


def _text(value: Any) -> str | None:
    """A value as it is written into a box, None for arrays."""
    if isinstance(value, ReferenceCharacter):
        return None
    if isinstance(value, FrameControl):
        return _json(_plain(value))
    if isinstance(value, dict):  # factors by key, or controls by frame number
        ones = all(each == 1.0 for each in value.values())
        return ",".join(value) if ones else _json({key: _plain(each) for key, each in value.items()})
    if isinstance(value, tuple):
        return None if value and isinstance(value[0], tuple) else ",".join(str(each) for each in value)
    return "" if value is None else str(value)


def _json(value: dict[Any, Any]) -> str:
    return json.dumps(value) if value else ""


def _plain(value: Any) -> Any:
    return value.model_dump(mode="json", exclude_unset=True) if isinstance(value, FrameControl) else value
