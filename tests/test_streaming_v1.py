"""Version 1 of the streaming protocol on a running server: the known messages in their order, in real time,
and clients that do what they should not."""

import asyncio
import base64
import hashlib
import io
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.websockets import WebSocket
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from core.contracts import StageClock
from core.options import Crop, GenerationOptions
from core.samples import SPEECH
from core.types import AudioChunk, AvatarSource, Frame, RegisteredAvatar
from server import streaming_v1
from server.application import create_app
from server.clip_v1 import Rules, options_of
from server.pictures_v1 import QUEUE, Pictures
from streaming_protocol import parse_binary_frame
from tests.fakes import FakeEngine
from tests.live_server import LiveServer, live_server, studio_in
from tests.sounds import speech_like, write_encoded

WAIT_S = 20.0
UNTIMED = 1e9  # a lead with which no frame waits for its time


class MarkedEngine(FakeEngine):
    """Every frame has the grey of its portrait; remembers the options of the last clip."""

    options: GenerationOptions | None = None

    def fingerprint(self, source: AvatarSource, crop: Crop) -> str:
        assert source.path is not None
        return hashlib.sha1(source.path.read_bytes()).hexdigest()

    def register(
        self, source: AvatarSource, crop: Crop, progress: Callable[[float], None] = lambda fraction: None
    ) -> RegisteredAvatar:
        made = super().register(source, crop, progress)
        assert source.path is not None
        grey = np.asarray(Image.open(source.path))[:64, :64]
        return RegisteredAvatar(made.key, self.name, True, 1, (64, 64), {"rgb": grey.copy()})

    def animate(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        self.options = options
        for frame in super().animate(avatar, audio, options, rng, clock):
            yield Frame(frame.index, avatar.arrays["rgb"], frame.opening)


class Client:
    """One browser: it uploads, and has a socket."""

    def __init__(self, server: LiveServer, stack: ExitStack, client_id: str = "test") -> None:
        self._server = server
        self._http = stack.enter_context(httpx2.Client(base_url=server.http))
        self._http.get("/healthz")
        cookie = "; ".join(f"{name}={value}" for name, value in self._http.cookies.items())
        self.socket: ClientConnection = stack.enter_context(
            connect(f"{server.ws}/ws/{client_id}", additional_headers={"Cookie": cookie}, max_size=None)
        )

    def upload(self, audio: Path, source: Path) -> dict[str, str]:
        files = {"audio": (audio.name, audio.read_bytes()), "source": (source.name, source.read_bytes())}
        return self._http.post("/upload", files=files).raise_for_status().json()

    def send(self, kind: str, **fields: Any) -> None:
        self.socket.send(json.dumps({"type": kind, **fields}))

    def take(self) -> dict[str, Any]:
        """The next message; binary frames as a dict, too."""
        message = self.socket.recv(timeout=WAIT_S)
        if isinstance(message, str):
            return json.loads(message)
        index, timestamp, picture = parse_binary_frame(message)
        return {"type": "binary", "frame_id": index, "timestamp": timestamp, "picture": picture}

    def until(self, kind: str) -> list[dict[str, Any]]:
        """All messages up to the first one of a kind."""
        found = [self.take()]
        while found[-1]["type"] != kind:
            found.append(self.take())
        return found


@contextmanager
def client(server: LiveServer, client_id: str = "test") -> Iterator[Client]:
    with ExitStack() as stack:
        yield Client(server, stack, client_id)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    home = tmp_path_factory.mktemp("home")
    with live_server(home, MarkedEngine(), ("streaming",), max_sessions=8, rate_per_minute=10_000) as server:
        yield server


@pytest.fixture(scope="module")
def grey(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return grey_portrait(tmp_path_factory.mktemp("grey"), 90)


def grey_portrait(folder: Path, level: int) -> Path:
    path = folder / f"grey-{level}.png"
    Image.fromarray(np.full((64, 64, 3), level, np.uint8)).save(path)
    return path


def pixels(picture: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(picture)).convert("RGB"))


def quiet_again(server: LiveServer, threads: int) -> None:
    """All sessions have ended, and their threads with them."""
    until = time.monotonic() + WAIT_S
    while server.house.admission.active or threading.active_count() > threads:
        assert time.monotonic() < until, threading.enumerate()
        time.sleep(0.02)


# --- the contract


def test_a_stream_has_the_known_messages_in_their_order(
    server: LiveServer, grey: Path, short_speech: Path
) -> None:
    with client(server) as one:
        paths = one.upload(short_speech, grey)
        before = time.time()
        one.send("start_streaming", **paths, setup_kwargs={}, run_kwargs={}, binary=True)
        told = one.until("streaming_completed")
        one.send("ping")
        assert one.take()["type"] == "pong", "something came behind streaming_completed"
    kinds = [message["type"] for message in told]
    assert kinds == [
        "streaming_started", "metadata", *["binary"] * 20, "writer_closed", "streaming_completed",
    ]  # fmt: skip
    start, length, frames, closed = told[0], told[1], told[2:-2], told[-2]
    assert {name: start[name] for name in paths} == paths and start["binary"] is True
    assert length["audio_duration"] == pytest.approx(0.8) and length["expected_frames"] == 20
    assert [frame["frame_id"] for frame in frames] == list(range(20)) and closed["total_frames"] == 20
    times = [message["timestamp"] for message in told]
    assert before <= times[0] and times == sorted(times) and times[-1] <= time.time()
    for frame in frames:
        assert frame["picture"][:4] == b"RIFF" and frame["picture"][8:12] == b"WEBP"
        assert np.abs(pixels(frame["picture"]).astype(int) - 90).max() <= 2


def test_frames_come_as_json_where_they_are_asked_for(
    server: LiveServer, grey: Path, short_speech: Path
) -> None:
    with client(server) as one:
        one.send("start_streaming", **one.upload(short_speech, grey), binary=False)
        told = one.until("streaming_completed")
    frames = [message for message in told if message["type"] == "frame"]
    assert told[0]["binary"] is False and [frame["frame_id"] for frame in frames] == list(range(20))
    assert {frame["mime"] for frame in frames} == {"image/webp"}
    assert pixels(base64.b64decode(frames[-1]["frame_data"])).shape == (64, 64, 3)


def test_frames_leave_in_real_time(server: LiveServer, grey: Path, tmp_path: Path) -> None:
    """The fake engine makes all of them in no time: they are not to come in one burst."""
    with client(server) as one:
        one.send("start_streaming", **one.upload(SPEECH, grey))
        one.until("metadata")
        arrived = [(one.take(), time.monotonic())[1] for _ in range(50)]
        one.send("stop_streaming")
        one.until("streaming_stopped")
    since = np.array(arrived) - arrived[0]
    assert since[7] < 0.3, "the first frames are ahead of their time"
    assert (since >= np.arange(50) / 25 - 0.3 - 0.05).all() and since[-1] < 3


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {"resolution": "320", "fade_in": -1}),
        ({"setup_kwargs": {"resolution": 512}, "run_kwargs": None}, {"resolution": "512"}),
        ({"setup_kwargs": {"resolution": "source"}}, {"resolution": "source"}),
        ({"run_kwargs": {"fade_in": 5, "fade_out": 6, "chunksize": [3, 6, 2]}},
         {"fade_in": 5, "fade_out": 6, "chunksize": (3, 6, 2)}),
    ],
)  # fmt: skip
def test_options_reach_the_engine(
    server: LiveServer, grey: Path, short_speech: Path, asked: dict[str, Any], expected: dict[str, Any]
) -> None:
    with client(server) as one:
        one.send("start_streaming", **one.upload(short_speech, grey), **asked)
        one.until("streaming_completed")
    engine = server.house.studio.engine
    assert isinstance(engine, MarkedEngine) and engine.options is not None
    groups = engine.options.output, engine.options.motion, engine.options.stitch
    seen = {name: value for group in groups for name, value in group}
    assert {name: seen[name] for name in expected} == expected


