"""REST from outside: clips, jobs, avatars, owners, refusals. One real clip; a fake engine for the rest."""

import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
import httpx
import numpy as np
import pytest

from core.contracts import StageClock
from core.errors import TalkerError
from core.options import GenerationOptions
from core.types import AudioChunk, Frame, RegisteredAvatar
from tests.fakes import FakeEngine
from tests.live_server import LiveServer, live_server

REST = ("rest",)
PICTURE = b"anything: the fake engine takes it"


class SlowEngine(FakeEngine):
    """Goes on only when `go` is set; until then frames come slowly, without an end."""

    def __init__(self) -> None:
        super().__init__()
        self.go, self.began = threading.Event(), threading.Event()

    def animate(
        self,
        avatar: RegisteredAvatar,
        audio: Iterator[AudioChunk],
        options: GenerationOptions,
        rng: np.random.Generator,
        clock: StageClock,
    ) -> Iterator[Frame]:
        try:
            index = 0
            while not self.go.wait(0.01):
                self.began.set()
                yield self._frame(index, clock)
                index += 1
        finally:
            self.closed_streams += 1
        yield from super().animate(avatar, audio, options, rng, clock)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("home"), FakeEngine(), REST) as running:
        yield running


@pytest.fixture
def client(server: LiveServer) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.http, timeout=30) as made:
        yield made


@pytest.fixture
def speech(short_speech: Path) -> bytes:
    return short_speech.read_bytes()


def files(speech: bytes, picture: bytes = PICTURE) -> dict[str, tuple[str, bytes]]:
    return {"source": ("Ada.png", picture), "audio": ("hello.wav", speech)}


def until(done: Callable[[], Any], seconds: float = 10) -> Any:
    end = time.monotonic() + seconds
    while not (found := done()):
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.01)
    return found


def uploads_in(server: LiveServer) -> list[Path]:
    return list((server.house.settings.home_dir / "uploads-api").glob("*/*"))


# --- clips


def test_a_portrait_and_a_voice_become_a_video(tmp_path: Path, portrait: Path, short_speech: Path) -> None:
    with (
        live_server(tmp_path, None, REST) as server,
        httpx.Client(base_url=server.http, timeout=60) as client,
    ):
        sent = {
            "source": ("me.png", portrait.read_bytes()),
            "audio": ("speech.wav", short_speech.read_bytes()),
        }
        answer = client.post("/generate", files=sent, data={"resolution": "320", "emo": "happy"})
        assert answer.status_code == 200 and answer.headers["content-type"] == "video/mp4"
        info = json.loads(answer.headers["X-Visavis-Info"])
        assert (info["frames"], info["size"], info["engine"]) == (20, [320, 320], "lite")
        with av.open(io.BytesIO(answer.content)) as video:
            shapes = {frame.to_ndarray(format="rgb24").shape for frame in video.decode(video=0)}
            assert shapes == {(320, 320, 3)} and video.streams.video[0].frames == 20
            assert video.streams.audio
        token = answer.headers["X-Visavis-Token"]
        (mine,) = client.get("/avatars").json()
        assert (mine["token"], mine["label"], mine["size"]) == (token, "me", [512, 512])
        picture = client.get(mine["thumbnail"])
        assert picture.headers["content-type"] == "image/jpeg" and picture.content.startswith(b"\xff\xd8")
        assert uploads_in(server) == []


def test_a_job_is_followed_fetched_and_forgotten(client: httpx.Client, speech: bytes) -> None:
    answer = client.post("/generate", files=files(speech), data={"wait": "false"})
    assert answer.status_code == 202
    where = answer.headers["Location"]
    assert where == f"/jobs/{answer.json()['job']}"
    state = until(lambda: (now := client.get(where).json())["state"] == "done" and now)
    assert state["fraction"] == 1 and state["error"] is None and state["info"]["frames"] == 20
    assert where.split("/")[-1] in [job["job"] for job in client.get("/jobs").json()]
    whole = client.get(state["result"])
    part = client.get(state["result"], headers={"Range": "bytes=4-7"})
    assert part.status_code == 206 and part.content == whole.content[4:8] == b"ftyp"
    assert client.delete(where).json()["state"] == "done"
    for gone in (where, state["result"]):
        assert client.get(gone).status_code == 404


def test_prefer_respond_async_gives_a_job(client: httpx.Client, speech: bytes) -> None:
    answer = client.post("/generate", files=files(speech), headers={"Prefer": "wait=5, respond-async"})
    assert answer.status_code == 202 and answer.headers["Preference-Applied"] == "respond-async"


