"""Which engine runs on which machine, from which files, and what is said where that fails."""

import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
import soundfile
from huggingface_hub import constants

from core.checkpoints import machine as machine_room
from core.checkpoints.catalogue import VARIANTS
from core.checkpoints.check import Progress
from core.checkpoints.hub import Hub
from core.checkpoints.machine import Gpu, Machine
from core.engines import registry
from core.engines.ditto import start
from core.engines.registry import Running, start_engine, start_published
from core.errors import BadOption, CorruptCheckpoint, EngineUnavailable, MissingCheckpoint
from core.option_table import parse_options
from core.settings import Settings
from core.studio import Studio, Talk
from core.types import AvatarSource
from tests.conftest import ROOT
from tests.fake_hub import FIRST, FakeHub, published, serving
from tests.fakes import FakeEngine
from tests.sounds import speech_like
from tests.test_ditto_config import published as published_config

CPU = Machine(onnxruntime="1.31.1", providers=("CPUExecutionProvider",), torch="2.13.0")
GPU = replace(CPU, gpu=Gpu("NVIDIA A100", (8, 0), 81920, "550"), torch_cuda="12.8")


class FakeDitto(FakeEngine):
    """Keeps what it was made with."""

    name = "ditto"
    made: list["FakeDitto"]
    broken = False

    def __init__(
        self,
        settings: Settings,
        files: Mapping[str, Path],
        identity: str,
        device: str,
        precision: str,
        threads: int,
        config: object = None,
    ) -> None:
        super().__init__()
        if self.broken:
            raise CorruptCheckpoint("decoder.pth is broken.")
        self.loaded, self.identity, self.device, self.closed = dict(files), identity, device, 0
        self.precision = precision
        assert threads >= 1
        self.made.append(self)

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def ditto(monkeypatch: pytest.MonkeyPatch) -> type[FakeDitto]:
    monkeypatch.setattr(FakeDitto, "made", [], raising=False)
    monkeypatch.setattr(start, "DittoEngine", FakeDitto)
    return FakeDitto


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub of our own, and empty folders."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    with serving(FakeHub()) as served:
        monkeypatch.setattr(Hub.__init__, "__defaults__", (served.endpoint,))
        yield served


@pytest.fixture
def settings(tmp_path: Path, hub: FakeHub) -> Settings:
    return Settings(home=tmp_path / "home", models=tmp_path / "models")