def test_the_embedded_engine_streams_at_320(tmp_path: Path, portrait: Path, short_speech: Path) -> None:
    with live_server(tmp_path, parts=("streaming",)) as server, client(server) as one:
        one.send("start_streaming", **one.upload(short_speech, portrait))
        told = one.until("streaming_completed")
    frames = [message for message in told if message["type"] == "binary"]
    assert len(frames) == 20 and pixels(frames[0]["picture"]).shape == (320, 320, 3)


@pytest.mark.parametrize(
    ("brought", "steps", "overlap"),
    [({}, 30, 70), ({"online_mode": True, "sampling_timesteps": 12, "overlap_v2": 60}, 12, 60)],
)
def test_streams_are_online_unless_the_engine_brings_its_own(
    tmp_path: Path, brought: dict[str, Any], steps: int, overlap: int
) -> None:
    engine = FakeEngine()
    engine.capabilities = replace(engine.capabilities, defaults=brought)
    with studio_in(tmp_path, engine) as studio:
        motion = options_of(studio, Rules(), {}).motion
        assert (motion.online_mode, motion.sampling_timesteps, motion.overlap_v2) == (True, steps, overlap)
        ruled = options_of(studio, Rules(options={"sampling_timesteps": 5}), {"overlap_v2": 65}).motion
        assert (ruled.sampling_timesteps, ruled.overlap_v2) == (5, 65)


