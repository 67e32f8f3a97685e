"""What stands on the page, panel by panel; what happens there is in `ui.handlers`."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from core.option_table import DEFAULT_PRESET
from ui import advanced, plot, show
from ui.shown import Shown
from ui.texts import text

_MARK = (
    '<svg viewBox="0 0 40 40" aria-hidden="true"><rect width="40" height="40" rx="11"/>'
    '<path d="M11 12l9 17 9-17"/><circle cx="20" cy="11" r="3.2"/></svg>'
)


@dataclass(frozen=True)
class Portrait:
    """Where the face comes from: the open tab decides."""

    tabs: dict[str, gr.Tab]
    photo: gr.Image
    video: gr.Video
    avatars: gr.HTML
    sample: gr.Button


@dataclass(frozen=True)
class Style:
    emo: gr.Radio
    preset: gr.Radio
    resolution: gr.Radio
    controls: dict[str, Component]
    groups: dict[str, gr.Accordion]  # what the controls stand in
    reset: gr.Button

    def by_option(self) -> dict[str, Component]:
        """The control of every option."""
        return {"emo": self.emo, "resolution": self.resolution, **self.controls}


@dataclass(frozen=True)
class Stage:
    """Where the result appears, with what was measured."""

    status: gr.HTML
    video: gr.Video
    plot: gr.HTML
    facts: gr.HTML
    more: gr.Accordion
    details: gr.HTML


@dataclass(frozen=True)
class Mine:
    results: gr.Button
    avatars: gr.Button


@dataclass(frozen=True)
class EngineRoom:
    """Which engine is in use, and the way to another."""

    about: gr.HTML
    news: gr.HTML
    offer: gr.Button
    fetch: gr.Button
    cancel: gr.Button


@dataclass(frozen=True)
class Page:
    """Every component that something happens to."""

    secret: gr.BrowserState  # who this browser is; see ui.owners
    mode: gr.State  # the open tab of the portrait: photo, video or avatars
    token: gr.State  # the chosen avatar
    shown: gr.State  # what the options' controls show by default; see ui.shown
    portrait: Portrait
    speech: gr.Audio
    sample_speech: gr.Button
    style: Style
    generate: gr.Button
    cancel: gr.Button
    stage: Stage
    mine: Mine
    engine: EngineRoom


def build(first: Shown) -> Page:
    """Lay the page out, inside the Blocks that is being built. `first`: what the options' controls show."""
    secret = gr.BrowserState("", storage_key="visavis-owner", secret="visavis")  # noqa: S106  hides nothing
    mode, token, shown = gr.State("photo"), gr.State(""), gr.State(first)
    head = f'<header class="vv-head">{_MARK}<h1>Visavis</h1><p>${{value}}</p></header>'
    gr.HTML(text("tagline"), html_template=head, apply_default_css=False)
    with gr.Row(elem_id="vv-studio"):
        with gr.Column(scale=6, min_width=320, elem_id="vv-choose"):
            portrait = _portrait()
            speech, sample_speech = _speech()
            style = _style(first)
        with gr.Column(scale=5, min_width=320, elem_id="vv-stage"):
            with gr.Row(elem_id="vv-go"):
                generate = gr.Button(text("generate"), variant="primary", size="lg", elem_id="vv-generate")
                cancel = gr.Button(
                    text("cancel"), variant="stop", size="lg", visible=False, elem_id="vv-cancel"
                )
            stage = _stage()
            mine = _mine()
            engine = _engine()
    return Page(
        secret, mode, token, shown, portrait, speech, sample_speech, style, generate, cancel, stage, mine,
        engine,
    )  # fmt: skip


def _heading(key: str) -> None:
    template = '<h2 class="vv-heading">${value}</h2>'  # numbered by the style sheet
    gr.HTML(text(key), html_template=template, apply_default_css=False)


