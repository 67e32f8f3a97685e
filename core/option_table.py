"""The options as the doors see them: one flat table of names, presets, and values read into the groups."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from core.errors import BadOption
from core.option_arrays import OptionGroup
from core.option_values import FrameControl
from core.options import Crop, Expression, GenerationOptions, Motion, Output, Stitch

_NESTED = ("ctrl_info", "overall_ctrl_info")  # a wrong value is named by its place in them
NO_DEFAULTS: Mapping[str, Any] = MappingProxyType({})
GROUPS: dict[str, type[OptionGroup]] = {
    "crop": Crop, "motion": Motion, "expression": Expression, "stitch": Stitch, "output": Output,
}  # fmt: skip

DEFAULT_PRESET = "default"
PRESETS: dict[str, dict[str, Any]] = {
    DEFAULT_PRESET: {},  # the defaults: the table's, or what an engine's checkpoints bring
    "fast": {"sampling_timesteps": 25, "overlap_v2": 5, "smo_k_d": 1, "smo_k_s": 1, "max_size": 512},
    "balanced": {"sampling_timesteps": 50, "overlap_v2": 10, "smo_k_d": 3, "smo_k_s": 13, "max_size": 1920},
    "quality": {"sampling_timesteps": 100, "overlap_v2": 20, "smo_k_d": 5, "smo_k_s": 15, "max_size": 1920},
    "realtime": {"online_mode": True, "sampling_timesteps": 30, "overlap_v2": 70, "smo_k_d": 1},
    "chat": {"sampling_timesteps": 10, "max_size": 512, "template_n_frames": 3},
}  # the values of Ditto's users' reference; "realtime" with an overlap at which no frame waits long


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


def parse_options(
    values: Mapping[str, Any],
    preset: str = DEFAULT_PRESET,
    defaults: Mapping[str, Any] = NO_DEFAULTS,
) -> GenerationOptions:
    """Flat option values over a preset's, and those over the defaults that an engine brings
    (`Capabilities.defaults`) -> checked options.

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
    merged = {**defaults, **PRESETS[preset], **values}
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


def check_frames(options: GenerationOptions, frames: int) -> None:
    """Raise BadOption where `ctrl_info` speaks of frames that a clip of so many does not have."""
    beyond = [index for index in options.ctrl_info if index >= frames]
    if beyond:
        raise BadOption(
            f"Option 'ctrl_info': there is no frame {min(beyond)}; the clip has {frames}.",
            f"Allowed: frames 0 .. {frames - 1}.",
        )


def _explain(error: ValidationError) -> tuple[str, str]:
    errors = error.errors(include_url=False)
    name = next((str(part) for part in errors[0]["loc"] if part in OPTIONS), "")
    if not name:  # options that do not go together
        return errors[0]["msg"].removeprefix("Value error, ") + ".", ""
    # of the forms that an option may take, the one meant is the one that was read furthest
    first = max((each for each in errors if name in each["loc"]), key=lambda each: len(each["loc"]))
    where = [str(part) for part in first["loc"]]
    inner = ".".join(where[where.index(name) + 1 :]) if name in _NESTED else ""
    spec = OPTIONS[name]
    wrong = first["msg"].removeprefix("Value error, ")
    given = f" at {inner}" if inner else f" (given: {str(first['input'])[:60]!r})"
    field = next((part for part in where if part in FrameControl.model_fields), "") if inner else ""
    return f"Option '{name}': {wrong}{given}.", f"Allowed: {control_range(field) if field else spec.range}."


def control_range(name: str) -> str:
    """The allowed values of a field of FrameControl in words."""
    schema = FrameControl.model_json_schema()["properties"][name]
    schema = schema.get("anyOf", [schema])[0]
    if "minimum" not in schema:
        return "of " + ", ".join(schema["items"]["enum"])
    return f"{schema['minimum']:g} .. {schema['maximum']:g}"


def flat(options: GenerationOptions) -> dict[str, Any]:
    """The options as a flat JSON-ready dict, every name of the table."""
    dumped = options.model_dump(mode="json")
    return {
        name: (dumped[spec.group][name] if spec.group else dumped[name]) for name, spec in OPTIONS.items()
    }
