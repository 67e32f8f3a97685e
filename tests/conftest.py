"""One running app for all tests of the page and its API, and what they give it."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from PIL import Image

from core.samples import SPEECH, sample_portrait

ROOT = Path(__file__).parent.parent
UPLOAD_MIB = 3  # small, so that a test can go beyond it


@dataclass(frozen=True)
class RunningApp:
    """`app.py` in a process of its own: its address, and the folder where it keeps everything."""

    url: str
    home: Path

    def clips(self) -> list[Path]:
        """Results, finished and half-written, whatever their names."""
        found = (self.home / "results").rglob("*")
        return [path for path in found if path.is_file() and path.suffix != ".lock"]


@pytest.fixture(scope="session")
def portrait(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample portrait as a PNG."""
    path = tmp_path_factory.mktemp("portrait") / "portrait.png"
    Image.fromarray(sample_portrait()).save(path)
    return path


@pytest.fixture(scope="session")
def short_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first 0.8 s of the sample speech."""
    return _speech(tmp_path_factory.mktemp("speech") / "short.wav", seconds=0.8, times=1)


@pytest.fixture(scope="session")
def long_speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 s: long enough to be stopped on a fast machine."""
    return _speech(tmp_path_factory.mktemp("speech") / "long.wav", seconds=8, times=5)


def _speech(path: Path, seconds: float, times: int) -> Path:
    with wave.open(str(SPEECH)) as whole, wave.open(str(path), "wb") as made:
        made.setparams(whole.getparams())
        made.writeframes(times * whole.readframes(int(seconds * whole.getframerate())))
    return path


@pytest.fixture(scope="session")
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    with serving_app(tmp_path_factory.mktemp("home")) as app:
        yield app


@contextmanager
def serving_app(home: Path, **more: str) -> Iterator[RunningApp]:
    """The app on a free port, with further environment variables."""
    home.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    limits = {f"VISAVIS_MAX_{what}_MIB": str(UPLOAD_MIB) for what in ("IMAGE", "AUDIO", "VIDEO")}
    places = {"VISAVIS_HOME": str(home), "GRADIO_SERVER_PORT": str(port), "GRADIO_SERVER_NAME": "127.0.0.1"}
    log = home / "app.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "app.py"],
            cwd=ROOT,
            env={**os.environ, **limits, **places, **more},
            stdout=out,
            stderr=out,
        )
    try:
        app = RunningApp(f"http://127.0.0.1:{port}", home)
        _wait(app.url + "/healthz", process, log)
        yield app
    finally:
        process.terminate()
        process.wait(20)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + 120
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.2)
    pytest.fail(f"the app did not start:\n{log.read_text()[-3000:]}")
