"""Orders as forms bring them, and the work they make, done on the worker's thread."""

import asyncio
import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path
from typing import Any, TypeVar

from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request

from core.errors import BadImage, BadOption, BadRequest, Cancelled, TalkerError
from core.optimization.jobs import Job
from core.option_table import DEFAULT_PRESET
from core.order import Order, check_order, fulfil, options_of
from core.studio import Studio
from core.types import AvatarSource, RegisteredAvatar
from server.house import House
from server.uploads import Kind

T = TypeVar("T")
LABEL = 80  # characters
_log = logging.getLogger(__name__)


class Fields:
    """The fields of a form that are no files: taken one by one; what is left are options by name."""

    def __init__(self, form: FormData) -> None:
        self._left: dict[str, str] = {}
        seen: set[str] = set()
        for name, value in form.multi_items():
            if name in seen:
                raise BadRequest(f"The field '{name:.60}' is there twice.", "Give each field once.")
            seen.add(name)
            if isinstance(value, str):
                self._left[name] = value

    def take(self, name: str, default: str = "") -> str:
        return self._left.pop(name, default)

    def options(self) -> dict[str, Any]:
        """The options by name over those of the JSON object `options`. Raises BadOption."""
        text = self.take("options") or "{}"
        try:
            more = json.loads(text)
        except (json.JSONDecodeError, RecursionError) as error:
            raise BadOption(f"'options' is not JSON: {error}.", 'Example: {"crop_scale": 2.5}') from error
        if not isinstance(more, dict):
            raise BadOption("'options' is not a JSON object.", 'Example: {"crop_scale": 2.5}')
        return {**more, **self._left}


def file_in(form: FormData, kind: Kind) -> UploadFile | None:
    """The file of a field, None where it is missing or empty. Raises BadRequest where it is text."""
    given = form.get(kind)
    if isinstance(given, str):
        raise BadRequest(f"'{kind}' is not a file.", "Send it as a file of the form.")
    return given if given is not None and (given.filename or given.size) else None


async def order_of(house: House, owner: str, form: FormData, fields: Fields) -> Order:
    """The order in a form of `/generate`, its files saved as uploads. Raises TalkerError."""
    source, audio = file_in(form, "source"), file_in(form, "audio")
    token, preset = fields.take("avatar_token"), fields.take("preset", DEFAULT_PRESET)
    values = await asyncio.to_thread(_values, house.studio, fields, preset)  # before the files are kept
    if source is not None and token:
        raise BadRequest("Both a source and an avatar_token were given.", "Give one of them.")
    saved: dict[str, Path] = {}
    try:
        if source is not None:
            saved["source"] = await house.uploads.save(owner, "source", source)
        if audio is not None:
            saved["audio"] = await house.uploads.save(owner, "audio", audio)
    except TalkerError:
        for path in saved.values():
            house.uploads.remove(path)
        raise
    label = Path(source.filename or "").stem[:LABEL] if source is not None else ""
    return Order(owner, saved.get("source"), token, saved.get("audio"), preset, values, label)


def _values(studio: Studio, fields: Fields, preset: str) -> dict[str, Any]:
    """The options of a form, checked: megabytes of numbers are allowed, so not on the event loop."""
    values = fields.options()
    options_of(studio, values, preset)
    return values


def place(house: House, order: Order) -> tuple[Job, Future[None]]:
    """Queue an order, whose files go when it is done -> its job. Raises InputError, Busy, StoreFailed."""
    check_order(house.studio, order)
    job = house.studio.jobs.create(order.owner)
    try:
        future = house.worker.submit(lambda: _make(house, order, job), job.cancel)
    except TalkerError:
        house.studio.jobs.remove(order.owner, job.id)
        raise
    future.add_done_callback(lambda done: _ended(house, order, job))
    return job, future


def _make(house: House, order: Order, job: Job) -> None:
    with job.running() as run, closing(fulfil(house.studio, order, job)) as work:
        while True:
            try:
                step = next(work)
            except StopIteration as stop:
                talk, figures = stop.value
                run.done(talk.clip.output, figures)
                break
            run.progress(step.fraction or 0.0, step.stage, step.eta_s)
    seconds = talk.clip.rtf * talk.clip.duration_s
    house.metrics.clip_done(talk.clip.ffd_ms / 1000, talk.clip.rtf, talk.clip.frames / seconds)


def _ended(house: House, order: Order, job: Job) -> None:
    job.cancel()  # where the work never began
    house.metrics.job_ended(job.status.state)
    house.uploads.remove(order.source)
    house.uploads.remove(order.audio)


class Registration:
    """A portrait to be registered, which can be stopped from any thread."""

    def __init__(self, studio: Studio, owner: str, source: Path | None, fields: Fields) -> None:
        if source is None:
            raise BadImage("No portrait was given.", "Give an image or a video as 'source'.")
        self.preset, self.label = fields.take("preset", DEFAULT_PRESET), fields.take("label")[:LABEL]
        self.values = _values(studio, fields, self.preset)
        self._studio, self._owner, self._source = studio, owner, source
        self._stopped = threading.Event()

    def stop(self) -> None:
        self._stopped.set()

    def make(self) -> tuple[str, RegisteredAvatar]:
        """-> the token and the avatar. Raises TalkerError."""
        for _ in self._studio.ready():
            self._look()
        self._look()
        options = options_of(self._studio, self.values, self.preset)
        source = AvatarSource(path=self._source)
        return self._studio.preload(self._owner, source, options, self.label, lambda fraction: self._look())

    def _look(self) -> None:
        if self._stopped.is_set():
            raise Cancelled("Stopped.")


async def result_of(request: Request, future: Future[T], stop: Callable[[], None]) -> T:
    """What the work gives; a client that goes away stops it. Raises what the work raises."""
    work = asyncio.wrap_future(future)
    gone = asyncio.create_task(_gone(request))
    try:
        await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            _log.info("a client went away; its request is stopped")
            stop()
        return await work
    except asyncio.CancelledError:
        stop()
        raise
    finally:
        gone.cancel()
        await asyncio.wait((gone,))


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
