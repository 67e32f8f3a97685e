"""What happens on the page. Every event knows its browser by the secret that comes with it."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from core.order import Order
from core.samples import SPEECH, sample_portrait
from core.studio import Scope, Studio, Talk
from core.talker import Progress
from ui import plot, show
from ui.files import received
from ui.owners import is_secret, new_secret, owner_of
from ui.page import Page
from ui.shown import Shown, given
from ui.texts import language_of, say
from ui.work import WORK, answered, talk

Updates = dict[Any, Any]  # component -> its new value, or an update of its properties
_PRIVATE: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
_TO_STAGE = """() => {  // on a phone the stage lies below the choices
  const stage = document.getElementById('vv-result');
  if (window.innerWidth <= 760) stage.scrollIntoView({behavior: 'smooth'});
}"""


class Handlers:
    """Knows the page, the studio behind it and the folder that uploads lie in."""

    def __init__(self, page: Page, studio: Studio, uploads: Path) -> None:
        self._page, self._studio, self._uploads = page, studio, uploads

    def wire(self, demo: gr.Blocks) -> Dependency:
        """Connect every event, none of which belongs to the API -> the one that makes videos."""
        page, stage = self._page, self._page.stage
        self._wire_choices(demo)
        shown = [stage.status, stage.video, stage.plot, stage.facts, stage.more, stage.details]
        shown += [page.generate, page.cancel]
        asked = [page.secret, page.mode, page.portrait.photo, page.portrait.video, page.token, page.speech]
        asked += [page.style.preset, page.shown, *page.style.by_option().values()]
        gallery = [page.token, page.portrait.avatars]
        page.generate.click(None, js=_TO_STAGE)  # before the run: listeners of a click wait for each other
        run = page.generate.click(
            self.generate, asked, [*shown, page.portrait.avatars, page.engine.about], preprocess=False,
            concurrency_id=WORK, concurrency_limit=1, trigger_mode="once", **_PRIVATE,
        )  # fmt: skip
        stop = page.cancel.click(None, cancels=[run], queue=False, **_PRIVATE)
        stop.then(self.stopped, None, shown, queue=False, **_PRIVATE)  # after the run's last report
        page.mine.results.click(self.clear_results, page.secret, shown, **_PRIVATE)
        page.mine.avatars.click(self.clear_avatars, page.secret, gallery, **_PRIVATE)
        return run

    def _wire_choices(self, demo: gr.Blocks) -> None:
        page = self._page
        gallery = [page.token, page.portrait.avatars]
        told = [page.secret, page.portrait.avatars, page.stage.status]
        demo.load(self.load, page.secret, told, **_PRIVATE)
        for name, tab in page.portrait.tabs.items():
            tab.select(partial(str, name), None, page.mode, queue=False, **_PRIVATE)
        page.portrait.tabs["avatars"].select(
            self.gallery, [page.secret, page.token], page.portrait.avatars, queue=False, **_PRIVATE
        )
        page.portrait.avatars.select(self.choose, page.secret, gallery, queue=False, **_PRIVATE)
        page.portrait.avatars.delete(self.delete, [page.secret, page.token], gallery, **_PRIVATE)
        page.portrait.sample.click(sample_portrait, None, page.portrait.photo, queue=False, **_PRIVATE)
        page.sample_speech.click(partial(str, SPEECH), None, page.speech, queue=False, **_PRIVATE)

    def load(self, request: gr.Request, secret: object) -> Updates:
        """A browser opens the page: it gets its secret and its avatars."""
        page, language = self._page, language_of(request.headers)
        kept = secret if is_secret(secret) else new_secret()
        return {
            page.secret: kept,
            page.portrait.avatars: self.gallery(request, kept, ""),
            page.stage.status: show.blank(language),
        }

    def gallery(self, request: gr.Request, secret: object, token: str) -> str:
        """The browser's avatars, the chosen one marked."""
        owner, language = owner_of(request, secret), language_of(request.headers)
        with answered(language):
            return show.gallery(self._studio.gallery(owner), token, language)

    def choose(self, request: gr.Request, event: gr.EventData, secret: object) -> tuple[str, str]:
        """A card was clicked: its avatar speaks next."""
        token = str(event.token)
        return token, self.gallery(request, secret, token)

    def delete(self, request: gr.Request, event: gr.EventData, secret: object, token: str) -> tuple[str, str]:
        """A card's cross was clicked."""
        with answered(language_of(request.headers)):
            self._studio.forget(owner_of(request, secret), str(event.token))
        token = "" if token == event.token else token
        return token, self.gallery(request, secret, token)

    def clear_results(self, request: gr.Request, secret: object) -> Updates:
        """The browser's videos are deleted."""
        self._clear(request, secret, "results")
        return self._empty(show.blank(language_of(request.headers)))

    def clear_avatars(self, request: gr.Request, secret: object) -> tuple[str, str]:
        """The browser's avatars are deleted."""
        self._clear(request, secret, "avatars")
        return "", self.gallery(request, secret, "")

    def _clear(self, request: gr.Request, secret: object, scope: Scope) -> None:
        language = language_of(request.headers)
        with answered(language):
            gr.Info(say(language, "cleared", **self._studio.clear(owner_of(request, secret), scope)))

    def generate(
        self, request: gr.Request, secret: object, mode: str, photo: object, video: object, token: str,
        audio: object, preset: str, before: Shown, *controls: Any,
    ) -> Iterator[Updates]:  # fmt: skip
        """Make the video: progress first, then the video with its figures. Files come as FileData dicts."""
        language = language_of(request.headers)
        try:
            with answered(language):
                values = dict(zip(self._page.style.by_option(), controls, strict=True))
                order = Order(
                    owner=owner_of(request, secret),
                    source=received({"photo": photo, "video": video}.get(mode), self._uploads),
                    token=token if mode == "avatars" else "",
                    audio=received(audio, self._uploads),
                    preset=preset,
                    values=given(values, before),
                )
                yield self._running(language)
                made, figures = yield from talk(
                    self._studio, order, lambda step: {self._page.stage.status: show.progress(step, language)}
                )
                avatars = self.gallery(request, secret, order.token)
                yield {**self._finished(made, figures, language), self._page.portrait.avatars: avatars}
        except gr.Error:
            yield self._empty(show.blank(language, "failed"))
            raise

    def _running(self, language: str) -> Updates:
        page, first = self._page, show.progress(Progress("register", None, None), language)
        return {
            **self._empty(first),
            page.generate: gr.update(visible=False),
            page.cancel: gr.update(visible=True),
        }

    def _finished(self, made: Talk, figures: dict[str, Any], language: str) -> Updates:
        page, stage = self._page, self._page.stage
        return {
            page.generate: gr.update(visible=True),
            page.cancel: gr.update(visible=False),
            stage.status: gr.update(visible=False),
            stage.video: gr.update(value=str(made.clip.output), visible=True),
            stage.plot: _seen(plot.plot(made.clip.loudness, made.clip.opening, language)),
            stage.facts: _seen(show.facts(figures, language)),
            stage.more: gr.update(visible=True),
            stage.details: show.details(figures, language),
            page.engine.about: show.engine(self._studio.running, language),
        }

    def stopped(self, request: gr.Request) -> Updates:
        """The visitor stopped a run."""
        return self._empty(show.blank(language_of(request.headers), "stopped"))

    def _empty(self, status: str) -> Updates:
        stage = self._page.stage
        return {
            stage.status: _seen(status),
            stage.video: gr.update(value=None, visible=False),
            stage.plot: gr.update(visible=False),
            stage.facts: gr.update(visible=False),
            stage.more: gr.update(visible=False),
            self._page.generate: gr.update(visible=True),
            self._page.cancel: gr.update(visible=False),
        }


def _seen(value: str) -> Any:
    return gr.update(value=value, visible=True)