@pytest.mark.parametrize("suffix", [".mp3", ".flac", ".ogg", ".m4a"])
def test_the_frames_that_are_announced_come(
    server: LiveServer, grey: Path, tmp_path: Path, suffix: str
) -> None:
    """Also of files that announce no exact length."""
    path = write_encoded(tmp_path / f"speech{suffix}", speech_like(0.8, 48_000), 48_000)
    with client(server) as one:
        one.send("start_streaming", **one.upload(path, grey))
        told = one.until("streaming_completed")
    frames = [message for message in told if message["type"] == "binary"]
    assert told[1]["expected_frames"] == len(frames) == told[-2]["total_frames"]
    assert told[1]["audio_duration"] == pytest.approx(len(frames) / 25, abs=0.04)


def test_an_avatar_of_another_engine_is_told(server: LiveServer, grey: Path, short_speech: Path) -> None:
    studio = server.house.studio
    token, _ = studio.preload("0" * 40, AvatarSource(path=grey), GenerationOptions(crop=Crop(max_size=200)))
    with pytest.MonkeyPatch.context() as patch, client(server) as one:
        patch.setattr(studio.engine, "name", "another")
        audio = one.upload(short_speech, grey)["audio_path"]
        one.send("start_streaming", audio_path=audio, avatar_token=token)
        assert "registered for engine 'fake'" in one.until("error")[-1]["message"]


def test_an_avatar_is_named_by_its_token(server: LiveServer, grey: Path, short_speech: Path) -> None:
    source = AvatarSource(path=grey)
    token, _ = server.house.studio.preload("0" * 40, source, GenerationOptions())
    with client(server) as one:
        audio = one.upload(short_speech, grey)["audio_path"]
        one.send("start_streaming", audio_path=audio, avatar_token=token)
        assert len(one.until("streaming_completed")) == 24
        one.send("start_streaming", audio_path=audio, avatar_token="av_nobody")
        error = one.until("error")[-1]["message"]
        assert error.startswith("Streaming error: ") and "token" in error


# --- what clients do


def test_start_twice_stop_and_start_again(server: LiveServer, grey: Path, short_speech: Path) -> None:
    with client(server) as one:
        paths = one.upload(SPEECH, grey)
        one.send("start_streaming", **paths)
        one.until("binary")
        one.send("start_streaming", **paths)
        assert one.until("error")[-1] == {
            "type": "error", "message": "Streaming already active for this client",
        }  # fmt: skip
        one.send("ping")
        assert "binary" in {message["type"] for message in one.until("pong")} | {one.take()["type"]}
        one.send("stop_streaming")
        one.until("streaming_stopped")
        one.send("stop_streaming")  # nothing to stop: nothing to say
        one.send("start_streaming", **one.upload(short_speech, grey))
        told = one.until("streaming_completed")
        assert told[0]["type"] == "streaming_started" and len(told) == 24
        one.send("start_streaming", **paths)
        assert one.take()["type"] == "streaming_started", "the end of a stream frees its place"


@pytest.mark.parametrize(
    ("message", "said"),
    [
        (b"\x00\x01", "A binary message came where text belongs."),
        ("{nonsense", "The message is not JSON."),
        ('{"type": "dance"}', "Unknown message type: dance."),
        ("{}", "Unknown message type: None."),
        ('"start_streaming"', "The message is no JSON object."),
        (json.dumps({"type": "start_streaming"}), "One portrait is needed."),
        (" " * (2**20 + 1), "The message is too large"),
    ],
)
def test_what_is_no_request_is_told_and_survived(server: LiveServer, message: str | bytes, said: str) -> None:
    with client(server) as one:
        one.socket.send(message)
        error = one.take()
        assert error["type"] == "error" and error["message"].startswith(said)
        one.send("ping")
        assert one.take()["type"] == "pong"


