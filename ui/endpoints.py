"""The API for gradio_client: plain values in and out, checked by the option table and nothing else."""

import inspect
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from gradio.data_classes import FileData

from core.errors import BadImage, BadOption
from core.option_table import DEFAULT_PRESET, OPTIONS
from core.options import Crop
from core.order import Order, idle_options, options_of
from core.studio import Scope, Studio
from core.talker import Progress
from core.types import AvatarSource
from ui.files import received, sent
from ui.owners import owner_of
from ui.work import WORK, answered, talk

Parameters = Mapping[str, tuple[Any, Any]]  # name -> type, default

_INPUTS: Parameters = {"source": (FileData, None), "audio": (FileData, None), "avatar_token": (str, "")}
_BASIC: Parameters = {
    "preset": (str, DEFAULT_PRESET),
    "resolution": (str, "512"),
    "emo": (Any, None),
    "seed": (int, 1024),
}
_MORE: Parameters = {"options": (str, "{}")}


def register(studio: Studio, uploads: Path) -> None:
    """Add the endpoints to the Blocks that is being built. Paths outside `uploads` are refused."""
    api = Api(studio, uploads)
    rest = {name: (_type(name), None) for name in OPTIONS if name not in _BASIC}
    source = {name: (_type(name), None) for name in Crop.model_fields}
    process = _named(api.process, {**_INPUTS, **_BASIC, **rest, **_MORE}, tuple[FileData, dict])
    preload = _named(
        api.preload,
        {"source": (FileData, None), "label": (str, ""), "preset": (str, DEFAULT_PRESET), **source, **_MORE},
        tuple[str, dict],
    )
    gr.api(process, api_name="process_talking_head", concurrency_id=WORK, concurrency_limit=1)
    gr.api(preload, api_name="preload_avatar", concurrency_id=WORK, concurrency_limit=1)
    gr.api(api.list_avatars, api_name="list_avatars")
    gr.api(api.delete_avatar, api_name="delete_avatar")
    gr.api(api.clear_cache, api_name="clear_cache")


class Api:
    """The endpoints. `given` holds every parameter by name; None means that it was left out."""

    def __init__(self, studio: Studio, uploads: Path) -> None:
        self._studio, self._uploads = studio, uploads

    def process(self, request: gr.Request, given: dict[str, Any]) -> Iterator[tuple[Any, Any]]:
        """Make a portrait talk -> the video, and what was made (frames, timings, token, warnings).

        `source` (image or video) may be left out when `avatar_token` names a registered avatar. While
        the work runs, the second value tells stage, fraction and seconds left. `options` is a JSON object
        of further options; each option of docs/parameters.md is a parameter of its own, too.
        """
        with answered():
            order = Order(
                owner=owner_of(request),
                source=received(given.pop("source"), self._uploads),
                audio=received(given.pop("audio"), self._uploads),
                token=str(given.pop("avatar_token") or ""),
                preset=given.pop("preset"),
                values=_values(given),
            )
            made, figures = yield from talk(self._studio, order, _progress)
            yield sent(made.clip.output), figures

    def preload(self, request: gr.Request, given: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Register a portrait once -> the token to use it by, and what was found."""
        with answered():
            source = received(given.pop("source"), self._uploads)
            if source is None:
                raise BadImage("No portrait was given.", "Give an image or a video.")
            label, preset = given.pop("label"), given.pop("preset")
            values = _values(given)
            options_of(self._studio, values, preset)  # wrong ones are told before anything is fetched
            for _ in self._studio.ready():
                pass  # a plain call has nowhere to show progress
            options = options_of(self._studio, values, preset)
            token, avatar = self._studio.preload(
                owner_of(request), AvatarSource(path=source), options, str(label or "")[:80]
            )
            return token, {
                "token": token,
                "engine": avatar.engine,
                "is_image": avatar.is_image,
                "frames": avatar.n_frames,
                "size": list(avatar.size),
                "notes": list(avatar.notes),
                "warnings": list(idle_options(self._studio, preset, options, avatar.is_image)),
            }

    def list_avatars(self, request: gr.Request) -> list[dict[str, Any]]:
        """The avatars of this client's session (or browser), newest first."""
        with answered():
            return [
                {
                    "token": avatar.token,
                    "label": avatar.label,
                    "created": avatar.created,
                    "size": list(avatar.size),
                    "frames": avatar.n_frames,
                }
                for avatar in self._studio.gallery(owner_of(request))
            ]

    def delete_avatar(self, request: gr.Request, token: str) -> dict[str, Any]:
        """Delete one of one's own avatars."""
        with answered():
            self._studio.forget(owner_of(request), token)
            return {"deleted": token}

    def clear_cache(self, request: gr.Request, scope: str = "results") -> dict[str, Any]:
        """Delete one's own `results` (default), `avatars` or `all` -> how many of each."""
        with answered():
            for known in get_args(Scope):
                if scope == known:
                    return {"scope": scope, **self._studio.clear(owner_of(request), known)}
            raise BadOption(f"Unknown scope '{scope}'.", f"Choose one of {', '.join(get_args(Scope))}.")


def _named(endpoint: Callable[..., Any], parameters: Parameters, returns: Any) -> Callable[..., Any]:
    """An endpoint of one `given` dict as a function with these named parameters, as gradio reads them."""

    def call(request: gr.Request, *values: Any) -> Any:
        return endpoint(request, dict(zip(parameters, values, strict=True)))

    def stream(request: gr.Request, *values: Any) -> Iterator[Any]:
        yield from endpoint(request, dict(zip(parameters, values, strict=True)))

    made: Any = stream if inspect.isgeneratorfunction(endpoint) else call
    kind = inspect.Parameter.POSITIONAL_OR_KEYWORD
    made.__doc__ = endpoint.__doc__
    made.__annotations__ = {name: type_ for name, (type_, _) in parameters.items()}
    made.__annotations__ |= {"request": gr.Request, "return": returns}
    made.__signature__ = inspect.Signature(
        [
            inspect.Parameter("request", kind, default=None),
            *(inspect.Parameter(name, kind, default=default) for name, (_, default) in parameters.items()),
        ],
        return_annotation=returns,
    )
    return made


def _type(name: str) -> Any:
    """The type that clients are told for an option: a plain one, else anything JSON can say."""
    default = OPTIONS[name].default
    return type(default) if isinstance(default, bool | int | float | str) else Any


def _values(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options among an endpoint's parameters: the JSON object `options`, then those named."""
    named = {name: value for name, value in given.items() if name != "options" and value is not None}
    more = given["options"]
    try:
        more = json.loads(more or "{}") if isinstance(more, str | None) else more
    except json.JSONDecodeError as error:
        raise BadOption(f"'options' is not JSON ({error.msg} at character {error.pos}).") from error
    if not isinstance(more, dict):
        raise BadOption("'options' is not a JSON object.", 'Example: {"crop_scale": 2.5}')
    return {**named, **more}


def _progress(step: Progress) -> tuple[None, dict[str, Any]]:
    return None, {"stage": step.stage, "fraction": step.fraction, "eta_s": step.eta_s}
