"""The advanced panel, made from the option table: one control for every option."""

from typing import Any

import gradio as gr
from gradio.components import Component

from core.option_table import GROUPS, OPTIONS, PRESETS
from core.option_values import EMOTIONS
from ui.shown import ADVANCED, BASIC, Shown, few_values, is_written
from ui.texts import say, text

_SAID = {"": "choice.empty", "none": "choice.none", "true": "choice.true", "false": "choice.false"}
_WIDEST = 1e6  # a slider over a wider range could not be aimed


def build(first: Shown) -> tuple[dict[str, Component], dict[str, gr.Accordion]]:
    """Lay out the panel -> the controls by option, and the groups that they stand in."""
    controls: dict[str, Component] = {}
    groups: dict[str, gr.Accordion] = {}
    for group in GROUPS:
        title, seen = text(f"group.{group}"), is_seen(group, first)
        with gr.Accordion(title, open=False, visible=seen, elem_classes="vv-group") as groups[group]:
            controls |= {name: _control(name, first) for name in ADVANCED if _group(name) == group}
    return {name: controls[name] for name in ADVANCED}, groups


def is_seen(group: str, now: Shown) -> bool:
    """Whether the engine acts on anything in a group."""
    return any(_group(name) == group for name in ADVANCED if name in now.acting)


def properties(name: str, now: Shown, language: str) -> dict[str, Any]:
    """What an option's control shows and offers."""
    made = {"value": now.values[name], "visible": name in now.acting}
    if name in BASIC or few_values(OPTIONS[name]):
        own = [(say(language, f"{name}.own"), "")] if name in now.own else []
        return {**made, "choices": own + choices(name, language)}
    if is_written(OPTIONS[name]):
        return {**made, "placeholder": say(language, "own") if name in now.own else OPTIONS[name].range}
    return made


def choices(name: str, language: str) -> list[tuple[str, str]]:
    """What a menu offers, in words: of the presets, the emotions or an option."""
    values = {"preset": tuple(PRESETS), "emo": EMOTIONS}.get(name) or few_values(OPTIONS[name])
    if name in ("preset", "emo", "resolution"):
        return [(say(language, f"{name}.{value}"), value) for value in values]
    return [(say(language, _SAID[value]) if value in _SAID else value, value) for value in values]


def _group(name: str) -> str:
    return OPTIONS[name].group or "output"


def _control(name: str, first: Shown) -> Component:
    spec, made = OPTIONS[name], properties(name, first, "en")
    made |= {"label": text(f"option.{name}"), "info": text(f"help.{name}")}
    least, greatest = spec.bounds
    if isinstance(spec.default, bool):
        return gr.Checkbox(**made)
    if few_values(spec):
        return gr.Dropdown(**made)
    if least is None or greatest is None:
        return gr.Textbox(**made)
    if greatest - least > _WIDEST:
        return gr.Number(precision=0, **made)
    step = 1 if isinstance(spec.default, int) else 0.5 if greatest - least > 20 else 0.025
    return gr.Slider(least, greatest, step=step, **made)
