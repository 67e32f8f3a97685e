"""A network's file, opened by the runtime that its suffix asks for."""

from collections.abc import Sequence
from pathlib import Path

from core.contracts import Network
from core.errors import CorruptCheckpoint
from core.networks import NetworkSpec
from core.runtimes.devices import Precision, check_device, need_torch
from core.runtimes.files import refuse_plan

_TORCH, _TENSORRT = (".pth", ".pt"), (".engine", ".trt")


def open_network(
    spec: NetworkSpec,
    path: Path,
    device: str = "cpu",
    precision: Precision = "fp32",
    threads: int = 1,
    takes: Sequence[int] | None = None,
) -> Network:
    """The network of `path` on `device` ("cpu", "cuda" or "cuda:1"). An ONNX file needs no torch.

    precision: of torch networks; an ONNX file has its own.
    threads: CPU threads at most; torch has one number for the whole process.
    takes: positions of the spec's outputs among an ONNX file's, where they are not its first ones.

    Raises MissingCheckpoint, CorruptCheckpoint, EngineUnavailable (what runs it is not installed, no such
    device, or a TensorRT engine), OutOfMemory and BadOption (no such device name).
    """
    check_device(device)
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        from core.runtimes.onnx_runtime import OnnxNetwork

        return OnnxNetwork(spec, path, device, threads, takes)
    if suffix in _TORCH:
        torch = need_torch()
        from core.models.checkpoints import load_network
        from core.runtimes.torch_runtime import TorchNetwork

        torch.set_num_threads(threads)
        return TorchNetwork(spec, load_network(spec.name, path), device, precision)
    if suffix in _TENSORRT:
        raise refuse_plan(path, spec.name)
    raise CorruptCheckpoint(
        f"{path.name} is no file of a network: known are .onnx, {', '.join(_TORCH + _TENSORRT)}."
    )
