"""The known streaming protocol: frames byte by byte, messages name by name, and a reader that holds."""

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import streaming_protocol
from core.errors import InputError
from server import protocol_v1 as protocol
from server.protocol_v1 import MOST_BYTES, Ping, Start, Stop, read_request
from streaming_protocol import FRAME_HEADER_STRUCT, build_binary_frame_payload, parse_binary_frame

IDS = st.integers(0, 2**32 - 1)
TIMES = st.floats(allow_nan=False)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)
NAMES = ("type", "audio_path", "source_path", "avatar_token", "setup_kwargs", "run_kwargs", "binary")
STARTS = st.fixed_dictionaries(
    {"type": st.just("start_streaming")},
    optional={name: JSON | st.text(max_size=5) for name in NAMES[1:]},
)


def test_a_frame_is_what_existing_clients_read() -> None:
    payload = build_binary_frame_payload(7, 1.5, b"RIFFxxWEBP")
    assert payload == bytes.fromhex("00000007 3ff8000000000000 0000000a") + b"RIFFxxWEBP"
    assert FRAME_HEADER_STRUCT.size == 16
    assert struct.unpack("!IdI", payload[:16]) == (7, 1.5, 10)


def test_the_known_names_are_there() -> None:
    assert set(streaming_protocol.__all__) <= set(vars(streaming_protocol))


@given(IDS, TIMES, st.binary(max_size=200), st.binary(max_size=5))
def test_frames_come_back(frame_id: int, timestamp: float, picture: bytes, behind: bytes) -> None:
    payload = build_binary_frame_payload(frame_id, timestamp, picture)
    assert parse_binary_frame(payload + behind) == (frame_id, timestamp, picture)


@given(st.binary(min_size=1, max_size=50), st.data())
def test_a_cut_frame_is_told(picture: bytes, data: st.DataObject) -> None:
    length = data.draw(st.integers(0, 15 + len(picture)))
    payload = build_binary_frame_payload(3, 1.0, picture)[:length]
    if length < 16:
        expected = "Binary payload too small for frame header"
    else:
        expected = f"Binary payload truncated: expected {len(picture)} bytes, got {length - 16}"
    with pytest.raises(ValueError) as told:
        parse_binary_frame(payload)
    assert str(told.value) == expected


@given(st.binary(max_size=64))
def test_any_bytes_are_a_frame_or_a_value_error(payload: bytes) -> None:
    try:
        _, _, picture = parse_binary_frame(payload)
    except ValueError:
        return
    assert payload[16:].startswith(picture)


def test_a_start_is_read_as_it_was_meant() -> None:
    text = json.dumps(
        {
            "type": "start_streaming",
            "audio_path": "/u/a.wav",
            "source_path": "/u/p.png",
            "setup_kwargs": {"emo": 3, "resolution": 512},
            "run_kwargs": {"chunksize": [3, 5, 2], "fade_in": -1, "fade_out": 5, "ctrl_info": {}},
            "binary": False,
        }
    )
    assert read_request(text) == Start(
        "/u/a.wav", "/u/p.png", "",
        {"emo": 3, "resolution": 512, "chunksize": [3, 5, 2], "fade_in": -1, "fade_out": 5, "ctrl_info": {}},
        False,
    )  # fmt: skip
    short = read_request('{"type": "start_streaming", "audio_path": "a", "avatar_token": "av_1"}')
    assert short == Start("a", "", "av_1", {}, True)
    assert isinstance(read_request('{"type": "stop_streaming"}'), Stop)
    assert isinstance(read_request('{"type": "ping", "more": 1}'), Ping)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "binary message came where text belongs"),
        ("{", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5_000, "not JSON"),
        ("[1]", "no JSON object"),
        (" " * (MOST_BYTES + 1), "too large"),
        ('{"type": "dance"}', "Unknown message type: dance"),
        ('{"type": {"a": 1}}', "Unknown message type"),
        ('{"type": "start_streaming", "audio_path": "a"}', "One portrait"),
        ('{"type": "start_streaming", "source_path": "a", "avatar_token": "b"}', "One portrait"),
        ('{"type": "start_streaming", "source_path": ["a"]}', "'source_path' is no text"),
        ('{"type": "start_streaming", "source_path": "a", "binary": 1}', "neither true nor false"),
        ('{"type": "start_streaming", "source_path": "a", "setup_kwargs": 3}', "setup_kwargs"),
        ('{"type": "start_streaming", "source_path": "a", "run_kwargs": {"emo": 3}}', "'emo' in run_kwargs"),
    ],
)
def test_what_is_no_request_is_told(text: str | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        read_request(text)


@given(st.one_of(st.text(max_size=200), JSON.map(json.dumps), STARTS.map(json.dumps)))
def test_any_text_is_a_request_or_an_input_error(text: str) -> None:
    try:
        request = read_request(text)
    except InputError as error:
        assert str(error).isprintable()
        return
    if isinstance(request, Start):
        assert bool(request.source_path) != bool(request.avatar_token)
        assert all(isinstance(name, str) for name in request.options)


def test_messages_to_the_client_have_the_known_names() -> None:
    def read(text: str) -> dict[str, Any]:
        return json.loads(text)

    start = Start("a.wav", "p.png", "", {}, True)
    assert [
        read(protocol.started(start, 1.0)),
        read(protocol.metadata(2.5, 63, 1.0)),
        read(protocol.frame(4, b"picture", "image/webp", 1.0)),
        read(protocol.writer_closed(63, 1.0)),
        read(protocol.completed(1.0)),
        read(protocol.stopped(1.0)),
        read(protocol.pong(1.0)),
        read(protocol.error("no")),
    ] == [
        {"type": "streaming_started", "audio_path": "a.wav", "source_path": "p.png", "timestamp": 1.0,
         "binary": True},
        {"type": "metadata", "audio_duration": 2.5, "expected_frames": 63, "timestamp": 1.0},
        {"type": "frame", "frame_id": 4, "frame_data": base64.b64encode(b"picture").decode(),
         "timestamp": 1.0, "mime": "image/webp"},
        {"type": "writer_closed", "total_frames": 63, "timestamp": 1.0},
        {"type": "streaming_completed", "timestamp": 1.0},
        {"type": "streaming_stopped", "timestamp": 1.0},
        {"type": "pong", "timestamp": 1.0},
        {"type": "error", "message": "no"},
    ]  # fmt: skip