def _portrait() -> Portrait:
    with gr.Column(elem_classes="vv-panel"):
        _heading("portrait")
        with gr.Tabs():
            with gr.Tab(text("photo"), id="photo") as photo_tab:
                photo = gr.Image(
                    label=text("photo"), show_label=False, type="filepath", format="png", height=280,
                    sources=["upload", "webcam", "clipboard"], buttons=[], elem_id="vv-photo",
                )  # fmt: skip
                sample = gr.Button(text("sample_portrait"), size="sm", elem_classes="vv-sample")
            with gr.Tab(text("video"), id="video") as video_tab:
                video = gr.Video(
                    label=text("video"), show_label=False, height=280, sources=["upload", "webcam"],
                    buttons=[], elem_id="vv-source-video",
                )  # fmt: skip
            with gr.Tab(text("avatars"), id="avatars") as avatars_tab:
                avatars = gr.HTML(
                    show.gallery([], "", "en"), js_on_load=show.GALLERY, apply_default_css=False,
                    elem_id="vv-avatars",
                )  # fmt: skip
    tabs = {"photo": photo_tab, "video": video_tab, "avatars": avatars_tab}
    return Portrait(tabs, photo, video, avatars, sample)


def _speech() -> tuple[gr.Audio, gr.Button]:
    with gr.Column(elem_classes="vv-panel"):
        _heading("speech")
        speech = gr.Audio(
            label=text("speech"), show_label=False, type="filepath", sources=["upload", "microphone"],
            editable=False, buttons=[], elem_id="vv-speech",
        )  # fmt: skip
        return speech, gr.Button(text("sample_speech"), size="sm", elem_classes="vv-sample")


def _style(first: Shown) -> Style:
    with gr.Column(elem_classes="vv-panel"):
        _heading("style")
        emo = gr.Radio(label=text("emo"), elem_classes="vv-pills", **advanced.properties("emo", first, "en"))
        preset = gr.Radio(
            advanced.choices("preset", "en"), value=DEFAULT_PRESET, label=text("preset"),
            info=text(f"preset.{DEFAULT_PRESET}.hint"), elem_classes="vv-pills",
        )  # fmt: skip
        resolution = gr.Radio(
            label=text("resolution"),
            elem_classes="vv-pills",
            **advanced.properties("resolution", first, "en"),
        )
        with gr.Accordion(text("advanced"), open=False, elem_id="vv-advanced"):
            controls, groups = advanced.build(first)
            reset = gr.Button(text("advanced.reset"), size="sm", elem_classes="vv-sample")
    return Style(emo, preset, resolution, controls, groups, reset)


def _stage() -> Stage:
    with gr.Column(elem_classes="vv-panel", elem_id="vv-result"):
        status = gr.HTML(show.blank("en"), elem_id="vv-status", apply_default_css=False)
        video = gr.Video(
            label=text("result"), show_label=False, interactive=False, autoplay=True, visible=False,
            buttons=["download"], elem_id="vv-video",
        )  # fmt: skip
        template = '<span class="vv-badge">${value}</span>'
        gr.HTML(text("badge"), html_template=template, apply_default_css=False)
        curves = gr.HTML("", js_on_load=plot.FOLLOW, visible=False, apply_default_css=False)
        facts = gr.HTML("", visible=False, apply_default_css=False)
        with gr.Accordion(text("details"), open=False, visible=False, elem_id="vv-details") as more:
            details = gr.HTML("", apply_default_css=False)
        gr.HTML(text("notice"), elem_id="vv-notice", apply_default_css=False)
    return Stage(status, video, curves, facts, more, details)


def _mine() -> Mine:
    with gr.Accordion(text("mine"), open=False, elem_id="vv-mine"):
        gr.HTML(text("mine.hint"), apply_default_css=False)
        with gr.Row():
            return Mine(
                gr.Button(text("clear.results"), size="sm"), gr.Button(text("clear.avatars"), size="sm")
            )


def _engine() -> EngineRoom:
    with gr.Accordion(text("engine"), open=False, elem_id="vv-engine"):
        about = gr.HTML("", apply_default_css=False)
        news = gr.HTML("", visible=False, apply_default_css=False, elem_id="vv-engine-news")
        with gr.Row():
            offer = gr.Button(text("engine.offer"), size="sm", visible=False, elem_id="vv-engine-offer")
            fetch = gr.Button(text("engine.fetch"), size="sm", visible=False, elem_id="vv-engine-fetch")
            cancel = gr.Button(text("cancel"), size="sm", visible=False, elem_id="vv-engine-cancel")
    return EngineRoom(about, news, offer, fetch, cancel)
