"""inference.py as a user runs it: one line and exit code 2 for what is wrong, JSON last, nothing left."""

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from PIL import Image

from core.aux_models.face_mesh import FaceMesh
from core.errors import Cancelled
from core.networks import LMDM, MAIN_NETWORKS
from core.option_table import OPTIONS
from inference import _interruptible
from tests.faces import astronaut_portrait, no_face
from tests.fake_hub import FakeHub, serving
from tests.graphs import framed_hubert, write_tiny
from tests.signals import heeded
from tests.sounds import speech_like
from tests.test_ditto_config import published
from tests.test_face_chain_onnx import astronaut_says, constant_graph

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(astronaut_portrait()).save(folder / "portrait.png")
    Image.fromarray(no_face()).save(folder / "cat.png")
    soundfile.write(folder / "speech.wav", speech_like(1.0)[0], 16_000)
    soundfile.write(folder / "long.wav", np.tile(speech_like(4.0)[0], 20), 16_000)
    (folder / "empty.wav").touch()
    os.mkfifo(folder / "pipe")
    return folder


def start(
    media: Path, out: Path, *extra: str, source: str = "portrait.png", audio: str = "speech.wav", **more: str
):
    command = [sys.executable, "inference.py", "--source_path", str(media / source)]
    command += ["--audio_path", str(media / audio), "--output_path", str(out), *extra]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env={**os.environ, **more},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeded,
    )


def run(
    media: Path, out: Path, *extra: str, source: str = "portrait.png", audio: str = "speech.wav", **more: str
):
    process = start(media, out, *extra, source=source, audio=audio, **more)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def test_a_clip(media: Path, tmp_path: Path) -> None:
    out = tmp_path / "talk.mp4"
    code, stdout, stderr = run(media, out, "--json", "--seed", "5", "--overlap_v2", "20", "--emo", "happy")
    assert code == 0, stderr
    result = json.loads(stdout.splitlines()[-1])
    keys = {"frames", "duration_s", "ffd_ms", "rtf", "import_ms", "load_ms", "register_ms", "engine",
            "resolution", "stages_ms", "seed", "output"}  # fmt: skip
    assert keys <= set(result)
    assert (result["frames"], result["seed"], result["engine"]) == (25, 5, "lite")
    assert (result["variant"], result["device"], result["precision"]) == (None, "cpu", "fp32")
    assert result["license_profile"] == "research" and set(result["files"]) == {
        "speech",
        "mediapipe_face_mesh",
    }
    assert any("overlap_v2" in line for line in result["warnings"])
    assert not any("emo" in line for line in result["warnings"])
    with av.open(str(out)) as video:
        picture, sound = video.streams.video[0], video.streams.audio[0]
        assert (picture.codec_context.name, sound.codec_context.name) == ("h264", "aac")
        assert picture.average_rate == 25
        assert (picture.width, picture.height) == (512, 512)
        assert sum(1 for _ in video.decode(video=0)) == 25
        assert (
            abs(float(picture.duration * picture.time_base) - float(sound.duration * sound.time_base)) <= 0.04
        )
    assert [path.name for path in tmp_path.iterdir()] == ["talk.mp4"]


