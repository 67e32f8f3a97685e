"""The text of docs/parameters.md, from the option table and what was measured (docs/effects.json)."""

import json
from collections.abc import Sequence
from typing import Any

from core.engines.lite.engine import LiteEngine
from core.option_table import OPTIONS, PRESETS, OptionSpec, control_range, flat
from core.option_values import FrameControl
from core.options import GenerationOptions
from scripts.effects import Record
from scripts.effects_ditto import NO_MOTION, UNSEEN

_GROUP_TITLES = {
    "crop": "The source (these enter the avatar's key)",
    "motion": "Motion",
    "expression": "Emotion and eyes",
    "stitch": "Head, keys and fades",
    "output": "Output",
    "": "Single frames",
}
_SOURCES = {
    "portrait": "",
    "wide": " (portrait in a larger picture)",
    "rolled": " (portrait rolled by 20°)",
    "video": " (video source)",
}
_INTRO = """\
# Parameters

Every option of Visavis: a flag of `inference.py`, a field of the page's advanced panel, and an argument
of `/process_talking_head`. Made by `python scripts/make_docs.py` from the one option table
(`core/options.py`).

## How to read the effects

`value`: what is measured, without → with that value. Both clips are the same but for the option that the
row is about, and what is named as "beside". `python scripts/make_docs.py --measure` gives the figures
anew.

- **Ditto's motion**: Ditto's own stages, motion model and stitching network on the sample speech, with
  *made-up weights*: those of the parity kit ([ditto.md](ditto.md)). HuBERT is a stand-in, the source's
  motion is made up, and sampling takes 5 steps. The figures show that an option acts, and on what. How
  large an effect is with the published weights, and what it looks like, they do not show. *unseen*: the
  effect goes through networks that were not at hand with real weights.
- **Picture (lite)**: the engine `lite`, whole, on the sample portrait and the sample speech: its avatar,
  its movements, its pictures.

*no effect*: the option does nothing there, and each use is answered with a warning.
"""
_CONTROLS = """\
### A frame's controls

For a single frame in `ctrl_info`, for all in `overall_ctrl_info`; a single frame goes before all.
`delta_*` are degrees and replace the clip's own value. `alpha_*` multiply the motion. `delta_exp` is
added to every number of the expression. `vad_alpha` and `fade_alpha` say how much of the motion stays, 1
all of it.

Upstream multiplies the 66 logits of an angle by `alpha_*`, not its degrees, and `vad_alpha` acts on all
of the expression. With `corrected_controls` degrees are multiplied, and the lips alone are held. Frame
100 was tried.
"""
_PRESETS = """\
## Presets

Bold: what the preset sets. The others are the table's defaults, in whose place the checkpoints'
configuration may bring its own (`default_kwargs`); a preset goes before these, and an option that you
give before all. So `balanced` differs from `default` where the checkpoints bring other values.
"""


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; bars inside the cells are escaped."""
    lines = [header, ("---",) * len(header), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )


def shown(value: object) -> str:
    """A value as it would be typed on the command line."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value == "":
        return '""'
    return value if isinstance(value, str) else json.dumps(value).replace("null", "none")


def effect(records: Sequence[Record]) -> str:
    """What was measured, in words."""
    return "; ".join(_one(record) for record in records)


def _one(record: Record) -> str:
    others = ", ".join(f"`{name}` {value}" for name, value in record["beside"].items())
    note = f"; {record['note']}" if record["note"] else ""
    return (
        f"`{record['value']}`: {record['measure']} {record['before']:g} → {record['after']:g}"
        f"{_SOURCES[record['source']]}{f' (beside {others})' if others else ''}{note}"
    )


def parameters(effects: dict[str, Any]) -> str:
    """The whole page."""
    defaults = {**flat(GenerationOptions()), "overall_ctrl_info": {}}  # rather than each field of it
    parts = [_INTRO]
    for group, title in _GROUP_TITLES.items():
        rows = [_row(spec, defaults[name], effects) for name, spec in OPTIONS.items() if spec.group == group]
        parts.append(f"## {title}\n\n" + table(_HEADER, rows))
    parts.append(f"{_CONTROLS}\n" + _controls(effects))
    parts.append(f"{_PRESETS}\n" + _presets(defaults))
    return "\n".join(parts)


_HEADER = ("option", "default", "range", "unit", "meaning", "Ditto's motion", "picture (lite)")


def _row(spec: OptionSpec, default: object, effects: dict[str, Any]) -> tuple[str, ...]:
    name, picture = spec.name, "no effect"
    told = {**dict.fromkeys(UNSEEN, "unseen"), **NO_MOTION}
    motion = told.get(name) or effect(effects["ditto"]["options"][name])
    if name in LiteEngine.capabilities.acts_on:
        picture = effect(effects["lite"]["options"][name])
    return (f"`{name}`", shown(default), spec.range, spec.unit, spec.help, motion, picture)


def _controls(effects: dict[str, Any]) -> str:
    ditto = effects["ditto"]
    rows = []
    for name, info in FrameControl.model_fields.items():
        upstream, corrected = effect(ditto["controls"][name]), effect(ditto["corrected"][name])
        picture = effects["lite"]["controls"].get(name)
        rows.append(
            (
                f"`{name}`",
                shown(info.default),
                control_range(name),
                upstream,
                "the same" if corrected == upstream else corrected,
                effect(picture) if picture else "no effect",
            )
        )
    header = (
        "field", "default", "range", "Ditto's motion", "the same with `corrected_controls`", "picture (lite)",
    )  # fmt: skip
    return table(header, rows)


def _presets(defaults: dict[str, Any]) -> str:
    changed = [name for name in OPTIONS if any(name in preset for preset in PRESETS.values())]
    rows = [
        (
            f"`{name}`",
            *(
                f"**{shown(preset[name])}**" if name in preset else shown(defaults[name])
                for preset in PRESETS.values()
            ),
        )
        for name in changed
    ]
    return table(("option", *(f"`{preset}`" for preset in PRESETS)), rows)
