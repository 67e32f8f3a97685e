"""What somebody asks for, the clip that comes of it, and its figures: the same for the page and for REST."""

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.contracts import warnings
from core.errors import BadAudio, InputError
from core.optimization.jobs import Job
from core.option_table import flat, parse_options
from core.options import GenerationOptions
from core.studio import Studio, Talk
from core.talker import Progress
from core.types import AvatarSource

NOTICE = "AI-generated. Use only faces and voices you have the right to use, and tell your viewers."


@dataclass(frozen=True)
class Order:
    """What somebody asks for: a portrait or the token of one, a voice, and flat option values."""

    owner: str
    source: Path | None
    token: str
    audio: Path | None
    preset: str
    values: Mapping[str, Any]
    label: str = ""  # of the portrait; else the name of its file


def check_order(studio: Studio, order: Order) -> Path:
    """What can be told before anything is fetched -> the sound. Raises InputError, BadOption, BadAudio."""
    options_of(studio, order.values, order.preset)
    if order.source is None and not order.token:
        raise InputError("No portrait was given.", "Give an image or a video, or an avatar token.")
    if order.audio is None:
        raise BadAudio("No speech was given.", "Give a sound file, or a video that has sound.")
    return order.audio


def fulfil(
    studio: Studio, order: Order, job: Job | None = None
) -> Generator[Progress, None, tuple[Talk, dict[str, Any]]]:
    """Make the clip, in a job of its own or in the folder of one that the caller runs.

    Yields progress, returns the clip and its figures; closing it cancels. Raises TalkerError.
    """
    audio = check_order(studio, order)
    yield from studio.ready()  # before the options, for an engine brings defaults of its own
    options = options_of(studio, order.values, order.preset)
    source = AvatarSource(path=order.source) if order.source else None
    if job is None:
        made = yield from studio.talk(order.owner, source, order.token, audio, options)
    else:
        made = yield from studio.talk_into(
            job.folder, order.owner, source, order.token, audio, options, order.label
        )
    return made, _figures(studio, made, order, options)


def options_of(studio: Studio, values: Mapping[str, Any], preset: str) -> GenerationOptions:
    """Flat values over the preset over what the running engine brings. Raises BadOption."""
    return parse_options(values, preset, studio.engine.capabilities.defaults)


def idle_options(studio: Studio, preset: str, options: GenerationOptions, is_image: bool) -> tuple[str, ...]:
    """A warning for every option that was moved away from what the preset means, and that cannot act."""
    usual, asked = flat(options_of(studio, {}, preset)), flat(options)
    moved = [name for name, value in asked.items() if value != usual[name]]
    return warnings(studio.engine, moved, options, is_image)


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
        "notice": NOTICE,
    }
