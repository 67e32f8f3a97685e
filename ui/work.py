"""One clip as the page and the API both make it, and how its figures and errors are told."""

import html
import logging
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import gradio as gr

from core.contracts import warnings
from core.errors import BadAudio, InputError, TalkerError
from core.option_table import flat, parse_options
from core.options import GenerationOptions
from core.studio import Studio, Talk
from core.talker import Progress
from core.types import AvatarSource
from ui.texts import say

WORK = "work"  # the queue of whatever computes: one at a time, so that a run has the machine's cores
_PERIOD = 0.2  # seconds between two progress reports
T = TypeVar("T")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Order:
    """What somebody asks for: a portrait or the token of one, a voice, and flat option values."""

    owner: str
    source: Path | None
    token: str
    audio: Path | None
    preset: str
    values: Mapping[str, Any]


def talk(
    studio: Studio, order: Order, show: Callable[[Progress], T]
) -> Generator[T, None, tuple[Talk, dict[str, Any]]]:
    """Make the clip: yields progress as `show` puts it, a few times a second, and returns the clip and
    its figures. Closing it cancels. Raises TalkerError.
    """
    options_of(studio, order.values, order.preset)  # wrong ones are told before anything is fetched
    if order.source is None and not order.token:
        raise InputError("No portrait was given.", "Give an image or a video, or an avatar token.")
    if order.audio is None:
        raise BadAudio("No speech was given.", "Give a sound file, or a video that has sound.")
    shown, stage = 0.0, ""
    with closing(_steps(studio, order, order.audio)) as work:
        while True:
            try:
                step = next(work)
            except StopIteration as stop:
                return stop.value
            if step.stage != stage or time.monotonic() - shown > _PERIOD:
                shown, stage = time.monotonic(), step.stage
                yield show(step)


def _steps(
    studio: Studio, order: Order, audio: Path
) -> Generator[Progress, None, tuple[Talk, dict[str, Any]]]:
    """The work itself. The engine must be there before the options, for it brings defaults of its own."""
    yield from studio.ready()
    options = options_of(studio, order.values, order.preset)
    source = AvatarSource(path=order.source) if order.source else None
    made = yield from studio.talk(order.owner, source, order.token, audio, options)
    return made, _figures(studio, made, order, options)


def options_of(studio: Studio, values: Mapping[str, Any], preset: str) -> GenerationOptions:
    """Flat values over the preset over what the running engine brings. Raises BadOption."""
    return parse_options(values, preset, studio.engine.capabilities.defaults)


def _figures(studio: Studio, made: Talk, order: Order, options: GenerationOptions) -> dict[str, Any]:
    """What was made and how fast, JSON-ready: the figures that `inference.py --json` prints."""
    clip = made.clip
    return {
        "frames": clip.frames,
        "duration_s": clip.duration_s,
        "width": clip.size[0],
        "height": clip.size[1],
        "size": list(clip.size),
        "resolution": options.output.resolution,
        "preset": order.preset,
        **studio.running.about(),
        "license_profile": studio.settings.license_profile,
        "seed": options.motion.seed,
        "token": made.token,
        "ffd_ms": round(clip.ffd_ms, 1),
        "rtf": round(clip.rtf, 4),
        "register_ms": round(made.register_ms, 1),
        "stages_ms": {name: round(value, 1) for name, value in clip.stages_ms.items()},
        "notes": list(clip.notes),
        "warnings": [
            *studio.running.warnings,
            *idle_options(studio, order.preset, options, made.is_image),
        ],
        "notice": say("en", "notice"),
    }


def idle_options(studio: Studio, preset: str, options: GenerationOptions, is_image: bool) -> tuple[str, ...]:
    """A warning for every option that was moved away from what the preset means, and that cannot act."""
    usual, asked = flat(options_of(studio, {}, preset)), flat(options)
    moved = [name for name, value in asked.items() if value != usual[name]]
    return warnings(studio.engine, moved, options, is_image)


@contextmanager
def answered(language: str = "") -> Iterator[None]:
    """Turn errors into gradio's: ours word by word, others logged and answered with a neutral line.

    With a language the page is meant, whose messages are HTML; the API gets plain text, and the error's
    code as the title.
    """
    try:
        yield
    except TalkerError as error:
        message = html.escape(str(error)) if language else str(error)
        title = "Error" if language else error.code
        raise gr.Error(message, duration=20, title=title, print_exception=False) from error
    except gr.Error:
        raise
    except Exception as error:  # the last stop before the visitor: no traceback may reach them
        _log.exception("A request failed")
        raise gr.Error(say(language or "en", "error.unknown"), print_exception=False) from error