@pytest.mark.parametrize(
    ("extra", "source", "audio", "says"),
    [
        (["--crop_scale", "9"], "portrait.png", "speech.wav", "1.2 .. 5"),
        (["--crop_scal", "2"], "portrait.png", "speech.wav", "crop_scal"),
        (["--preset", "best"], "portrait.png", "speech.wav", "balanced"),
        (["--engine", "warp"], "portrait.png", "speech.wav", "Unknown engine 'warp'"),
        (["--data_root", "x"], "portrait.png", "speech.wav", "--cfg_pkl go together"),
        (["--data_root", "x", "--cfg_pkl", "y", "--engine", "lite"], "portrait.png", "speech.wav", "Ditto's"),
        (["--low_latency", "true"], "portrait.png", "speech.wav", "low_latency acts in online_mode only"),
        (["--more_kwargs", '{"setup_kwargs": {"emos": 4}}'], "portrait.png", "speech.wav", "option 'emos'"),
        (["--more_kwargs", "none.pkl"], "portrait.png", "speech.wav", "Cannot open 'none.pkl'"),
        (["--emo", "joy\nfear\x1b[2J"], "portrait.png", "speech.wav", "'joy fear?[2J' is no emotion"),
        (["--ctrl_info", "[" * 100_000], "portrait.png", "speech.wav", "nested too deeply"),
        ([], "cat.png", "speech.wav", "face"),
        ([], "missing.png", "speech.wav", "missing.png"),
        ([], "m" * 300, "speech.wav", "File name too long"),
        ([], "pipe", "speech.wav", "not a regular file"),
        ([], "/dev/zero", "speech.wav", "not a regular file"),
        ([], "portrait.png", "missing.wav", "missing.wav"),
        ([], "portrait.png", "empty.wav", "empty"),
        ([], "speech.wav", "speech.wav", "picture"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(
    extra: list[str], source: str, audio: str, says: str, media: Path, tmp_path: Path
) -> None:
    code, stdout, stderr = run(media, tmp_path / "a.mp4", *extra, source=source, audio=audio)
    assert code == 2
    assert stdout == ""
    assert stderr.count("\n") == 1, stderr
    assert says in stderr
    assert not list(tmp_path.iterdir())


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as published, with tiny graphs that know where the astronaut's face is."""
    folder = tmp_path_factory.mktemp("checkpoints")
    onnx = folder / "ditto_onnx"
    onnx.mkdir()
    with FaceMesh() as mesh:
        known = mesh.largest(astronaut_portrait())[0]
    for spec, outputs in astronaut_says(known.points):
        constant_graph(onnx, spec, outputs).close()
    for spec in MAIN_NETWORKS:
        write_tiny(spec, onnx / f"{'lmdm_v0.4_hubert' if spec is LMDM else spec.name}.onnx")
    (onnx / "hubert.onnx").write_bytes(framed_hubert().SerializeToString())
    (folder / "ditto_cfg").mkdir()
    for name in ("trt", "trt_online"):
        (folder / "ditto_cfg" / f"v0.4_hubert_cfg_{name}.pkl").write_bytes(pickle.dumps(published()))
    return folder


def test_ditto_makes_a_clip(media: Path, checkpoints: Path, tmp_path: Path) -> None:
    settings = {
        "VISAVIS_MODELS": str(checkpoints),
        "VISAVIS_DOWNLOAD": "never",
        "VISAVIS_HOME": str(tmp_path),
    }
    given = ("--engine", "ditto", "--sampling_timesteps", "2", "--render_size", "300", "--json")
    code, stdout, stderr = run(media, tmp_path / "talk.mp4", *given, **settings)
    assert code == 0, stderr
    result = json.loads(stdout.splitlines()[-1])
    assert (result["frames"], result["engine"], result["variant"]) == (25, "ditto", "ditto-onnx")
    assert (result["device"], result["width"], result["height"]) == ("cpu", 512, 512)
    onnx = checkpoints / "ditto_onnx"
    assert result["files"]["lmdm"] == str(onnx / "lmdm_v0.4_hubert.onnx") and len(result["files"]) == 12
    assert any("render_size" in line for line in result["warnings"])
    assert set(result["stages_ms"]) >= {"motion", "stitch", "render", "put back", "encode"}


def test_ditto_by_a_published_configuration(media: Path, checkpoints: Path, tmp_path: Path) -> None:
    cfg, tree = tmp_path / "cfg.pkl", published()
    parts = {name.removesuffix("_cfg"): part for name, part in tree["base_cfg"].items()}
    parts["lmdm_v0.4_hubert"] = tree["audio2motion_cfg"]
    for name, part in parts.items():
        if name != "landmark478":
            part["model_path"] = f"{name}.onnx"
    parts["landmark478"] |= {
        "blaze_face_model_path": "blaze_face.onnx", "face_mesh_model_path": "face_mesh.onnx",
        "force_ori_type": False,
    }  # fmt: skip
    cfg.write_bytes(pickle.dumps(tree))
    given = ["--data_root", str(checkpoints / "ditto_onnx"), "--cfg_pkl", str(cfg), "--json"]
    # low_latency needs online_mode, which only the configuration brings
    options = ("--sampling_timesteps", "2", "--low_latency", "true")
    code, stdout, stderr = run(
        media, tmp_path / "a.mp4", *given, *options, VISAVIS_LICENSE_PROFILE="commercial"
    )
    assert code == 0, stderr
    result = json.loads(stdout.splitlines()[-1])
    assert (result["engine"], result["variant"], result["license_profile"]) == ("ditto", None, "commercial")
    assert "cfg.pkl" in result["engine_reason"] and result["resolution"] == "source"
    with Image.open(media / "portrait.png") as picture:
        assert (result["width"], result["height"]) == picture.size
    assert not {"insightface_det", "landmark106"} & set(result["files"])
    given[1] = str(checkpoints)
    code, stdout, stderr = run(media, tmp_path / "b.mp4", *given)
    assert (code, stderr.count("\n")) == (3, 1) and "model_manager.py download" in stderr
    assert json.loads(stdout)["error"] == "missing_checkpoint"


def test_ditto_that_may_not_be_fetched(media: Path, tmp_path: Path) -> None:
    settings = {"VISAVIS_MODELS": str(tmp_path / "none"), "VISAVIS_HOME": str(tmp_path)}
    for word, remedy in (("never", "Unset VISAVIS_DOWNLOAD"), ("ask", "model_manager.py download")):
        code, _, stderr = run(
            media, tmp_path / "a.mp4", "--engine", "ditto", VISAVIS_DOWNLOAD=word, **settings
        )
        assert (code, stderr.count("\n")) == (3, 1) and remedy in stderr
    assert not list(tmp_path.glob("*.mp4"))


def test_json_tells_errors_too(media: Path, tmp_path: Path) -> None:
    code, stdout, _ = run(media, tmp_path / "a.mp4", "--json", "--emo", "9")
    assert code == 2
    assert json.loads(stdout)["error"] == "bad_option"


def test_more_kwargs_are_options_and_flags_go_before_them(media: Path, tmp_path: Path) -> None:
    more = {
        "setup_kwargs": {"resolution": 320, "seed": 3, "smo_k_s": 5},
        "run_kwargs": {"chunksize": [2, 5, 1]},
    }
    file = tmp_path / "more.json"
    file.write_text(json.dumps(more))
    for value in (json.dumps(more), str(file)):
        given = ("--json", "--more_kwargs", value, "--seed", "4")
        code, stdout, stderr = run(media, tmp_path / "a.mp4", *given)
        assert code == 0, stderr
        result = json.loads(stdout)
        assert (result["width"], result["seed"]) == (320, 4)
        assert [line.split("'")[1] for line in result["warnings"]] == ["smo_k_s", "chunksize"]


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_no_file(which: signal.Signals, media: Path, tmp_path: Path) -> None:
    process = start(media, tmp_path / "a.mp4", audio="long.wav")
    try:
        deadline = time.monotonic() + 60
        while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert list(tmp_path.iterdir()), "the work has begun"
        os.kill(process.pid, which)
        _, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 130
    assert not list(tmp_path.iterdir())
    assert "Traceback" not in stderr


def test_help_names_every_option() -> None:
    out = subprocess.run(
        [sys.executable, "inference.py", "--help"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in OPTIONS:
        assert f"--{name}" in out.stdout


def test_the_output_never_replaces_what_it_is_made_from(media: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.mp4"
    assert run(media, own, "--resolution", "320")[0] == 0
    before = own.read_bytes()
    code, _, stderr = run(media, own, audio=str(own))
    assert (code, stderr.count("\n")) == (2, 1)
    assert "made from" in stderr
    assert own.read_bytes() == before


def test_an_option_for_videos_alone_is_not_silent(media: Path, tmp_path: Path) -> None:
    code, _, stderr = run(media, tmp_path / "a.mp4", "--template_n_frames", "3", "--resolution", "320")
    assert code == 0
    assert "note: Option 'template_n_frames' has an effect on videos alone" in stderr


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_of_the_imports_is_told_in_one_line(
    which: signal.Signals, media: Path, tmp_path: Path
) -> None:
    process = start(media, tmp_path / "a.mp4")
    maps = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + 30
    while "pydantic_core" not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.002)
    os.kill(process.pid, which)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    assert stderr == "error: Stopped; nothing half-written is left.\n"


def test_an_interrupt_that_native_code_swallows_is_seen_at_the_next_step() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Cancelled), _interruptible() as look:
        with suppress(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(1)
        look()
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_interrupted_fetch_ends_in_one_line(media: Path, tmp_path: Path) -> None:
    hub = FakeHub()
    hold = hub.hold["ditto_onnx/decoder.onnx"] = threading.Event()
    with serving(hub):
        process = start(
            media, tmp_path / "a.mp4", "--engine", "ditto", HF_ENDPOINT=hub.endpoint, VISAVIS_DEVICE="cpu",
            VISAVIS_MODELS=str(tmp_path / "models"), VISAVIS_HOME=str(tmp_path / "home"),
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while "ditto_onnx/decoder.onnx" not in hub.fetched() and time.monotonic() < deadline:
                time.sleep(0.05)
            os.kill(process.pid, signal.SIGINT)
            _, stderr = process.communicate(timeout=30)
        finally:
            hold.set()
            process.kill()
            process.communicate()
    assert (process.returncode, stderr) == (130, "error: Stopped; nothing half-written is left.\n")
    assert (
        not list(tmp_path.rglob("*.incomplete"))
        and not (tmp_path / "models/ditto_onnx/decoder.onnx").exists()
    )


def test_the_output_folder_is_made(media: Path, tmp_path: Path) -> None:
    """As the first command of Ditto's users asks for it; where nothing comes of it, it goes again."""
    code, _, stderr = run(media, tmp_path / "new" / "deep" / "a.mp4", "--resolution", "320")
    assert code == 0, stderr
    assert [path.name for path in (tmp_path / "new" / "deep").iterdir()] == ["a.mp4"]
    code, _, _ = run(media, tmp_path / "other" / "a.mp4", source="cat.png")
    assert code == 2 and not (tmp_path / "other").exists()
