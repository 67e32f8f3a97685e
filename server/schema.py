"""The forms of the API as OpenAPI describes them, made from the option table."""

from collections.abc import Mapping
from typing import Any

from core.option_table import DEFAULT_PRESET, OPTIONS, PRESETS, OptionSpec
from core.options import Crop

_TEXT = 10_000  # characters of an option that is text
_TYPES = {bool: "boolean", int: "integer", float: "number"}
_FILE = {"type": "string", "format": "binary"}
_COMMON: dict[str, Any] = {
    "preset": {"type": "string", "enum": list(PRESETS), "default": DEFAULT_PRESET},
    "options": {
        "type": "string",
        "maxLength": _TEXT,
        "description": "options as a JSON object; those given by name go before them",
        "examples": ['{"crop_scale": 2.5}'],
    },
}


def option_schema(spec: OptionSpec) -> dict[str, Any]:
    """One option as a form field."""
    about = f"{spec.help} ({spec.unit})" if spec.unit else spec.help
    if spec.choices:
        return {"type": "string", "enum": list(spec.choices), "description": about}
    kind = _TYPES.get(spec.info.annotation) if isinstance(spec.info.annotation, type) else None
    if kind is None:
        return {"type": "string", "maxLength": _TEXT, "description": f"{about}; {spec.range}"}
    least, greatest = spec.bounds
    bounds = {"minimum": least, "maximum": greatest}
    return {"type": kind, "description": about} | {k: v for k, v in bounds.items() if v is not None}


def _form(fields: Mapping[str, Any], required: list[str]) -> dict[str, Any]:
    schema = {
        "type": "object",
        "properties": dict(fields),
        "required": required,
        "additionalProperties": False,
    }
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


GENERATE = _form(
    {
        "source": {**_FILE, "description": "a portrait: .png .jpg .jpeg .webp, or a video"},
        "avatar_token": {
            "type": "string",
            "maxLength": 100,
            "description": "of a registered avatar, in place of a source",
        },
        "audio": {**_FILE, "description": "the voice: .wav .mp3 .m4a .flac .ogg"},
        "wait": {"type": "boolean", "default": True, "description": "false: answer 202 with a job at once"},
        **_COMMON,
        **{name: option_schema(spec) for name, spec in OPTIONS.items()},
    },
    ["audio"],
)
AVATAR = _form(
    {
        "source": {**_FILE, "description": "a portrait: .png .jpg .jpeg .webp, or a video"},
        "label": {"type": "string", "maxLength": 80, "description": "a name to find it by"},
        **_COMMON,
        **{name: option_schema(OPTIONS[name]) for name in Crop.model_fields},
    },
    ["source"],
)
