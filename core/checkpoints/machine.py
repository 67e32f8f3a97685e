"""What this machine can run of Ditto, and why not more. Finds out without importing torch or TensorRT."""

import ast
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, NamedTuple

from core.errors import EngineUnavailable
from core.native import import_native

_SMI_S = 10.0  # nvidia-smi takes this long at most; a driver that hangs must not hold the start up
_FIELDS = "name,compute_cap,memory.total,driver_version"
_MIN_MEMORY_MIB = 6000  # 2.3 GB of weights, and what the networks need to work; an estimate, not measured
_MIN_COMPUTE = (7, 5)  # Turing: the oldest that today's CUDA builds of torch support
_PLAN_VERSION = "8.6"  # the TensorRT that wrote the published engines; no other reads them
_NO_PLANS = "this version of Visavis runs no TensorRT engines"


class Gpu(NamedTuple):
    """A CUDA device; memory in MiB, `compute` is its capability, None where the driver does not tell."""

    name: str
    compute: tuple[int, int] | None
    memory: int
    driver: str

    def __str__(self) -> str:
        capability = ".".join(map(str, self.compute)) if self.compute else "unknown"
        return f"{self.name}, compute capability {capability}, {self.memory / 1024:.0f} GiB"


@dataclass(frozen=True)
class Machine:
    """What was found: versions are None where a package is missing, `torch_cuda` where torch is for CPUs."""

    gpu: Gpu | None = None
    no_gpu: str = "no NVIDIA driver found"
    tensorrt: str | None = None
    torch: str | None = None
    torch_cuda: str | None = None
    onnxruntime: str | None = None
    providers: tuple[str, ...] = ()


class Choice(NamedTuple):
    """The variant to run, None for the embedded engine alone; the reason in words; and where it runs."""

    variant: str | None
    reason: str
    device: str = "cpu"


class Check(NamedTuple):
    """One line of `doctor`: what was looked at, what was found, and what would make it better."""

    name: str
    good: bool
    found: str
    remedy: str = ""


def probe(device: Literal["auto", "cpu", "cuda"] = "auto") -> Machine:
    """Look at this machine; with the device `cpu` its GPU is left out."""
    return _with_packages(probe_gpu(device))


def probe_gpu(device: Literal["auto", "cpu", "cuda"] = "auto") -> Machine:
    """Its GPU alone: looking at the packages takes longer than a start without a GPU should."""
    gpu, no_gpu = (None, "VISAVIS_DEVICE=cpu") if device == "cpu" else _nvidia()
    return Machine(gpu=gpu, no_gpu=no_gpu)


def _with_packages(machine: Machine) -> Machine:
    runtime, providers = _onnxruntime()
    return replace(
        machine,
        tensorrt=_version("tensorrt"),
        torch=_version("torch"),
        torch_cuda=_torch_cuda(),
        onnxruntime=runtime,
        providers=providers,
    )


def choose_here(device: Literal["auto", "cpu", "cuda"] = "auto") -> Choice:
    """`choose_variant` for this machine; its packages are looked at where the GPU is fit alone."""
    machine = probe_gpu(device)
    return choose_variant(_with_packages(machine) if _gpu_check(machine).good else machine)


def choose_variant(machine: Machine) -> Choice:
    """The fastest variant that runs on the machine's GPU: torch, then ONNX Runtime on CUDA.

    None without a fit GPU: Ditto on a CPU is far from real time, so there it runs on request only.
    """
    fit = _gpu_check(machine)
    if not fit.good:
        return Choice(None, f"{fit.found}; Ditto runs on request with ditto-onnx, slowly.")
    able = on_gpu(machine)
    return able[0] if able else Choice(None, f"{machine.gpu}, but nothing installed can use it.")


def on_gpu(machine: Machine) -> list[Choice]:
    """What the GPU can run, best first; nothing where it is not fit."""
    if not _gpu_check(machine).good:
        return []
    found = zip(("ditto-tensorrt", "ditto-pytorch", "ditto-onnx"), _runtimes(machine), strict=True)
    return [
        Choice(name, f"{machine.gpu}; {check.name} {check.found}.", "cuda")
        for name, check in found
        if check.good
    ]


def on_cpu(machine: Machine) -> list[Choice]:
    """What the CPU can run, slowly, best first."""
    found = (("ditto-onnx", "ONNX Runtime", machine.onnxruntime), ("ditto-pytorch", "torch", machine.torch))
    return [Choice(name, f"{what} {version} on the CPU.") for name, what, version in found if version]


def checks(machine: Machine) -> list[Check]:
    """Everything that decides what runs here, best first."""
    return [_gpu_check(machine), *_runtimes(machine), _cpu_check(machine)]