@pytest.mark.parametrize(
    "path",
    [
        "/etc/hostname", "../../../etc/hostname", "", "a\x00b", "x" * 5_000, "\ud800", "~", ".",
        str(SPEECH),
    ],
)  # fmt: skip
def test_paths_that_were_not_uploaded_are_not_found(
    server: LiveServer, grey: Path, short_speech: Path, path: str
) -> None:
    with client(server) as one:
        mine = one.upload(short_speech, grey)
        one.send("start_streaming", **(mine | {"audio_path": path}))
        assert one.take()["message"].startswith("Audio file not found:")
        if path:
            one.send("start_streaming", **(mine | {"source_path": path}))
            assert one.take()["message"].startswith("Source file not found: ")


def test_the_known_texts_of_missing_files(server: LiveServer, grey: Path, short_speech: Path) -> None:
    with client(server) as one:
        for name, text in (("source_path", "Source"), ("audio_path", "Audio")):
            mine = one.upload(short_speech, grey)
            Path(mine[name]).unlink()
            one.send("start_streaming", **mine)
            assert one.take()["message"] == f"{text} file not found: {mine[name]}"


def test_an_upload_is_found_by_whoever_knows_its_name(
    server: LiveServer, grey: Path, short_speech: Path
) -> None:  # fmt: skip
    """Known clients upload without keeping a cookie, and then connect."""
    with client(server) as one, client(server) as other:
        one.send("start_streaming", **other.upload(short_speech, grey))
        assert one.take()["type"] == "streaming_started"


def test_wrong_options_are_told_by_name(server: LiveServer, grey: Path, short_speech: Path) -> None:
    with client(server) as one:
        paths = one.upload(short_speech, grey)
        for setup, said in (
            ({"speed": 2}, "Failed to create streaming task: Unknown option 'speed'."),
            ({"resolution": 4000}, "Failed to create streaming task: Option 'resolution': "),
        ):
            one.send("start_streaming", **paths, setup_kwargs=setup)
            assert one.take()["message"].startswith(said)
        one.send("start_streaming", **paths, run_kwargs={"ctrl_info": {"500": {"delta_yaw": 1}}})
        assert one.until("error")[-1]["message"].startswith("Streaming error: Option 'ctrl_info'")


