"""Version 1 of the streaming protocol: what its messages say, text by text and byte by byte.

Pure: no socket, no file, no clock. A client that knows the published streaming server knows this one.
"""

import base64
import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from core.errors import InputError
from core.more_kwargs import read_more_kwargs

FRAME_HEADER_STRUCT = struct.Struct("!IdI")  # frame number, seconds since 1970, bytes of the picture
MOST_BYTES = 2**20  # of a message from a client
ALREADY_ACTIVE = "Streaming already active for this client"
_KINDS = "start_streaming, stop_streaming, ping"


# --- frames


def build_binary_frame_payload(frame_id: int, timestamp: float, picture: bytes) -> bytes:
    """One binary message: 16 bytes of header, big-endian, then the picture as a WebP or JPEG file."""
    return FRAME_HEADER_STRUCT.pack(frame_id, timestamp, len(picture)) + picture


def parse_binary_frame(payload: bytes) -> tuple[int, float, bytes]:
    """A binary message -> frame number, seconds since 1970, picture. Bytes behind the picture are left out.

    Raises ValueError where the message is shorter than it says.
    """
    if len(payload) < FRAME_HEADER_STRUCT.size:
        raise ValueError("Binary payload too small for frame header")
    frame_id, timestamp, length = FRAME_HEADER_STRUCT.unpack_from(payload)
    picture = payload[FRAME_HEADER_STRUCT.size :][:length]
    if len(picture) != length:
        raise ValueError(f"Binary payload truncated: expected {length} bytes, got {len(picture)}")
    return frame_id, timestamp, picture


# --- from the client


@dataclass(frozen=True)
class Start:
    """`start_streaming`. Options are by name and not checked yet; one of source and token is empty."""

    audio_path: str
    source_path: str
    avatar_token: str
    options: Mapping[str, Any]
    binary: bool


class Stop:
    """`stop_streaming`."""


class Ping:
    """`ping`."""


def read_request(text: str | None) -> Start | Stop | Ping:
    """A message of the client; None stands for a binary one. Raises InputError, BadOption."""
    if text is None:
        raise InputError("A binary message came where text belongs.", f"Send JSON: {_KINDS}.")
    message = _parsed(text)
    kind = message.get("type")
    if kind == "ping":
        return Ping()
    if kind == "stop_streaming":
        return Stop()
    if kind != "start_streaming":
        raise InputError(f"Unknown message type: {kind!s:.60}.", f"Known: {_KINDS}.")
    more = read_more_kwargs({name: message.get(name) for name in ("setup_kwargs", "run_kwargs")})
    source, token = _text(message, "source_path"), _text(message, "avatar_token")
    if bool(source) == bool(token):
        raise InputError("One portrait is needed.", "Give either source_path or avatar_token.")
    if not isinstance(binary := message.get("binary", True), bool):
        raise InputError("'binary' is neither true nor false.")
    return Start(_text(message, "audio_path"), source, token, {**more.setup, **more.run}, binary)


def _parsed(text: str) -> Mapping[str, Any]:
    if len(text) > MOST_BYTES:
        raise InputError(f"The message is too large: {len(text)} characters; {MOST_BYTES} are allowed.")
    try:
        message = json.loads(text)
    except ValueError as error:  # also a number of too many digits
        raise InputError("The message is not JSON.", f"Send one of {_KINDS}.") from error
    except RecursionError as error:
        raise InputError("The message is nested too deeply.") from error
    if not isinstance(message, dict):
        raise InputError("The message is no JSON object.", f"Send one of {_KINDS}.")
    return message


def _text(message: Mapping[str, Any], name: str) -> str:
    value = message.get(name) or ""
    if not isinstance(value, str):
        raise InputError(f"'{name}' is no text.")
    return value


# --- to the client; `now` in seconds since 1970


def started(start: Start, now: float) -> str:
    return json.dumps(
        {
            "type": "streaming_started",
            "audio_path": start.audio_path,
            "source_path": start.source_path,
            "timestamp": now,
            "binary": start.binary,
        }
    )


def metadata(audio_duration: float, expected_frames: int, now: float) -> str:
    """`audio_duration` in seconds."""
    return json.dumps(
        {
            "type": "metadata",
            "audio_duration": audio_duration,
            "expected_frames": expected_frames,
            "timestamp": now,
        }
    )


def frame(frame_id: int, picture: bytes, mime: str, now: float) -> str:
    """A frame for clients that do not take binary ones."""
    data = base64.b64encode(picture).decode("ascii")
    return json.dumps(
        {"type": "frame", "frame_id": frame_id, "frame_data": data, "timestamp": now, "mime": mime}
    )


def writer_closed(total_frames: int, now: float) -> str:
    return json.dumps({"type": "writer_closed", "total_frames": total_frames, "timestamp": now})


def completed(now: float) -> str:
    return json.dumps({"type": "streaming_completed", "timestamp": now})


def stopped(now: float) -> str:
    return json.dumps({"type": "streaming_stopped", "timestamp": now})


def pong(now: float) -> str:
    return json.dumps({"type": "pong", "timestamp": now})


def error(message: str) -> str:
    return json.dumps({"type": "error", "message": message})
