"""One clip as the page and the API both make it, and how its figures and errors are told."""

import html
import logging
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar

import gradio as gr

from core.errors import TalkerError
from core.order import Order, fulfil
from core.studio import Studio, Talk
from core.talker import Progress
from ui.texts import say

WORK = "work"  # the queue of whatever computes: one at a time, so that a run has the machine's cores
_PERIOD = 0.2  # seconds between two progress reports
T = TypeVar("T")
_log = logging.getLogger(__name__)


def talk(
    studio: Studio, order: Order, show: Callable[[Progress], T]
) -> Generator[T, None, tuple[Talk, dict[str, Any]]]:
    """Make the clip: yields progress as `show` puts it, a few times a second, and returns the clip and
    its figures. Closing it cancels. Raises TalkerError.
    """
    shown, stage = 0.0, ""
    with closing(fulfil(studio, order)) as work:
        while True:
            try:
                step = next(work)
            except StopIteration as stop:
                return stop.value
            if step.stage != stage or time.monotonic() - shown > _PERIOD:
                shown, stage = time.monotonic(), step.stage
                yield show(step)


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