def _gpu_check(machine: Machine) -> Check:
    gpu = machine.gpu
    if gpu is None:
        return Check("GPU", False, f"no GPU: {machine.no_gpu}", "Ditto wants an NVIDIA GPU; lite needs none.")
    if gpu.compute is None:
        remedy = "Update the NVIDIA driver to 510 or newer."
        return Check("GPU", False, f"{gpu}, driver {gpu.driver}", remedy)
    if gpu.compute < _MIN_COMPUTE:
        least = ".".join(map(str, _MIN_COMPUTE))
        return Check("GPU", False, f"{gpu}: too old", f"A GPU of compute capability {least} or newer.")
    if gpu.memory < _MIN_MEMORY_MIB:
        return Check("GPU", False, f"{gpu}: too little memory", f"{_MIN_MEMORY_MIB} MiB or more are needed.")
    return Check("GPU", True, f"{gpu}, driver {gpu.driver}")


def _runtimes(machine: Machine) -> tuple[Check, Check, Check]:
    """TensorRT, torch and ONNX Runtime on CUDA, in the order of choice."""
    return (
        _tensorrt_check(machine),
        Check(
            "torch",
            machine.torch_cuda is not None,
            f"{machine.torch} for CUDA {machine.torch_cuda}"
            if machine.torch_cuda
            else f"{machine.torch}, a build without CUDA"
            if machine.torch
            else "not installed",
            "" if machine.torch_cuda else "Install a CUDA build of torch: https://pytorch.org/get-started",
        ),
        Check(
            "ONNX Runtime on CUDA",
            "CUDAExecutionProvider" in machine.providers,
            machine.onnxruntime or "not installed",
            ""
            if "CUDAExecutionProvider" in machine.providers
            else "pip uninstall onnxruntime && pip install onnxruntime-gpu",
        ),
    )


def _tensorrt_check(machine: Machine) -> Check:
    version = machine.tensorrt
    if version is None:
        found = f"not installed; {_NO_PLANS}"
    elif version.startswith(f"{_PLAN_VERSION}."):
        found = f"{version}; {_NO_PLANS}"
    else:
        found = f"{version} does not read the published engines, which {_PLAN_VERSION} wrote; {_NO_PLANS}"
    return Check("TensorRT", False, found, "Use ditto-pytorch or ditto-onnx.")


def _cpu_check(machine: Machine) -> Check:
    remedy = "" if machine.onnxruntime else "pip install -r requirements-base.txt"
    return Check(
        "ONNX Runtime on CPU", bool(machine.onnxruntime), machine.onnxruntime or "not installed", remedy
    )


def _nvidia() -> tuple[Gpu | None, str]:
    """The first device that this process may use, or why there is none."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    first = (visible or "").partition(",")[0].strip()
    if visible is not None and first in ("", "-1"):
        return None, "CUDA_VISIBLE_DEVICES hides all devices"
    program = shutil.which("nvidia-smi")
    if program is None:
        return None, "no NVIDIA driver found"
    command = [program, f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(  # noqa: S603  a program of the driver, without a shell
            command + ([f"--id={first}"] if first else []),
            capture_output=True,
            text=True,
            timeout=_SMI_S,
            check=True,
        )
        return parse_smi(done.stdout), ""
    except subprocess.CalledProcessError as error:
        said = f"{error.stdout} {error.stderr}".strip().partition("\n")[0]
        return None, f"nvidia-smi fails: {said or f'exit code {error.returncode}'}"
    except subprocess.TimeoutExpired:
        return None, f"nvidia-smi does not answer within {_SMI_S:.0f} s"
    except (OSError, ValueError) as error:
        return None, f"nvidia-smi tells nothing of use: {error}"


def parse_smi(text: str) -> Gpu:
    """The first line of nvidia-smi's answer. Raises ValueError."""
    name, compute, memory, driver = [part.strip() for part in text.partition("\n")[0].rsplit(",", 3)]
    major, _, minor = compute.partition(".")
    capability = (int(major), int(minor)) if major.isdigit() and minor.isdigit() else None
    return Gpu(name, capability, int(memory), driver)


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _torch_cuda() -> str | None:
    """The CUDA version torch was built for, read from its `version.py`: importing it takes seconds."""
    found = importlib.util.find_spec("torch")
    if found is None or not found.origin:
        return None
    path = Path(found.origin).with_name("version.py")
    for node in ast.parse(path.read_text(encoding="utf-8")).body if path.is_file() else ():
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(target, ast.Name) and target.id == "cuda" for target in targets):
            value = getattr(node, "value", None)
            return str(value.value) if isinstance(value, ast.Constant) and value.value else None
    return None


def _onnxruntime() -> tuple[str | None, tuple[str, ...]]:
    """Version and execution providers of ONNX Runtime; None where it is missing or does not load."""
    try:
        runtime = import_native("onnxruntime")
    except EngineUnavailable:
        return None, ()
    return str(runtime.__version__), tuple(runtime.get_available_providers())
