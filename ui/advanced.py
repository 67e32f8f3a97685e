"""The advanced panel, made from the option table: one control for every option."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component

from core.option_table import GROUPS, OPTIONS, PRESETS, OptionSpec
from core.options import EMOTIONS
from ui.texts import say, text

BASIC = ("emo", "resolution")  # these have their place beside the preset
ADVANCED = tuple(name for name in OPTIONS if name not in BASIC)
_SAID = {"": "choice.empty", "none": "choice.none", "true": "choice.true", "false": "choice.false"}
_WIDEST = 1e6  # a slider over a wider range could not be aimed


def build(acting: frozenset[str]) -> dict[str, Component]:
    """Lay out the controls group by group; those the engine ignores come last, and say so."""
    controls: dict[str, Component] = {}
    for group in (*GROUPS, "idle"):
        names = [name for name in ADVANCED if _group(name, acting) == group]
        if names:
            with gr.Accordion(text(f"group.{group}"), open=False, elem_classes="vv-group"):
                controls |= {name: _control(OPTIONS[name]) for name in names}
    return {name: controls[name] for name in ADVANCED}


def defaults(preset: str) -> dict[str, Any]:
    """What each control of the panel shows under a preset."""
    return {name: PRESETS[preset].get(name, _shown(OPTIONS[name])) for name in ADVANCED}


def choices(name: str, language: str) -> list[tuple[str, str]]:
    """What a menu offers, in words: of the presets, the emotions or an option."""
    values = {"preset": tuple(PRESETS), "emo": EMOTIONS}.get(name) or _values(OPTIONS[name])
    if name in ("preset", "emo", "resolution"):
        return [(say(language, f"{name}.{value}"), value) for value in values]
    return [(say(language, _SAID[value]) if value in _SAID else value, value) for value in values]


def menus() -> tuple[str, ...]:
    """The options of the panel that are menus."""
    return tuple(name for name in ADVANCED if _values(OPTIONS[name]))


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """The controls' values as option values; what is left empty is left out."""
    return {name: value for name, value in values.items() if value is not None and value != ""}


def _group(name: str, acting: frozenset[str]) -> str:
    return (OPTIONS[name].group or "output") if name in acting else "idle"


def _values(spec: OptionSpec) -> tuple[str, ...]:
    """The values of an option that has few: its choices, or those of a yes, no or automatic."""
    return spec.choices or (("none", "true", "false") if spec.range == "true | false | none" else ())


def _shown(spec: OptionSpec) -> Any:
    """An option's default as its control shows it."""
    default = spec.default
    if _values(spec):
        return default or _values(spec)[0]
    if isinstance(default, bool) or spec.bounds != (None, None):
        return default
    if isinstance(default, tuple):
        return ",".join(default)
    return "" if default is None or default == {} else str(default)


def _control(spec: OptionSpec) -> Component:
    label, info = text(f"option.{spec.name}"), text(f"help.{spec.name}")
    value = defaults("balanced")[spec.name]
    least, greatest = spec.bounds
    if isinstance(value, bool):
        return gr.Checkbox(value, label=label, info=info)
    if _values(spec):
        return gr.Dropdown(choices(spec.name, "en"), value=value, label=label, info=info)
    if least is None or greatest is None:
        return gr.Textbox(value, label=label, info=info, placeholder=spec.range)
    if greatest - least > _WIDEST:
        return gr.Number(value, label=label, info=info, precision=0)
    step = 1 if isinstance(value, int) else 0.5 if greatest - least > 20 else 0.025
    return gr.Slider(least, greatest, value=value, step=step, label=label, info=info)
