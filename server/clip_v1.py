"""The work behind one stream of version 1: a portrait and a sound file become coded frames, one by one."""

import math
from collections.abc import Callable, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.atomic_components.windows import frame_count
from core.media.audio import AudioFile, open_audio
from core.option_table import DEFAULT_PRESET, check_frames, parse_options
from core.options import GenerationOptions
from core.studio import Studio
from core.talker import CHUNK, Session, audio_limits
from core.types import SAMPLE_RATE, AvatarSource, RegisteredAvatar
from server.pictures_v1 import Pictures

_CANVAS = {"resolution": "320"}


@dataclass(frozen=True)
class Rules:
    """What a server decides for its streams: how frames are coded, and option values that stand in for the
    table's own."""

    pictures: Pictures = field(default_factory=Pictures)
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Order:
    """What one client asks for, checked: `source` is None where `token` names an avatar."""

    owner: str
    source: Path | None
    token: str
    audio: Path
    options: GenerationOptions


@dataclass(frozen=True)
class Length:
    """Of a clip: seconds of sound, and its frames."""

    seconds: float
    frames: int


def options_of(studio: Studio, rules: Rules, given: Mapping[str, Any]) -> GenerationOptions:
    """A client's option values over the server's, those over the engine's. Raises BadOption.

    Where the engine's files are not made for streams, what it brings is that of the preset for them.
    """
    brought = studio.engine.capabilities.defaults
    preset = DEFAULT_PRESET if brought.get("online_mode") else "realtime"
    return parse_options({**_CANVAS, **rules.options, **given}, preset, brought)


def clip_frames(
    studio: Studio, order: Order, pictures: Pictures, depth: Callable[[], int]
) -> Generator[Length | bytes, None, None]:
    """The clip's length, then its frames as picture files; `depth` tells how many wait for the client.

    To be pulled on one thread. Raises InputError, ComputeError, Busy, and what else the engine raises.
    """
    engine = studio.engine
    sound = open_audio(order.audio, audio_limits(studio.settings))
    avatar = _avatar(studio, order)
    length = _length(sound)
    check_frames(order.options, length.frames)
    yield length
    session = Session(engine, avatar, order.options)
    with closing(session.frames(sound.chunks(CHUNK))) as frames:
        for frame in frames:
            yield pictures.encode(frame.rgb, depth())


def _avatar(studio: Studio, order: Order) -> RegisteredAvatar:
    if order.source is not None:
        return studio.preload(order.owner, AvatarSource(path=order.source), order.options)[1]
    return studio.avatar(order.token)


def _length(sound: AudioFile) -> Length:
    """As announced where that is counted in samples; else the sound is decoded for it."""
    if sound.exact and sound.duration_s is not None:
        samples = math.ceil(round(sound.duration_s * SAMPLE_RATE, 3))
        return Length(sound.duration_s, frame_count(samples))
    samples = sum(len(chunk.samples) for chunk in sound.chunks())
    return Length(samples / SAMPLE_RATE, frame_count(samples))
