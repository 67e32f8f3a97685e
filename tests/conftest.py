"""One running app for all tests of the page and its API."""

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

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
def running_app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    home = tmp_path_factory.mktemp("home")
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
            env={**os.environ, **limits, **places},
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
