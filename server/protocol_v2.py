"""The words of the live protocol `visavis.v2`: pure building and reading, no sockets (docs/protocol.md).

    client -> server   text: JSON with a `type`;  binary: sound, as `audio_in` of `start` announced it
    server -> client   text: JSON with a `type`;  binary: a header of 20 bytes, then media

A media header is `!B3xIId`: kind, three bytes of 0, epoch, sequence, media time in seconds.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.errors import Busy, InputError, TalkerError, TooLong
from core.types import FPS, SAMPLE_RATE

SUBPROTOCOL = "visavis.v2"
MOST_TEXT = 2**20  # characters of a message; options may hold long lists
MOST_SOUND = 2**16  # bytes of a message of sound
HEADER = struct.Struct("!B3xIId")
Seconds = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False)]
Count = Annotated[int, Field(ge=0, lt=2**32)]


class Kind(IntEnum):
    """What a media message holds."""

    HEADER = 1  # what a player needs before the next fragments
    FRAGMENT = 2  # pictures and sound, MP4
    FRAME = 3  # a picture, WebP or JPEG
    SOUND = 4  # the sound of a frame, s16le at 16 kHz


@dataclass(frozen=True)
class MediaMessage:
    """A binary message to the client. `time` is that of its first picture or sample, in seconds."""

    kind: Kind
    epoch: int
    sequence: int
    time: float
    payload: bytes


class _Words(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


# --- from the client


class Pcm(_Words):
    """Raw mono samples, 16 bits, little-endian; a message may end in the middle of one."""

    codec: Literal["pcm_s16le"] = "pcm_s16le"
    rate: int = Field(SAMPLE_RATE, ge=8_000, le=96_000)


class Opus(_Words):
    """One Opus packet a message."""

    codec: Literal["opus"]


class Start(_Words):
    """Begin a session, or go on with one: then `resume` is its secret and `last` the last sequence got."""

    type: Literal["start"]
    source: str | None = Field(None, max_length=4096)
    avatar_token: str | None = Field(None, max_length=256)
    options: dict[str, Any] = {}
    preset: str = Field("realtime", max_length=64)
    media: Literal["fmp4", "frames"] = "fmp4"
    image: Literal["webp", "jpeg"] = "jpeg"
    audio_in: Annotated[Pcm | Opus, Field(discriminator="codec")] = Pcm()
    resume: str | None = Field(None, max_length=256)
    last: Count = 0


class Say(_Words):
    """Speak a file that was uploaded."""

    type: Literal["say"]
    audio: str = Field(max_length=4096)


class End(_Words):
    """The pushed utterance is whole."""

    type: Literal["end"]


class Interrupt(_Words):
    type: Literal["interrupt"]


class Stop(_Words):
    type: Literal["stop"]


class Ping(_Words):
    type: Literal["ping"]
    t: float = Field(0.0, allow_inf_nan=False)


class Report(_Words):
    """How the player is: `played_s` is its media time, `buffered_s` what it has after that, `dropped` the
    pictures that it has not shown in all, `last` the last sequence that it got."""

    type: Literal["report"]
    buffered_s: Seconds
    played_s: Seconds
    dropped: Count = 0
    last: Count | None = None


ClientMessage = Start | Say | End | Interrupt | Stop | Ping | Report
_CLIENT: TypeAdapter[ClientMessage] = TypeAdapter(Annotated[ClientMessage, Field(discriminator="type")])


def read_message(text: str) -> ClientMessage:
    """A client's text. Raises TooLong, and InputError that names the place where it is wrong."""
    if len(text) > MOST_TEXT:
        raise TooLong(f"A message has {len(text)} characters; the limit is {MOST_TEXT}.")
    try:
        return _CLIENT.validate_json(text)
    except ValidationError as error:
        raise InputError(_explain(error), "See docs/protocol.md.") from error


def _explain(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part)[:60] for part in first["loc"])
    return f"Message{' at ' + where if where else ''}: {first['msg'][:300]}."


def check_sound(data: bytes) -> None:
    """Raises TooLong for a message of sound beyond the limit."""
    if len(data) > MOST_SOUND:
        raise TooLong(f"A message of sound has {len(data)} bytes; the limit is {MOST_SOUND}.")


# --- to the client


class Ready(_Words):
    type: Literal["ready"] = "ready"
    session: str
    resume: str
    epoch: int
    mime: str
    size: tuple[int, int]
    fps: int = FPS
    rate: int = SAMPLE_RATE


class Speaking(_Words):
    """Pushed sound begins or ends at a media time."""

    type: Literal["speaking"] = "speaking"
    on: bool
    epoch: int
    time: float


class Interrupted(_Words):
    """From this media time on all is of this epoch; what the player has of older ones it drops."""

    type: Literal["interrupted"] = "interrupted"
    epoch: int
    time: float


class Pong(_Words):
    type: Literal["pong"] = "pong"
    t: float


class Stats(_Words):
    type: Literal["stats"] = "stats"
    late_s: float
    drift_ms: float
    fps: float
    crf: int
    rate_divisor: int
    waiting_s: float
    sessions: int


class Failure(_Words):
    type: Literal["error"] = "error"
    code: str
    message: str
    retry_after_s: float | None = None


class Bye(_Words):
    """The session is over."""

    type: Literal["bye"] = "bye"
    reason: Literal["stopped", "idle", "slow", "failed"]


ServerMessage = Ready | Speaking | Interrupted | Pong | Stats | Failure | Bye
_SERVER: TypeAdapter[ServerMessage] = TypeAdapter(Annotated[ServerMessage, Field(discriminator="type")])


def failure(error: TalkerError) -> Failure:
    """An error of ours as the client hears it."""
    retry = getattr(error, "retry_after_s", None) if isinstance(error, Busy) else None
    return Failure(code=error.code, message=str(error), retry_after_s=retry)


def read_answer(text: str) -> ServerMessage:
    """A server's text, for clients. Raises InputError."""
    try:
        return _SERVER.validate_json(text)
    except ValidationError as error:
        raise InputError(_explain(error)) from error


def pack_media(message: MediaMessage) -> bytes:
    """A media message as it is sent."""
    head = HEADER.pack(message.kind, message.epoch, message.sequence, message.time)
    return head + message.payload


def read_media(data: bytes) -> MediaMessage:
    """A binary message of the server, for clients. Raises InputError where it is none."""
    if len(data) < HEADER.size:
        raise InputError(f"A media message has {len(data)} bytes, less than its header's {HEADER.size}.")
    kind, epoch, sequence, time = HEADER.unpack_from(data)
    if kind not in {*Kind}:
        raise InputError(f"A media message is of unknown kind {kind}.")
    return MediaMessage(Kind(kind), epoch, sequence, time, data[HEADER.size :])