def test_an_avatar_speaks_by_its_token_until_it_is_deleted(client: httpx.Client, speech: bytes) -> None:
    made = client.post(
        "/avatars", files={"source": ("Bo.png", b"bo")}, data={"label": "Bo", "max_size": "512"}
    )
    assert made.status_code == 201
    token = made.json()["token"]
    assert made.headers["Location"] == f"/avatars/{token}"
    assert client.get(f"/avatars/{token}").json()["label"] == "Bo"
    sent = {"audio": ("a.wav", speech)}
    answer = client.post("/generate", files=sent, data={"avatar_token": token, "options": '{"seed": 7}'})
    info = json.loads(answer.headers["X-Visavis-Info"])
    assert info["token"] == token and info["seed"] == 7
    assert client.delete(f"/avatars/{token}").json() == {"deleted": token}
    answer = client.post("/generate", files=sent, data={"avatar_token": token})
    assert (answer.status_code, answer.json()["error"]) == (404, "unknown_token")


def test_named_options_go_before_the_json(client: httpx.Client, speech: bytes) -> None:
    data = {"options": '{"seed": 1, "emo": "sad"}', "seed": "2", "preset": "fast"}
    info = json.loads(client.post("/generate", files=files(speech), data=data).headers["X-Visavis-Info"])
    assert (info["seed"], info["preset"]) == (2, "fast")


# --- who may do what


def test_whoever_holds_an_id_looks_and_only_the_owner_deletes(
    server: LiveServer, client: httpx.Client, speech: bytes
) -> None:
    job = client.post("/generate", files=files(speech), data={"wait": "false"}).json()["job"]
    until(lambda: client.get(f"/jobs/{job}").json()["state"] == "done")
    token = client.get(f"/jobs/{job}").json()["info"]["token"]
    with httpx.Client(base_url=server.http) as other:
        assert other.get("/jobs").json() == other.get("/avatars").json() == []
        for path in (
            f"/jobs/{job}",
            f"/jobs/{job}/result",
            f"/avatars/{token}",
            f"/avatars/{token}/thumbnail",
        ):
            assert other.get(path).status_code == 200
        for path in (f"/jobs/{job}", f"/avatars/{token}"):
            answer = other.delete(path)
            assert (answer.status_code, answer.json()["error"]) == (403, "not_yours")
        assert other.post("/clear_cache?scope=all").json() == {"scope": "all", "results": 0, "avatars": 0}
    cleared = client.post("/clear_cache?scope=all").json()
    assert cleared["results"] == cleared["avatars"] == 1
    assert client.get(f"/jobs/{job}").status_code == client.get(f"/avatars/{token}").status_code == 404


def test_a_key_is_asked_for_and_owns(tmp_path: Path) -> None:
    with live_server(tmp_path, FakeEngine(), REST, api_keys="first, second") as server:
        url = server.http
        assert httpx.get(url + "/healthz").status_code == httpx.get(url + "/readyz").status_code == 200
        for method, path in (
            ("GET", "/avatars"),
            ("POST", "/generate"),
            ("POST", "/upload"),
            ("GET", "/metrics"),
        ):
            answer = httpx.request(method, url + path)
            assert (answer.status_code, answer.json()["error"]) == (401, "unauthorized")
            assert answer.headers["WWW-Authenticate"] == "Bearer"
        for wrong in ("third", "firs", "first,", "f\xefrst"):
            headers = {"Authorization": f"Bearer {wrong}".encode()}
            assert httpx.get(url + "/avatars", headers=headers).status_code == 401
        assert httpx.get(url + "/avatars?key=first").status_code == 401, "it would be logged"
        httpx.post(url + "/avatars", files={"source": ("a.png", b"a")}, headers={"X-API-Key": "first"})
        assert len(httpx.get(url + "/avatars", headers={"Authorization": "Bearer first"}).json()) == 1
        assert httpx.get(url + "/avatars", headers={"Authorization": "Bearer second"}).json() == []


def test_too_many_requests_in_a_minute(tmp_path: Path) -> None:
    with live_server(tmp_path, FakeEngine(), REST, rate_per_minute=2) as server:
        codes = [httpx.post(server.http + "/upload", files={"x": b""}).status_code for _ in range(2)]
        answer = httpx.post(server.http + "/upload", files={"x": b""})
        assert codes == [422, 422] and answer.status_code == 429
        assert answer.json()["error"] == "rate_limited" and 0 < int(answer.headers["Retry-After"]) <= 30
        assert httpx.get(server.http + "/jobs").status_code == 200, "looking costs nothing"


