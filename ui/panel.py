"""The controls of the options follow the engine: they show its defaults, and hide what it ignores."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.events import Dependency

from core.studio import Studio
from ui import advanced
from ui.page import Page
from ui.shown import BASIC, Shown, shown_by
from ui.texts import language_of, say

Updates = dict[Any, Any]
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}


class Panel:
    """Knows the controls, and the studio whose engine they speak to."""

    def __init__(self, page: Page, studio: Studio) -> None:
        self._shown, self._preset, self._studio = page.shown, page.style.preset, studio
        self._reset, self._groups = page.style.reset, page.style.groups
        self._controls: Mapping[str, Component] = page.style.by_option()

    def wire(self, demo: gr.Blocks) -> None:
        """The controls follow the page's opening and the preset."""
        everything = self._everything()
        basic = [self._controls[name] for name in BASIC]
        demo.load(self.load, self._preset, everything, **_PRIVATE)
        for chosen in (self._preset.change, self._reset.click):
            chosen(self.preset, [self._preset, self._shown, *basic], everything, preprocess=False, **_PRIVATE)

    def after(self, run: Dependency) -> None:
        """The controls follow the engine, where `run` put another one in its place."""
        asked = [self._preset, self._shown, *self._controls.values()]
        run.then(self.engine, asked, self._everything(), preprocess=False, **_PRIVATE)

    def load(self, request: gr.Request, preset: str) -> Updates:
        """Everything as it is by default."""
        return self._updates(request, preset, {})

    def preset(self, request: gr.Request, preset: str, before: Shown, *basic: Any) -> Updates:
        """The panel goes to what a preset means; what was chosen beside the presets stays."""
        return self._updates(request, preset, _moved(dict(zip(BASIC, basic, strict=True)), before))

    def engine(self, request: gr.Request, preset: str, before: Shown, *values: Any) -> Any:
        """Another engine's controls and defaults; what was moved by hand stays."""
        if before.engine == self._studio.engine.name:
            return gr.skip()
        return self._updates(request, preset, _moved(dict(zip(self._controls, values, strict=True)), before))

    def _everything(self) -> list[Any]:
        return [self._shown, self._preset, *self._controls.values(), *self._groups.values()]

    def _updates(self, request: gr.Request, preset: str, kept: Mapping[str, Any]) -> Updates:
        now, language = shown_by(self._studio.engine, preset), language_of(request.headers)
        hint = say(language, f"preset.{preset}.hint")
        made: Updates = {
            self._shown: now,
            self._preset: gr.update(choices=advanced.choices("preset", language), info=hint),
        }
        for name, control in self._controls.items():
            made[control] = gr.update(**{**advanced.properties(name, now, language), **_only(name, kept)})
        for name, group in self._groups.items():
            made[group] = gr.update(visible=advanced.is_seen(name, now))
        return made


def _moved(values: Mapping[str, Any], before: Shown) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value != before.values[name]}


def _only(name: str, kept: Mapping[str, Any]) -> dict[str, Any]:
    return {"value": kept[name]} if name in kept else {}
