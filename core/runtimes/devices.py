"""Which device a runtime can use here."""

import ctypes
import re
import sys
from types import ModuleType
from typing import Literal

from core.errors import BadOption, EngineUnavailable
from core.native import import_native

Precision = Literal["fp32", "fp16", "bf16"]
Runtime = Literal["onnx", "torch"]
_LESS_GPU = "Close what else uses the GPU, or set {0}VISAVIS_DEVICE=cpu."
_LESS = "Close other programs; of a source video take fewer frames (template_n_frames)."
_DRIVER = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"


def pick_device(wanted: str, runtime: Runtime) -> tuple[str, str]:
    """(device, reason in one line) for a wish: "auto", "cpu", "cuda" or "cuda:1".

    "auto" is CUDA where the runtime is built with it and the driver shows a device. Raises BadOption (no
    such device name) and EngineUnavailable (torch asked for and not installed); CUDA asked for by name is
    found out to be missing when a network is opened.
    """
    if wanted != "auto":
        check_device(wanted)
        return wanted, f"{wanted}, as asked for"
    if runtime == "torch":
        torch = need_torch()
        able, name = bool(torch.cuda.is_available()), f"torch {torch.__version__}"
    else:
        from core.runtimes.onnx_runtime import has_cuda, version

        able, name = has_cuda(), f"ONNX Runtime {version()}"
    if not able:
        return "cpu", f"cpu: {name} has no CUDA"
    if not cuda_devices():
        return "cpu", "cpu: the NVIDIA driver shows no device"
    return "cuda", f"cuda: {name} and the NVIDIA driver have it"


def check_device(device: str) -> None:
    """Raise BadOption for anything but "cpu", "cuda" and "cuda:NUMBER"."""
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise BadOption(f"There is no device '{device}'.", "Known are auto, cpu, cuda and cuda:NUMBER.")


def less_memory(device: str, runtime: Runtime) -> str:
    """What to do where memory ran out."""
    halved = "VISAVIS_PRECISION=fp16, or " if runtime == "torch" else ""
    return _LESS if device == "cpu" else _LESS_GPU.format(halved)


def cuda_devices() -> int:
    """How many devices the NVIDIA driver shows; 0 without a driver."""
    try:
        driver = ctypes.CDLL(_DRIVER)
    except OSError:
        return 0
    count = ctypes.c_int(0)
    if driver.cuInit(0) != 0 or driver.cuDeviceGetCount(ctypes.byref(count)) != 0:
        return 0
    return count.value


def need_torch() -> ModuleType:
    """torch. Raises EngineUnavailable when it is not installed or cannot be loaded."""
    try:
        return import_native("torch")
    except EngineUnavailable as error:
        raise EngineUnavailable(
            error.message, "Run: pip install -r requirements.txt, or use the ONNX files, which need no torch."
        ) from error
