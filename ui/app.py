"""The Gradio app: page and API in one process, for this machine's studio."""

import logging
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import gradio as gr
from starlette.routing import BaseRoute

from core.checkpoints.check import Progress as Fetched
from core.checkpoints.check import Report
from core.errors import BadOption
from core.option_table import DEFAULT_PRESET
from core.samples import SPEECH
from core.settings import Settings
from core.studio import Studio
from ui import endpoints, page
from ui.engines import Engines
from ui.environment import uploads_of
from ui.handlers import Handlers
from ui.panel import Panel
from ui.shown import shown_by
from ui.texts import TEXTS

Beside = Callable[[Studio], AbstractContextManager[list[BaseRoute]]]
_STYLE = Path(__file__).parent / "style.css"
_log = logging.getLogger(__name__)


def build(studio: Studio, settings: Settings) -> gr.Blocks:
    """The page with its events and endpoints, not yet served."""
    age_s = int(settings.result_hours * 3600)
    with gr.Blocks(title="Visavis", analytics_enabled=False, delete_cache=(min(age_s, 3600), age_s)) as demo:
        shown = page.build(shown_by(studio.engine, DEFAULT_PRESET))
        panel = Panel(shown, studio)
        panel.wire(demo)
        panel.after(Handlers(shown, studio, uploads_of(settings)).wire(demo))
        panel.after(Engines(shown.engine, studio).wire(demo))
        endpoints.register(studio, uploads_of(settings))
    return demo.queue(max_size=settings.max_queue)


def serve(settings: Settings, beside: Beside) -> None:
    """Serve until interrupted, at GRADIO_SERVER_NAME and GRADIO_SERVER_PORT, with the routes of `beside` next
    to the page's. Raises TalkerError."""
    with closing(Studio(settings, _told_in_tenths())) as studio, beside(studio) as routes:
        _log.info("Engine %s: %s", studio.engine.name, studio.running.reason)
        demo = build(studio, settings)
        try:
            address = _launch(demo, settings, routes)
        except OSError as error:
            where = os.environ.get("GRADIO_SERVER_NAME", "127.0.0.1")
            raise BadOption(
                f"The app cannot listen at {where}.",
                "Set GRADIO_SERVER_NAME to an address of this machine and GRADIO_SERVER_PORT to a free port.",
            ) from error
        _log.info("Visavis is at %s", address)
        demo.block_thread()


def _told_in_tenths() -> Report:
    """Downloads at the start, as lines of the log."""
    told = -1

    def report(progress: Fetched) -> None:
        nonlocal told
        tenth = 10 * progress.done // progress.total if progress.total else -1
        if tenth > told:
            told = tenth
            _log.info("Fetching Ditto: %d of %d MB", progress.done // 10**6, progress.total // 10**6)

    return report


def _launch(demo: gr.Blocks, settings: Settings, routes: list[BaseRoute]) -> str:
    """Start the server's thread -> its address."""
    results = settings.home_dir / "results"
    gr.set_static_paths([results])  # served from where they lie: deleting them deletes the only copy
    largest = max(settings.max_image_mib, settings.max_audio_mib, settings.max_video_mib)
    _, address, _ = demo.launch(
        prevent_thread_lock=True,
        quiet=True,
        ssr_mode=False,
        share=False,
        app_kwargs={"routes": routes},
        allowed_paths=[str(results), str(SPEECH.parent)],
        max_file_size=int(largest * 2**20),
        run_history=False,
        footer_links=["api", "settings"],
        i18n=TEXTS,
        theme=_theme(),
        css_paths=_STYLE,
    )
    return address


def _theme() -> gr.themes.Base:
    """Colours and system fonts; a web font would be fetched from the internet."""
    sans = ["system-ui", "-apple-system", "Segoe UI", "Noto Sans", "Noto Sans CJK SC", "sans-serif"]
    theme = gr.themes.Base(
        primary_hue=gr.themes.colors.orange,
        neutral_hue=gr.themes.colors.stone,
        radius_size=gr.themes.sizes.radius_lg,
        font=sans,
        font_mono=["ui-monospace", "Consolas", "monospace"],
    )
    return theme.set(
        body_background_fill="#f6f3ef",
        body_background_fill_dark="#161311",
        block_background_fill="*background_fill_primary",
        block_background_fill_dark="#211d1a",
        block_border_width="0px",
        block_shadow="none",
        block_label_background_fill="transparent",
        block_title_text_weight="600",
        block_title_text_size="*text_sm",
        button_primary_background_fill="*primary_700",
        button_primary_background_fill_hover="*primary_800",
        button_primary_background_fill_dark="*primary_700",
        button_primary_background_fill_hover_dark="*primary_600",
        button_primary_text_color="white",
        slider_color="*primary_700",
        checkbox_background_color_selected="*primary_700",
        color_accent="*primary_700",
        color_accent_soft="*primary_50",
    )
