"""Which engine makes the videos, why, and how to get the other one."""

import html
import os
from collections.abc import Iterator
from typing import Any

import gradio as gr
from gradio.events import Dependency

from core.engines.registry import DITTO
from core.studio import Studio
from ui import show
from ui.page import EngineRoom
from ui.texts import language_of, say
from ui.work import WORK, answered

Updates = dict[Any, Any]
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_HERE = ("", "127.0.0.1", "localhost", "::1")


class Engines:
    """The engine's panel. A fetch is for all visitors alike, so it is offered where the page listens to
    this machine alone."""

    def __init__(self, room: EngineRoom, studio: Studio) -> None:
        self._room, self._studio = room, studio

    def wire(self, demo: gr.Blocks) -> Dependency:
        """Connect the panel's events -> the one that changes the engine."""
        room = self._room
        shown = [room.about, room.news, room.offer, room.fetch, room.cancel]
        demo.load(self.load, None, shown, **_PRIVATE)
        room.offer.click(self.offer, None, shown, trigger_mode="once", **_PRIVATE)
        run = room.fetch.click(
            self.fetch, None, shown, concurrency_id=WORK, concurrency_limit=1, trigger_mode="once", **_PRIVATE
        )
        stop = room.cancel.click(None, cancels=[run], queue=False, **_PRIVATE)
        stop.then(self.load, None, shown, queue=False, **_PRIVATE)
        return run

    def load(self, request: gr.Request) -> Updates:
        """The panel as it is at rest."""
        language = language_of(request.headers)
        offered = self._offered()
        elsewhere = self._studio.engine.name != DITTO and not offered
        return self._state(request, say(language, "engine.elsewhere") if elsewhere else "", offer=offered)

    def offer(self, request: gr.Request) -> Updates:
        """Tell what a fetch takes before it is begun."""
        from core.engines.ditto.start import needs

        language = language_of(request.headers)
        self._check()
        with answered(language):
            found = needs(self._studio.settings)
        lines = [
            say(language, "engine.needs", size=_gb(found.missing), folder=found.folder, free=_gb(found.free),
                variant=found.choice.variant)
            if found.missing
            else say(language, "engine.here", variant=found.choice.variant)
        ]  # fmt: skip
        if found.choice.device == "cpu":
            lines.append(say(language, "engine.slow"))
        if self._studio.settings.license_profile == "research":
            lines.append(say(language, "engine.research"))
        return self._state(request, " ".join(lines), fetch=True)

    def fetch(self, request: gr.Request) -> Iterator[Updates]:
        """Fetch Ditto and use it from now on; the engine before goes on where that fails."""
        language = language_of(request.headers)
        self._check()
        allowed = self._studio.settings.model_copy(update={"download": "auto"})
        yield self._state(request, say(language, "engine.asking"), cancel=True)
        try:
            with answered(language):
                for step in self._studio.switch(DITTO, allowed):
                    yield {self._room.news: show.progress(step, language)}
        except gr.Error:
            yield self.load(request)
            raise
        yield self._state(request, say(language, "engine.changed"))

    def _offered(self) -> bool:
        settings = self._studio.settings
        private = os.environ.get("GRADIO_SERVER_NAME", "") in _HERE
        return self._studio.engine.name != DITTO and settings.download != "never" and private

    def _check(self) -> None:
        """A button that is not shown does nothing either."""
        if not self._offered():
            raise gr.Error(say("en", "engine.elsewhere"), print_exception=False)

    def _state(
        self, request: gr.Request, news: str, offer: bool = False, fetch: bool = False, cancel: bool = False
    ) -> Updates:
        room = self._room
        return {
            room.about: show.engine(self._studio.running, language_of(request.headers)),
            room.news: gr.update(value=f"<p>{html.escape(news)}</p>", visible=bool(news)),
            room.offer: gr.update(visible=offer),
            room.fetch: gr.update(visible=fetch),
            room.cancel: gr.update(visible=cancel),
        }


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f}"