def put(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run on a made-up machine."""
    monkeypatch.setattr(machine_room, "probe_gpu", lambda device: machine)
    monkeypatch.setattr(machine_room, "_with_packages", lambda found: found)


def lay(settings: Settings, variant: str, without: str = "") -> None:
    """The variant's files, as somebody else would have laid them."""
    for asset in VARIANTS[variant].assets:
        path = settings.models_dir / asset.path
        path.parent.mkdir(parents=True, exist_ok=True)
        if asset.role != without:
            path.write_bytes(published()[asset.path])


# --- auto


def test_auto_on_a_cpu_is_lite_and_says_how_to_get_ditto(
    settings: Settings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(CPU, monkeypatch)
    running = start_engine("auto", settings)
    assert (running.engine.name, running.variant, running.device, running.warnings) == (
        "lite",
        None,
        "cpu",
        (),
    )
    assert "no GPU" in running.reason and "--engine ditto" in running.reason
    assert hub.requests == []
    running.engine.close()


def test_lite_starts_without_torch_and_without_the_hubs_library(tmp_path: Path) -> None:
    code = (
        "import sys; from core.engines.registry import start_engine; "
        "from core.settings import load_settings; "
        "start_engine('auto', load_settings()).engine.close(); "
        "print(sorted({'torch', 'huggingface_hub', 'onnx', 'onnxruntime'} & set(sys.modules)))"
    )
    environment = {**os.environ, "VISAVIS_HOME": str(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == "[]"


def test_auto_on_a_gpu_fetches_ditto_with_progress(
    settings: Settings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(GPU, monkeypatch)
    heard: list[Progress] = []
    running = start_engine("auto", settings, heard.append)
    assert (running.engine.name, running.variant, running.device) == ("ditto", "ditto-pytorch", "cuda")
    assert "A100" in running.reason and running.warnings == ()
    assert FIRST in running.engine.identity  # type: ignore[attr-defined]
    assert set(running.engine.loaded) >= {"decoder", "hubert", "insightface_det"}
    assert [each.done for each in heard if each.stage == "download"][-1] == heard[-1].total > 0


@pytest.mark.parametrize("why", ["hub", "broken"])
def test_auto_falls_back_to_lite_loudly(
    why: str, settings: Settings, hub: FakeHub, ditto: type[FakeDitto], monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    put(GPU, monkeypatch)
    if why == "hub":
        hub.status = 500
    else:
        monkeypatch.setattr(ditto, "broken", True)
    running = start_engine("auto", settings)
    assert running.engine.name == "lite"
    (warning,) = running.warnings
    assert warning.startswith("Ditto cannot be used, lite takes its place")
    assert ("hub" if why == "hub" else "decoder.pth is broken") in warning
    assert warning in caplog.text
    running.engine.close()


def test_what_may_not_be_fetched_is_told(
    settings: Settings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(CPU, monkeypatch)
    for download in ("ask", "never"):
        with pytest.raises(MissingCheckpoint, match=r"model_manager.py download ditto-onnx|VISAVIS_DOWNLOAD"):
            start_engine("ditto", settings.model_copy(update={"download": download}))
    assert hub.requests == []
    with pytest.raises(BadOption, match="Unknown engine 'warp'"):
        start_engine("warp", settings)


# --- the variant


@pytest.mark.parametrize(
    ("machine", "here", "chosen", "device"),
    [
        (CPU, (), "ditto-onnx", "cpu"),
        (CPU, ("ditto-pytorch",), "ditto-pytorch", "cpu"),
        (CPU, ("ditto-pytorch", "ditto-onnx"), "ditto-onnx", "cpu"),
        (replace(CPU, torch=None), ("ditto-pytorch",), "ditto-onnx", "cpu"),
        (GPU, ("ditto-onnx",), "ditto-pytorch", "cuda"),
        (replace(GPU, providers=("CUDAExecutionProvider",)), ("ditto-onnx",), "ditto-onnx", "cuda"),
        (replace(GPU, tensorrt="8.6.1"), ("ditto-tensorrt",), "ditto-pytorch", "cuda"),
        (replace(GPU, torch_cuda=None), (), "ditto-onnx", "cpu"),
    ],
)
def test_the_variant_is_what_runs_and_is_here(
    machine: Machine, here: tuple[str, ...], chosen: str, device: str, settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    put(machine, monkeypatch)
    for variant in here:
        lay(settings, variant)
    running = start_engine("ditto", settings)
    assert (running.variant, running.device, running.engine.device) == (chosen, device, device)  # type: ignore[attr-defined]


def test_a_folder_that_lacks_a_file_is_not_whole(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(CPU, monkeypatch)
    lay(settings, "ditto-pytorch", without="lmdm")
    assert start.choose(settings).variant == "ditto-onnx"


def test_nothing_that_runs_ditto(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(Machine(), monkeypatch)
    with pytest.raises(EngineUnavailable, match="Nothing is installed"):
        start_engine("ditto", settings)


def test_a_device_that_was_asked_for_is_not_changed(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(CPU, monkeypatch)
    assert start.choose(settings.model_copy(update={"device": "cuda"})).device == "cuda"


def test_what_a_fetch_needs(settings: Settings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    put(CPU, monkeypatch)
    sizes = {asset.path: len(published()[asset.path]) for asset in VARIANTS["ditto-onnx"].assets}
    found = start.needs(settings)
    assert (found.choice.variant, found.folder) == ("ditto-onnx", settings.models_dir)
    assert found.missing == sum(sizes.values()) and found.free > 0
    lay(settings, "ditto-onnx", without="decoder")
    assert start.needs(settings).missing == sizes["ditto_onnx/decoder.onnx"]
    lay(settings, "ditto-onnx")
    hub.requests.clear()
    assert start.needs(settings).missing == 0 and hub.requests == []


def test_files_that_nobody_knows_are_known_by_their_times(
    settings: Settings, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(CPU, monkeypatch)
    settings = settings.model_copy(update={"download": "never"})
    lay(settings, "ditto-onnx")
    identities = []
    for _ in range(2):
        identities.append(start_engine("ditto", settings).engine.identity)  # type: ignore[attr-defined]
    os.utime(settings.models_dir / "ditto_onnx/decoder.onnx", (1, 1))
    identities.append(start_engine("ditto", settings).engine.identity)  # type: ignore[attr-defined]
    assert identities[0] == identities[1] != identities[2]


# --- a published configuration


def test_a_configuration_names_the_files(tmp_path: Path) -> None:
    content = published_config()
    cfg, root = tmp_path / "cfg.pkl", tmp_path / "root"
    cfg.write_bytes(pickle.dumps(content))
    with pytest.raises(MissingCheckpoint, match=r"model_manager\.py download"):
        start_published(Settings(), cfg, root)
    names = start.read_published(cfg).files()
    for role, name in names.items():
        if role not in ("insightface_det", "landmark106"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(role.encode())
    with pytest.raises(MissingCheckpoint):
        start_published(Settings(), cfg, root)
    running = start_published(Settings(license_profile="commercial"), cfg, root)
    assert (running.engine.name, running.variant, running.device) == ("ditto", None, "cpu")
    assert "cfg.pkl" in running.reason
    loaded = running.engine.loaded
    assert loaded.pop("config") == cfg  # type: ignore[attr-defined]
    assert all(path.read_text() == role for role, path in loaded.items()) and "lmdm" in loaded


# --- the studio


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    soundfile.write(path, speech_like(0.2)[0], 16_000)
    return path


@pytest.fixture
def studio(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Studio]:
    """On a machine with a GPU, with a stand-in for lite."""
    put(GPU, monkeypatch)
    monkeypatch.setitem(
        registry.ENGINES,
        "lite",
        lambda settings, report: Running(Lite(), "asked for"),
    )
    made = Studio(settings)
    yield made
    made.close()


class Lite(FakeEngine):
    name = "lite"

    def __init__(self) -> None:
        super().__init__()
        self.closed = 0

    def close(self) -> None:
        self.closed += 1


def talk(studio: Studio, wav: Path) -> tuple[list[str], Talk]:
    work, stages = studio.talk("me", AvatarSource(data=b"x"), "", wav, parse_options({})), []
    while True:
        try:
            stages.append(next(work).stage)
        except StopIteration as stop:
            return stages, stop.value


def test_the_first_clip_fetches_what_auto_wants(studio: Studio, hub: FakeHub, wav: Path) -> None:
    lite = studio.engine
    assert (lite.name, studio.running.wanted, hub.requests) == ("lite", "ditto", [])
    stages, made = talk(studio, wav)
    assert "fetch" in stages and stages[-1] == "mux" and made.clip.frames == 5
    assert studio.engine.name == "ditto" and not studio.running.wanted
    assert lite.closed == 1  # type: ignore[attr-defined]
    assert "fetch" not in talk(studio, wav)[0]


def test_where_fetching_fails_lite_makes_the_clip(studio: Studio, hub: FakeHub, wav: Path) -> None:
    hub.status = 503
    _, made = talk(studio, wav)
    assert made.clip.frames == 5 and studio.engine.name == "lite"
    assert "lite takes its place" in studio.running.warnings[0]
    hub.requests.clear()
    talk(studio, wav)
    assert hub.requests == [], "it is not tried with every clip"


def test_what_is_whole_starts_at_once(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    put(GPU, monkeypatch)
    lay(settings, "ditto-pytorch")
    studio = Studio(settings)
    assert studio.engine.name == "ditto"
    studio.close()


def test_a_switch_that_fails_or_is_stopped_changes_nothing(
    studio: Studio, hub: FakeHub, settings: Settings, ditto: type[FakeDitto]
) -> None:
    before = studio.running
    hub.status = 503
    with pytest.raises(EngineUnavailable):
        list(studio.switch("ditto", settings))
    hub.status = 200
    hold = hub.hold["ditto_pytorch/models/decoder.pth"] = threading.Event()
    work = studio.switch("ditto", settings)
    while not (next(work).fraction or 0) > 0:
        pass
    threading.Timer(0.3, hold.set).start()
    work.close()
    assert studio.running is before and before.engine.closed == 0  # type: ignore[attr-defined]
    assert all(each.closed for each in ditto.made)
    assert not [thread for thread in threading.enumerate() if thread.name == "visavis-work"]
    assert list(studio.switch("ditto", settings))
    assert studio.engine.name == "ditto" and before.engine.closed == 1  # type: ignore[attr-defined]


def test_an_engine_that_is_ready_too_late_is_closed(
    studio: Studio, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, late = threading.Event(), Lite()

    def slow(settings: Settings, report: Callable[[Progress], None]) -> Running:
        report(Progress("check"))
        begun.wait(10)
        return Running(late, "asked for")

    monkeypatch.setitem(registry.ENGINES, "slow", slow)
    work = studio.switch("slow", settings)
    next(work)
    threading.Timer(0.2, begun.set).start()
    work.close()
    assert late.closed == 1 and studio.engine is not late


@pytest.mark.parametrize(("runtime", "precision"), [("pth", "bf16"), ("onnx", "fp32")])
def test_precision_is_torchs(tmp_path: Path, runtime: str, precision: str) -> None:
    """An ONNX file has its own."""
    files = {"lmdm": tmp_path / f"lmdm.{runtime}"}
    engine = start._engine(Settings(precision="bf16"), files, "made up", "cuda")
    assert engine.precision == precision