def test_a_file_that_is_no_sound_ends_the_stream(server: LiveServer, grey: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.wav"
    wrong.write_bytes(b"RIFF but no sound" * 20)
    with client(server) as one:
        one.send("start_streaming", **one.upload(wrong, grey))
        assert [message["type"] for message in one.until("error")] == ["streaming_started", "error"]
        one.send("ping")
        assert one.take()["type"] == "pong"


@pytest.mark.parametrize("name", ["a%2Fb", "..%2F..%2Fetc", "%00", "x" * 2_000, "%F0%9F%98%80"])
def test_odd_client_ids_are_names_and_no_more(server: LiveServer, name: str) -> None:
    with client(server, name) as one:
        one.send("ping")
        assert one.take()["type"] == "pong"


def test_a_client_id_of_two_lines_is_refused(server: LiveServer) -> None:
    with pytest.raises(InvalidStatus) as refused:
        connect(f"{server.ws}/ws/a%0Ab")
    assert refused.value.response.status_code == 403


def test_clients_that_vanish_leave_nothing(server: LiveServer, grey: Path) -> None:
    threads = threading.active_count()
    engine = server.house.studio.engine
    assert isinstance(engine, MarkedEngine)
    ended = engine.closed_streams
    for wait in (0.0, 0.0, 0.05, 0.3):
        with client(server) as one:
            one.send("start_streaming", **one.upload(SPEECH, grey))
            one.take()
            time.sleep(wait)
            one.socket.socket.shutdown(socket.SHUT_RDWR)  # no closing handshake
    quiet_again(server, threads)
    assert engine.closed_streams <= ended + 4


def test_nothing_of_one_session_reaches_another(
    server: LiveServer, short_speech: Path, tmp_path: Path
) -> None:
    levels = (20, 120, 220)
    with ExitStack() as stack:
        clients = [Client(server, stack, "same-id") for _ in levels]
        for one, level in zip(clients, levels, strict=True):
            one.send("start_streaming", **one.upload(short_speech, grey_portrait(tmp_path, level)))
        for one, level in zip(clients, levels, strict=True):
            frames = [each for each in one.until("streaming_completed") if each["type"] == "binary"]
            assert len(frames) == 20
            assert all(np.abs(pixels(frame["picture"]).astype(int) - level).max() <= 2 for frame in frames)


# --- limits and faults of the server


def test_beyond_the_sessions_allowed_a_client_is_refused(tmp_path: Path, grey: Path) -> None:
    with (
        live_server(tmp_path, MarkedEngine(), ("streaming",), max_sessions=1) as server,
        client(server) as one,
        client(server) as other,
    ):
        one.send("start_streaming", **one.upload(SPEECH, grey))
        one.until("binary")
        other.send("start_streaming", **other.upload(SPEECH, grey))
        said = other.take()["message"]
        assert said.startswith("Failed to create streaming task: All 1 live sessions are taken.")
        assert one.take()["type"] == "binary"
        one.send("stop_streaming")
        one.until("streaming_stopped")
        other.send("start_streaming", **other.upload(SPEECH, grey))
        other.until("binary")


def test_an_error_of_the_engine_ends_the_stream_and_tells_no_secrets(
    tmp_path: Path, grey: Path, short_speech: Path
) -> None:
    with (
        live_server(tmp_path, FakeEngine(fail_at=5), ("streaming",)) as server,
        client(server) as one,
    ):
        one.send("start_streaming", **one.upload(short_speech, grey))
        told = one.until("error")
        assert [message["type"] for message in told[2:]] == ["binary"] * 5 + ["error"]
        assert told[-1]["message"] == "Streaming error: something went wrong in the server."
        one.send("ping")
        assert one.take()["type"] == "pong"


def test_a_silent_client_is_let_go_and_a_stream_is_not(
    tmp_path: Path, grey: Path, short_speech: Path
) -> None:
    with (
        live_server(tmp_path, FakeEngine(), ("streaming",), session_idle_s=0.2) as server,
        client(server) as one,
    ):
        one.send("start_streaming", **one.upload(short_speech, grey))
        assert len(one.until("streaming_completed")) == 24
        with pytest.raises(ConnectionClosed) as closed:
            one.take()
        assert closed.value.rcvd is not None and closed.value.rcvd.code == 1001


def test_a_server_that_stops_tells_its_sessions(tmp_path: Path, grey: Path) -> None:
    threads = threading.active_count()
    engine = FakeEngine()
    with ExitStack() as stack:
        with live_server(tmp_path, engine, ("streaming",)) as server:
            one = Client(server, stack)
            one.send("start_streaming", **one.upload(SPEECH, grey))
            one.until("binary")
            began = time.monotonic()
        assert time.monotonic() - began < 3 and engine.closed_streams == 1
        with pytest.raises(ConnectionClosed):
            one.until("streaming_completed")
    assert threading.active_count() == threads


def test_without_a_key_there_is_no_stream(tmp_path: Path) -> None:
    with live_server(tmp_path, FakeEngine(), ("streaming",), api_keys="secret") as server:
        with pytest.raises(InvalidStatus) as refused:
            connect(f"{server.ws}/ws/a")
        assert refused.value.response.status_code == 401
        with connect(f"{server.ws}/ws/a?key=secret") as socket_:
            socket_.send('{"type": "ping"}')
            assert json.loads(socket_.recv(timeout=WAIT_S))["type"] == "pong"


# --- a client that takes nothing: without a network, so that it is the server alone that is slow


class Slow:
    """A socket whose client takes frames only while `takes` is set."""

    def __init__(self, app: Any, orders: list[dict[str, Any]]) -> None:
        self.sent: list[str | bytes] = []
        self.takes = asyncio.Event()
        self.gone = asyncio.Event()
        self._orders = iter([{"type": "websocket.connect"}, *orders])
        scope = {"type": "websocket", "app": app, "headers": [], "path": "/ws/slow", "query_string": b""}
        self.socket = WebSocket(scope | {"client": ("127.0.0.1", 1)}, self._receive, self._send)

    async def _receive(self) -> dict[str, Any]:
        order = next(self._orders, None)
        if order is None:
            await self.gone.wait()
            return {"type": "websocket.disconnect", "code": 1006}
        return order

    async def _send(self, message: Any) -> None:
        if message["type"] == "websocket.send":
            if message.get("bytes"):
                await self.takes.wait()
            self.sent.append(message.get("text") or message["bytes"])


@contextmanager
def slow(home: Path, grey: Path, rules: Rules) -> Iterator[Callable[[], Slow]]:
    """Makes slow clients that ask for 200 frames (inside the event loop)."""
    with studio_in(home, MarkedEngine()) as studio:
        app = create_app(studio, studio.settings.model_copy(update={"media": SPEECH.parent}), ("streaming",))
        app.state.v1 = rules
        token, _ = studio.preload("0" * 40, AvatarSource(path=grey), GenerationOptions())
        order = {"type": "start_streaming", "audio_path": str(SPEECH), "avatar_token": token}
        try:
            yield lambda: Slow(app, [{"type": "websocket.receive", "text": json.dumps(order)}])
        finally:
            assert app.state.house.admission.active == 0
            app.state.house.close()


def test_a_full_queue_drops_frames_and_lowers_the_quality(
    tmp_path: Path, grey: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_v1, "_LEAD_S", UNTIMED)
    qualities: list[int] = []
    encode = Pictures.encode

    def noting(self: Pictures, rgb: np.ndarray, depth: int) -> bytes:
        qualities.append(self.quality_at(depth))
        return encode(self, rgb, depth)

    monkeypatch.setattr(Pictures, "encode", noting)

    async def watch(make: Callable[[], Slow]) -> list[str | bytes]:
        one = make()
        serving = asyncio.create_task(streaming_v1.serve_v1(one.socket, "slow"))
        while len(qualities) < 200:
            await asyncio.sleep(0.01)
        one.takes.set()
        while "streaming_completed" not in str(one.sent[-1]):
            await asyncio.sleep(0.01)
        one.gone.set()
        await serving
        return one.sent

    with caplog.at_level(logging.INFO, "server"), slow(tmp_path, grey, Rules()) as make:
        sent = asyncio.run(watch(make))
    frames = [parse_binary_frame(message)[0] for message in sent if isinstance(message, bytes)]
    assert frames == list(range(QUEUE + 1)), "one on its way and a full queue; the rest is dropped"
    assert json.loads(sent[-2])["total_frames"] == 200
    assert qualities[:20] == [85] * 20 and set(qualities[29:40]) == {75} and set(qualities[60:]) == {60}
    lines = [record.getMessage() for record in caplog.records]
    assert lines.count(f"Dropping frame for slow: queue full ({QUEUE})") == 200 - len(frames)
    assert "slow: frame 100, queue≈50" in lines


def test_a_client_that_goes_ends_its_stream_at_once(tmp_path: Path, grey: Path) -> None:
    """Even where frames could still be sent."""

    async def leave(make: Callable[[], Slow]) -> int:
        one = make()
        one.takes.set()
        serving = asyncio.create_task(streaming_v1.serve_v1(one.socket, "x"))
        while not any(isinstance(message, bytes) for message in one.sent):
            await asyncio.sleep(0.01)
        one.gone.set()
        await asyncio.wait_for(serving, 2)
        return len(one.sent)

    with slow(tmp_path, grey, Rules()) as make:
        assert asyncio.run(leave(make)) < 60


def test_a_client_that_takes_nothing_is_given_up(
    tmp_path: Path, grey: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming_v1, "_PATIENCE_S", 0.2)
    threads = threading.active_count()

    async def wait(make: Callable[[], Slow]) -> None:
        await asyncio.wait_for(streaming_v1.serve_v1(make().socket, "slow"), 5)
        assert len(asyncio.all_tasks()) == 1

    with slow(tmp_path, grey, Rules()) as make:
        asyncio.run(wait(make))
    assert "slow takes nothing any more: given up" in caplog.text
    assert threading.active_count() == threads


def test_a_server_has_rules_of_its_own(tmp_path: Path, grey: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_v1, "_LEAD_S", UNTIMED)
    rules = Rules(Pictures(quality=70, least=30, scale=0.5, format="jpeg"), {"sampling_timesteps": 7})

    async def take(make: Callable[[], Slow]) -> bytes:
        one = make()
        one.takes.set()
        serving = asyncio.create_task(streaming_v1.serve_v1(one.socket, "x"))
        while "streaming_completed" not in str(one.sent[-1:]):
            await asyncio.sleep(0.01)
        one.gone.set()
        await serving
        return next(message for message in one.sent if isinstance(message, bytes))

    with slow(tmp_path, grey, rules) as make:
        picture = parse_binary_frame(asyncio.run(take(make)))[2]
    assert picture[:2] == b"\xff\xd8" and pixels(picture).shape == (32, 32, 3)


def test_quality_goes_down_by_steps() -> None:
    assert [Pictures().quality_at(depth) for depth in (0, 25, 26, 40, 41, 50)] == [85, 85, 75, 75, 60, 60]
    assert [Pictures(50, 45).quality_at(depth) for depth in (25, 26, 41)] == [50, 45, 45]
    assert Pictures(format="jpeg").mime == "image/jpeg"
