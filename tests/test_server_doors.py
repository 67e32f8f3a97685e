"""The application as it is started: `api_server.py` in a process of its own, and beside another one."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from core.errors import BadOption
from core.settings import Settings
from server import application, health
from server.serving import serve, warm
from tests.conftest import RunningApp
from tests.fakes import FakeEngine
from tests.live_server import live_server, studio_in

ROOT = Path(__file__).parent.parent


@contextmanager
def api_server(home: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The server on a free port, ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = home.with_suffix(".log")
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "api_server.py", "--port", str(port), *flags],
            cwd=ROOT,
            env={**os.environ, "VISAVIS_HOME": str(home), "VISAVIS_ENGINE": "lite"},
            stdout=out,
            stderr=out,
        )
    url, end = f"http://127.0.0.1:{port}", time.monotonic() + 60
    try:
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            try:
                if httpx.get(url + "/readyz").status_code == 200:
                    break
            except httpx.TransportError:
                pass
            time.sleep(0.1)
        yield process, url
    finally:
        process.kill()
        process.wait(20)


def test_the_server_starts_warm_and_stops_tidily(tmp_path: Path, portrait: Path, long_speech: Path) -> None:
    home = tmp_path / "home"
    with api_server(home) as (process, url):
        log = home.with_suffix(".log").read_text()
        assert "Engine lite is warm" in log and url in log
        assert "/demo" in httpx.get(url + "/").text
        files = {
            "source": ("a.png", portrait.read_bytes()),
            "audio": ("a.wav", long_speech.read_bytes()),
        }
        where = httpx.post(url + "/generate", files=files, data={"wait": "false"}).headers["Location"]
        while httpx.get(url + where).json()["fraction"] == 0:
            time.sleep(0.05)
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0, home.with_suffix(".log").read_text()
        assert time.monotonic() - began < 10
    log = home.with_suffix(".log").read_text()
    assert "Stopped" in log and "Traceback" not in log and "Warning" not in log
    left = [path for path in home.rglob("*") if path.is_file() and path.suffix in (".mp4", ".wav", ".png")]
    assert left == [] and list((home / "results").glob("*/")) == []


def test_the_example_of_the_documentation_runs(tmp_path: Path, portrait: Path, short_speech: Path) -> None:
    (text,) = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "docs" / "rest.md").read_text("utf-8"), re.M | re.S
    )
    for name, source in (("output/portrait.png", portrait), ("assets/speech.wav", short_speech)):
        (tmp_path / name).parent.mkdir()
        shutil.copy(source, tmp_path / name)
    with live_server(tmp_path / "home", None, ("rest",)) as server:
        command = [sys.executable, "-c", text.replace("http://127.0.0.1:8000", server.http)]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "done 20" in done.stdout and (tmp_path / "output" / "rest.mp4").stat().st_size > 1000


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(BadOption, match=r"cannot listen at 127\.0\.0\.1"):
            serve(Settings(home=tmp_path), "127.0.0.1", taken.getsockname()[1], ("rest",))


def test_warming_renders_and_keeps_nothing(tmp_path: Path) -> None:
    engine = FakeEngine()
    with studio_in(tmp_path, engine) as studio:
        warm(studio)
        assert engine.registrations == engine.closed_streams == 1
        assert studio.gallery("me") == [] and studio.avatars.made == 0


def test_beside_another_application_the_first_page_is_the_others(tmp_path: Path) -> None:
    async def own(request: object) -> PlainTextResponse:
        return PlainTextResponse("own")

    with studio_in(tmp_path, FakeEngine()) as studio, application.beside(studio) as routes:
        host = Starlette(routes=[*routes, Route("/", own), Route("/own", own)])
        with TestClient(host) as client:
            assert client.get("/").text == client.get("/own").text == "own"
            answer = client.get("/health")
            assert answer.json()["status"] == "healthy" and "visavis-owner" in answer.headers["set-cookie"]
            assert client.get("/jobs/x").json()["error"] == "unknown_job"
            assert client.get("/generate").status_code == 405
            assert client.get("/nope").status_code == 404
            assert client.post("/avatars", files={"source": ("a.png", b"a")}).status_code == 201


def test_the_app_serves_the_same_beside_its_page(running_app: RunningApp) -> None:
    with httpx.Client(base_url=running_app.url, timeout=30) as client:
        assert "gradio" in client.get("/").text.lower()
        assert client.get("/health").json()["engine"] == "lite"
        assert client.get("/jobs").json() == client.get("/avatars").json() == []
        path = client.post("/upload", files={"audio": ("a.wav", b"x")}).json()["audio_path"]
        assert Path(path).is_relative_to(running_app.home / "uploads-api")
        assert client.post("/upload", files={"audio": ("a.wav", bytes(4 * 2**20))}).status_code == 413


def test_the_version_is_the_packages() -> None:
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == health.VERSION
