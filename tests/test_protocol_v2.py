"""Messages of the live protocol: what is understood, what is refused, and that nothing else happens."""

import contextlib
import json
import struct

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from core.errors import Busy, InputError, TooLong
from server.protocol_v2 import (
    HEADER,
    MOST_SOUND,
    MOST_TEXT,
    Bye,
    End,
    Interrupt,
    Kind,
    MediaMessage,
    Opus,
    Pcm,
    Ping,
    Ready,
    Report,
    Say,
    Start,
    Stop,
    check_sound,
    failure,
    pack_media,
    read_answer,
    read_media,
    read_message,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)
TYPES = ("start", "say", "end", "interrupt", "stop", "ping", "report")
NAMES = (
    "source",
    "options",
    "media",
    "audio_in",
    "codec",
    "rate",
    "resume",
    "last",
    "t",
    "audio",
    "played_s",
)


def test_every_message_of_a_client_is_read() -> None:
    start = read_message('{"type": "start", "source": "sample", "options": {"emo": 3}, "last": 7}')
    assert start == Start(type="start", source="sample", options={"emo": 3}, last=7)
    assert start.media == "fmp4" and start.audio_in == Pcm() and Pcm().rate == 16_000
    opus = read_message('{"type": "start", "source": "a", "audio_in": {"codec": "opus"}}')
    assert isinstance(opus, Start) and isinstance(opus.audio_in, Opus)
    assert read_message('{"type": "say", "audio": "x.wav"}') == Say(type="say", audio="x.wav")
    assert isinstance(read_message('{"type": "end"}'), End)
    assert isinstance(read_message('{"type": "interrupt"}'), Interrupt)
    assert isinstance(read_message('{"type": "stop"}'), Stop)
    assert read_message('{"type": "ping", "t": 1.5}') == Ping(type="ping", t=1.5)
    report = read_message('{"type": "report", "buffered_s": 0.3, "played_s": 2, "dropped": 1}')
    assert report == Report(type="report", buffered_s=0.3, played_s=2.0, dropped=1)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "Invalid JSON"),
        ("[]", "object"),
        ("{}", "type"),
        ('{"type": "dance"}', "dance"),
        ('{"type": "end", "more": 1}', "end.more"),
        ('{"type": "say"}', "say.audio"),
        ('{"type": "start", "media": "gif"}', "start.media"),
        ('{"type": "start", "audio_in": {"codec": "pcm_s16le", "rate": 1}}', "rate"),
        ('{"type": "start", "audio_in": {"codec": "mp3"}}', "audio_in"),
        ('{"type": "start", "last": -1}', "start.last"),
        ('{"type": "report", "buffered_s": NaN, "played_s": 0}', "buffered_s"),
        ('{"type": "ping", "t": Infinity}', "ping.t"),
        ('{"type": "end"} x', "Invalid JSON"),
        ("\ud800", "unicode"),
        ("[" * 100_000, "Invalid JSON"),
    ],
)
def test_what_is_wrong_is_named(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        read_message(text)
    assert len(str(caught.value)) < 500


def test_messages_are_bounded() -> None:
    with pytest.raises(TooLong):
        read_message('{"type": "end"}' + " " * MOST_TEXT)
    check_sound(bytes(MOST_SOUND))
    with pytest.raises(TooLong):
        check_sound(bytes(MOST_SOUND + 1))


@given(st.text())
@example('{"type":')
def test_any_text_is_a_message_or_refused(text: str) -> None:
    with contextlib.suppress(InputError):
        read_message(text)


@given(st.sampled_from(TYPES), st.dictionaries(st.sampled_from(NAMES), JSON))
def test_any_values_are_a_message_or_refused(kind: str, values: dict[str, object]) -> None:
    text = json.dumps({"type": kind, **values})
    try:
        message = read_message(text)
    except InputError:
        return
    assert message.type == kind
    assert read_message(message.model_dump_json(exclude_none=True)) == message


@given(
    st.sampled_from(Kind),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**32 - 1),
    st.floats(0, 1e9),
    st.binary(max_size=64),
)
def test_media_comes_back(kind: Kind, epoch: int, sequence: int, time: float, payload: bytes) -> None:
    message = MediaMessage(kind, epoch, sequence, time, payload)
    assert read_media(pack_media(message)) == message


def test_the_header_is_what_the_documentation_says() -> None:
    packed = pack_media(MediaMessage(Kind.FRAGMENT, 3, 258, 1.5, b"moof"))
    assert packed == b"\x02\0\0\0" + b"\0\0\0\x03" + b"\0\0\x01\x02" + struct.pack(">d", 1.5) + b"moof"
    assert HEADER.size == 20


@given(st.binary(max_size=40))
def test_any_bytes_are_media_or_refused(data: bytes) -> None:
    try:
        message = read_media(data)
    except InputError:
        return
    assert len(message.payload) == len(data) - 20


def test_answers_come_back() -> None:
    ready = Ready(session="a", resume="b", epoch=0, mime="video/mp4", size=(320, 320))
    for word in (ready, Bye(reason="idle"), failure(InputError("No.", "Do this."))):
        assert read_answer(word.model_dump_json(exclude_none=True)) == word
    with pytest.raises(InputError):
        read_answer('{"type": "hello"}')


def test_an_error_tells_when_to_come_back() -> None:
    told = failure(Busy("All taken.", "Try again.", retry_after_s=7))
    assert (told.code, told.message, told.retry_after_s) == ("busy", "All taken. Try again.", 7)
    assert failure(InputError("No.")).retry_after_s is None