def test_other_origins_only_where_they_are_named(tmp_path: Path, client: httpx.Client) -> None:
    for origin in ("https://a.example", "null"):
        assert "access-control-allow-origin" not in client.get("/health", headers={"Origin": origin}).headers
    with live_server(tmp_path, FakeEngine(), REST, cors_origins="https://a.example") as server:
        for origin, allowed in (("https://a.example", "https://a.example"), ("https://b.example", None)):
            answer = httpx.get(server.http + "/health", headers={"Origin": origin})
            assert answer.headers.get("access-control-allow-origin") == allowed


# --- refusals


@pytest.mark.parametrize(
    ("data", "names", "status", "code"),
    [
        ({}, {"source": "a.png"}, 422, "bad_audio"),
        ({}, {"audio": "a.wav"}, 422, "bad_input"),
        ({}, {"source": "a.svg", "audio": "a.wav"}, 422, "bad_image"),
        ({}, {"source": "a.png", "audio": "a.exe"}, 422, "bad_audio"),
        ({"sede": "1"}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_option"),
        ({"seed": "x"}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_option"),
        ({"options": "{"}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_option"),
        ({"options": "[" * 90_000}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_option"),
        ({"options": "[1]"}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_option"),
        ({"preset": "best"}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_option"),
        ({"wait": "maybe"}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_request"),
        ({"audio": "/etc/passwd"}, {"source": "a.png"}, 422, "bad_request"),
        ({"seed": ["1", "2"]}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_request"),
        ({"avatar_token": "x"}, {"source": "a.png", "audio": "a.wav"}, 422, "bad_request"),
        ({"avatar_token": "../../x"}, {"audio": "a.wav"}, 404, "unknown_token"),
        ({}, {"video": "a.mp4", "audio": "a.wav"}, 422, "bad_request"),
        ({"x": "y" * (2**20 + 1)}, {"audio": "a.wav"}, 422, "bad_request"),
    ],
)
def test_a_wrong_order_is_refused_in_one_line(
    server: LiveServer, client: httpx.Client, speech: bytes,
    data: dict[str, Any], names: dict[str, str], status: int, code: str,
) -> None:  # fmt: skip
    answer = client.post("/generate", files={k: (name, speech) for k, name in names.items()}, data=data)
    assert (answer.status_code, answer.json()["error"]) == (status, code)
    assert "\n" not in answer.json()["message"] and str(server.house.settings.home_dir) not in answer.text
    assert uploads_in(server) == []


def test_sound_that_is_none_fails_the_job(client: httpx.Client) -> None:
    sent = {"source": ("a.png", PICTURE), "audio": ("a.wav", b"RIFF nonsense")}
    answer = client.post("/generate", files=sent)
    assert (answer.status_code, answer.json()["error"]) == (422, "bad_audio")
    job = client.post("/generate", files=sent, data={"wait": "false"}).json()["job"]
    state = until(lambda: (now := client.get(f"/jobs/{job}").json())["state"] == "failed" and now)
    assert state["error"]["error"] == "bad_audio" and state["result"] is None
    answer = client.get(f"/jobs/{job}/result")
    assert (answer.status_code, answer.json()["error"]) == (409, "not_done")


def test_a_file_beyond_its_limit_is_refused(tmp_path: Path, speech: bytes) -> None:
    with live_server(tmp_path, FakeEngine(), REST, max_audio_mib=0.01, max_image_mib=0.01) as server:
        for sent in (files(speech), {"source": ("a.png", bytes(20_000)), "audio": ("a.wav", b"x")}):
            answer = httpx.post(server.http + "/generate", files=sent)
            assert (answer.status_code, answer.json()["error"]) == (413, "too_long")
        assert uploads_in(server) == []


def test_a_fault_inside_is_told_without_its_details(tmp_path: Path, speech: bytes) -> None:
    with live_server(tmp_path, FakeEngine(fail_at=3), REST) as server:
        answer = httpx.post(server.http + "/generate", files=files(speech))
        assert answer.status_code == 500 and answer.json()["error"] == "error"
        assert "renderer" not in answer.text
        assert httpx.get(server.http + "/healthz").status_code == 200
        figures = httpx.get(server.http + "/metrics").text
        assert 'visavis_jobs_total{state="failed"} 1.0' in figures


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nope", 404), ("PUT", "/generate", 405)])
def test_unknown_addresses_answer_as_all_else(
    client: httpx.Client, method: str, path: str, status: int
) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status and set(answer.json()) == {"error", "message"}


# --- one at a time, and what waits


def test_jobs_wait_are_cancelled_and_beyond_the_queue_refused(tmp_path: Path, speech: bytes) -> None:
    engine = SlowEngine()
    with live_server(tmp_path, engine, REST, max_queue=1) as server:
        with httpx.Client(base_url=server.http) as client:
            ask = {"files": files(speech), "data": {"wait": "false"}}
            first, second = (client.post("/generate", **ask).json()["job"] for _ in range(2))
            assert engine.began.wait(10)
            began = time.monotonic()
            refused = client.post("/generate", **ask)
            assert (refused.status_code, refused.json()["error"]) == (503, "busy")
            assert int(refused.headers["Retry-After"]) >= 1 and time.monotonic() - began < 2
            assert client.post("/avatars", files={"source": ("a.png", b"a")}).status_code == 503
            assert client.get(f"/jobs/{second}").json()["state"] == "queued"
            assert client.get(f"/jobs/{second}/result").status_code == 409
            assert client.delete(f"/jobs/{second}").json()["state"] == "cancelled"
            client.delete(f"/jobs/{first}")
            until(lambda: client.get("/health").json()["queue"] == 0)
            assert client.get(f"/jobs/{first}").json()["state"] == "cancelled"
            assert engine.closed_streams == 1, "the second never began"
            engine.go.set()
            assert client.post("/generate", files=files(speech)).status_code == 200
        assert uploads_in(server) == []


def test_a_client_that_goes_away_stops_its_work(tmp_path: Path, speech: bytes) -> None:
    engine = SlowEngine()
    with live_server(tmp_path, engine, REST) as server:
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(server.http + "/generate", files=files(speech), timeout=1)
        until(lambda: engine.closed_streams == 1)
        until(lambda: httpx.get(server.http + "/health").json()["queue"] == 0)
        assert 'visavis_jobs_total{state="cancelled"} 1.0' in httpx.get(server.http + "/metrics").text
        assert uploads_in(server) == []


def test_a_server_that_stops_takes_its_work_along(tmp_path: Path, speech: bytes) -> None:
    before = set(threading.enumerate())
    engine = SlowEngine()
    with live_server(tmp_path, engine, REST) as server:
        for _ in range(2):
            httpx.post(server.http + "/generate", files=files(speech), data={"wait": "false"})
        assert engine.began.wait(10)
    assert engine.closed_streams == 1
    assert uploads_in(server) == [] and list((tmp_path / "results").glob("*/*")) == []
    assert [thread for thread in threading.enumerate() if thread not in before] == []


def test_ready_only_when_warm(tmp_path: Path) -> None:
    with live_server(tmp_path, FakeEngine(), REST) as server:
        release = threading.Event()
        server.house.worker.warm_up(lambda: release.wait(10) and None)
        assert httpx.get(server.http + "/readyz").status_code == 503
        assert httpx.get(server.http + "/health").json()["ready"] is False
        release.set()
        until(lambda: httpx.get(server.http + "/readyz").status_code == 200)


def test_a_warming_that_fails_is_told_and_never_ready(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> None:
        raise TalkerError("no network")

    with live_server(tmp_path, FakeEngine(), REST) as server:
        server.house.worker.warm_up(fails)
        until(lambda: "no network" in caplog.text)
        assert httpx.get(server.http + "/readyz").status_code == 503


# --- the rest of the house


def test_the_first_page_links_to_what_there_is_and_loads_nothing(client: httpx.Client) -> None:
    page = client.get("/")
    assert "/openapi.json" in page.text and "/demo" not in page.text
    assert "http:" not in page.text and "https:" not in page.text
    assert "default-src 'none'" in page.headers["Content-Security-Policy"]


def test_figures_tell_what_happened(tmp_path: Path, speech: bytes) -> None:
    with live_server(tmp_path, FakeEngine(), REST) as server, httpx.Client(base_url=server.http) as client:
        for _ in range(2):
            client.post("/generate", files=files(speech))
        client.get("/jobs/unknown")
        text = client.get("/metrics").text
    for line in (
        'visavis_jobs_total{state="done"} 2.0',
        "visavis_ffd_seconds_count 2.0",
        "visavis_rtf_count 2.0",
        "visavis_cache_misses 1.0",
        "visavis_cache_hits 1.0",
        'visavis_errors_total{code="unknown_job"} 1.0',
        "visavis_queue 0.0",
    ):
        assert line in text, line
