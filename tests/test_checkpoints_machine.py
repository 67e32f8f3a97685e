"""The choice of a variant, on machines made up for it, and what is found out about a real one."""

import re
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from core.checkpoints import machine as room
from core.checkpoints.machine import Gpu, Machine, checks, choose_variant, parse_smi, probe

A100 = Gpu("NVIDIA A100-SXM4-80GB", (8, 0), 81920, "550.54.15")
ALL = Machine(
    gpu=A100,
    tensorrt="8.6.1",
    torch="2.13.0",
    torch_cuda="12.8",
    onnxruntime="1.31.1",
    providers=("CUDAExecutionProvider", "CPUExecutionProvider"),
)


@pytest.mark.parametrize(
    ("found", "variant", "reason"),
    [
        (ALL, "ditto-pytorch", "A100.*capability 8.0, 80 GiB; torch 2.13.0 for CUDA 12.8"),
        (replace(ALL, tensorrt=None), "ditto-pytorch", "torch"),
        (replace(ALL, gpu=A100._replace(compute=(12, 0))), "ditto-pytorch", "12.0.*torch"),
        (replace(ALL, gpu=A100._replace(compute=(7, 5))), "ditto-pytorch", "7.5.*torch"),
        (replace(ALL, tensorrt=None, torch_cuda=None), "ditto-onnx", "ONNX Runtime on CUDA 1.31.1"),
        (replace(ALL, tensorrt=None, torch=None, torch_cuda=None), "ditto-onnx", "ONNX Runtime"),
        (Machine(gpu=A100), None, "nothing installed can use it"),
        (replace(ALL, gpu=A100._replace(compute=(7, 0))), None, "too old"),
        (replace(ALL, gpu=A100._replace(compute=None)), None, "capability unknown"),
        (replace(ALL, gpu=A100._replace(memory=4096)), None, "4 GiB: too little memory"),
        (replace(ALL, gpu=None), None, "no NVIDIA driver found; Ditto runs on request"),
    ],
)
def test_the_fastest_that_runs_is_chosen(found: Machine, variant: str | None, reason: str) -> None:
    choice = choose_variant(found)
    assert choice.variant == variant
    assert choice.device == ("cuda" if variant else "cpu")
    assert re.search(reason, choice.reason), choice.reason


def test_the_doctor_says_why_not_more() -> None:
    assert [check.name for check in checks(ALL) if not check.good or check.remedy] == ["TensorRT"]
    assert all("runs no TensorRT engines" in check.found for check in checks(ALL) if not check.good)
    for poor in (Machine(), replace(ALL, tensorrt="10.14.1", torch_cuda=None, providers=())):
        bad = [check for check in checks(poor) if not check.good]
        assert bad and all(check.found and check.remedy for check in bad)
    assert "8.6" in next(check.found for check in checks(replace(ALL, tensorrt="10.14.1")) if not check.good)


@pytest.mark.parametrize(
    ("line", "gpu"),
    [
        ("NVIDIA A100-SXM4-80GB, 8.0, 81920, 550.54.15\nNVIDIA T4, 7.5, 15360, 550.54.15\n", A100),
        ("Tesla K80, [N/A], 11441, 470.1\n", Gpu("Tesla K80", None, 11441, "470.1")),
        ("Odd, comma, 12.0, 32607, 580.1", Gpu("Odd, comma", (12, 0), 32607, "580.1")),
    ],
)
def test_what_the_driver_says_is_read(line: str, gpu: Gpu) -> None:
    assert parse_smi(line) == gpu


def put_smi(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """A driver's program that does as told, the only one on the path."""
    folder.mkdir(exist_ok=True)
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\nimport sys, time\n{body}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


def test_this_machine_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(sys.modules)
    put_smi(
        tmp_path / "bin", monkeypatch, "print('NVIDIA A100-SXM4-80GB, 8.0, 81920, 550.54.15', *sys.argv[3:])"
    )
    found = probe()
    assert found.gpu and found.gpu[:3] == A100[:3]
    assert found.onnxruntime and "CPUExecutionProvider" in found.providers
    assert not {"torch", "tensorrt"} & (set(sys.modules) - before)
    assert probe("cpu").gpu is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert probe().no_gpu == "no NVIDIA driver found"
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert probe().no_gpu == "CUDA_VISIBLE_DEVICES hides all devices"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,0")
    gpu = probe().gpu
    assert gpu and gpu.driver.endswith("--id=1"), "the device that the process may use is the one asked about"


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (
            "sys.exit('NVIDIA-SMI has failed: no driver')",
            "nvidia-smi fails: NVIDIA-SMI has failed: no driver",
        ),
        ("sys.exit(9)", "nvidia-smi fails: exit code 9"),
        ("print('No devices were found')", "tells nothing of use"),
        ("time.sleep(9)", "does not answer"),
    ],
)
def test_a_driver_that_fails_is_no_gpu(
    body: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(room, "_SMI_S", 1.0 if "sleep" in body else 10.0)
    put_smi(tmp_path / "bin", monkeypatch, body)
    found = probe()
    assert found.gpu is None and said in found.no_gpu


def test_torch_is_known_without_loading_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "torch"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('torch was imported')")
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.syspath_prepend(str(tmp_path))
    for text, cuda in (("cuda: Optional[str] = '12.8'", "12.8"), ("cuda = '11.8'", "11.8"),
                       ("cuda: Optional[str] = None", None), ("debug = False", None)):  # fmt: skip
        (package / "version.py").write_text(f"__version__ = '9'\n{text}\n")
        assert probe("cpu").torch_cuda == cuda


def test_packages_that_are_missing_are_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch", "onnxruntime"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = probe("cpu")
    assert (found.torch_cuda, found.onnxruntime, found.providers, found.tensorrt) == (None, None, (), None)
