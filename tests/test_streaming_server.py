"""The known flags of the streaming server: which engine they mean, and what they make of streams."""

import logging
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import streaming_client
import streaming_server
from core.errors import BadOption, MissingCheckpoint
from core.settings import Settings
from server.clip_v1 import Rules
from server.pictures_v1 import Pictures
from streaming_server import engine_folder, parser, published, rules_of
from tests.conftest import ROOT
from tests.test_ditto_config import published as configuration
from tests.test_ditto_config import written

BLACKWELL, AMPERE = "ditto_trt_blackwell", "ditto_trt_Ampere_Plus"


@pytest.mark.parametrize(
    ("compute", "there", "chosen", "warned"),
    [
        ((12, 0), (BLACKWELL, AMPERE), BLACKWELL, False),
        ((13, 1), (BLACKWELL, AMPERE), BLACKWELL, False),
        ((8, 0), (BLACKWELL, AMPERE), AMPERE, False),
        ((11, 0), (BLACKWELL, AMPERE), AMPERE, False),
        ((9, 0), (BLACKWELL,), BLACKWELL, True),
        ((12, 0), (AMPERE,), AMPERE, True),
        ((7, 5), (BLACKWELL, AMPERE), BLACKWELL, True),
        (None, (AMPERE,), AMPERE, True),
    ],
)
def test_the_engine_folder_goes_by_compute_capability(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    compute: tuple[int, int] | None,
    there: tuple[str, ...],
    chosen: str,
    warned: bool,
) -> None:
    for name in there:
        (tmp_path / name).mkdir()
    assert engine_folder(tmp_path, compute) == tmp_path / chosen
    assert ("the first that is there" in caplog.text) == warned


def test_without_any_engine_folder_that_is_told(tmp_path: Path) -> None:
    with pytest.raises(MissingCheckpoint, match="--data_root"):
        engine_folder(tmp_path, (9, 0))


def test_flags_become_rules() -> None:
    assert rules_of(parser().parse_args([])) == Rules(Pictures(85, 60, 1.0, "webp"), {})
    given = parser().parse_args(
        [
            "--online-sampling-steps", "12", "--online-chunk-config", "3,6,2", "--frame-quality", "90",
            "--min-frame-quality", "40", "--frame-scale", "0.5", "--frame-format", "jpeg",
        ]
    )  # fmt: skip
    assert rules_of(given) == Rules(
        Pictures(90, 40, 0.5, "jpeg"), {"sampling_timesteps": 12, "chunksize": "3,6,2"}
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--frame-quality", "50"], "--min-frame-quality"),
        (["--frame-quality", "101"], "--frame-quality"),
        (["--frame-scale", "0"], "--frame-scale"),
        (["--frame-scale", "nan"], "--frame-scale"),
        (["--online-chunk-config", "3,5"], "chunksize"),
        (["--online-sampling-steps", "0"], "sampling_timesteps"),
    ],
)
def test_wrong_flags_are_told(flags: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert streaming_server.main(flags) == 2
    assert said in capsys.readouterr().err


def test_engines_that_cannot_run_here_make_place_for_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A published TensorRT configuration and its folder, which this version refuses with a reason."""
    folder = tmp_path / "checkpoints" / AMPERE
    folder.mkdir(parents=True)
    tree: dict[str, Any] = configuration()
    for section in (tree["audio2motion_cfg"], *tree["base_cfg"].values()):
        for name in ("model_path", "task_path"):
            if name in section:
                section[name] = Path(section[name]).stem + ".engine"
                (folder / section[name]).write_bytes(b"ftrt" + bytes(20) + bytes((8, 6, 1)) + bytes(64))
    file = written(tmp_path / "cfg.pkl", tree)
    monkeypatch.chdir(tmp_path)
    settings = Settings(home=tmp_path, engine="lite", device="cpu")
    with caplog.at_level(logging.WARNING):
        assert published(settings, file, None) is None
    assert "runs no TensorRT engines" in caplog.text and "'lite' in its place" in caplog.text


def test_a_folder_alone_is_not_enough(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path, engine="lite")
    assert published(settings, None, None) is None
    with pytest.raises(BadOption, match="--data_root goes with --cfg_pkl"):
        published(settings, None, tmp_path)
    with pytest.raises(MissingCheckpoint):
        published(settings, tmp_path / "none.pkl", tmp_path)


def test_the_server_starts_serves_and_stops(
    tmp_path: Path, portrait: Path, short_speech: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{probe.getsockname()[1]}"
    port = address.rpartition(":")[2]
    command = [sys.executable, "streaming_server.py", "--host", "127.0.0.1", "--port", port]
    environment = {**os.environ, "VISAVIS_HOME": str(tmp_path), "VISAVIS_ENGINE": "lite"}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, "--frame-format", "jpeg"], cwd=ROOT, env=environment, stdout=log, stderr=log
        )
        try:
            _wait(address + "/readyz", process)
            files = ["--audio_path", str(short_speech), "--source_path", str(portrait)]
            keep = ["--save_frames", str(tmp_path / "frames")]
            assert streaming_client.main(["--server", address, *files, *keep]) == 0
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0, (tmp_path / "log").read_text()
    assert len(list((tmp_path / "frames").glob("*.jpg"))) == 20


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, ConnectionError, TimeoutError):
            time.sleep(0.1)
    pytest.fail("the server did not start")
