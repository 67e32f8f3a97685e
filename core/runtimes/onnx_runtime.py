"""Networks from ONNX files, run by ONNX Runtime on the CPU or on CUDA. Needs no torch."""

import logging
import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from core.errors import ComputeError, CorruptCheckpoint, EngineUnavailable, OutOfMemory
from core.native import import_native
from core.networks import NetworkSpec, Port
from core.runtimes.devices import less_memory
from core.runtimes.files import require_file
from core.runtimes.onnx_rewrite import CUSTOM_OP, standard_operators
from core.runtimes.ports import VERIFY, fits, inputs_of, misfit, outputs_of, slim

log = logging.getLogger(__name__)
ort = import_native("onnxruntime")
_state = import_native("onnxruntime.capi.onnxruntime_pybind11_state")
_FOREIGN = (  # everything ONNX Runtime raises; they have no base of their own
    _state.EPFail, _state.EngineError, _state.Fail, _state.InvalidArgument, _state.InvalidGraph,
    _state.InvalidProtobuf, _state.ModelLoaded, _state.NoModel, _state.NoSuchFile, _state.NotImplemented,
    _state.RuntimeException, RuntimeError, ValueError,
)  # fmt: skip
_OUT_OF_MEMORY = ("bad_alloc", "allocate memory", "out of memory", "bad allocation", "alloc_failed")
_TYPES = {"tensor(float)": "float32", "tensor(float16)": "float16", "tensor(double)": "float64",
          "tensor(int64)": "int64", "tensor(int32)": "int32"}  # fmt: skip
_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class OnnxNetwork:
    """An ONNX file as a Network; threads may share it.

    `takes` gives, for each output of the spec, its position among the file's outputs; left out, they are
    the file's first ones. Input names are the file's and must be the spec's, but a single input may have any
    name. A `GridSample3D` node is replaced in memory; the file is never changed. `provider` is what runs it.

    Raises MissingCheckpoint, CorruptCheckpoint (not ONNX, or ports that do not fit the spec),
    EngineUnavailable (no CUDA) and OutOfMemory; a call raises ComputeError and OutOfMemory.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        path: Path,
        device: str = "cpu",
        threads: int = 1,
        takes: Sequence[int] | None = None,
    ) -> None:
        self._spec, self._file, self._device = spec, path.name, device
        self._session: Any = _open(path, device, threads)
        self.provider: str = self._session.get_providers()[0]
        self._inputs = _match_inputs(spec, self._session.get_inputs(), self._file)
        self._outputs = _match_outputs(spec, self._session, takes, self._file)
        log.info("%s: %s on %s", spec.name, self._file, self.provider)

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        given = inputs_of(self._spec, arrays)
        feeds = {
            name: array.astype(dtype, copy=False)
            for (name, dtype), array in zip(self._inputs, given, strict=True)
        }
        with _translated(self._spec.name, ComputeError, self._device, "running"):
            results = self._session.run(self._outputs, feeds)
        return outputs_of(self._spec, results, self._file)

    def close(self) -> None:
        """Release the weights. May be called twice; the network is not to be called afterwards."""
        self._session = None


def has_cuda() -> bool:
    """Whether this ONNX Runtime is built with CUDA; says nothing of the machine."""
    return _CUDA in ort.get_available_providers()


def version() -> str:
    return str(ort.__version__)


def _open(path: Path, device: str, threads: int) -> Any:
    """A session of the file.

    Without arena and memory pattern: they made no network faster and held on to up to 160 MB more.
    """
    require_file(path)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.enable_cpu_mem_arena = options.enable_mem_pattern = False
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # idle threads sleep
    options.log_severity_level = 3  # errors; warnings are of shapes that a file declares wrongly
    ort.disable_telemetry_events()
    providers = _providers(device)
    with _translated(path.name, CorruptCheckpoint, device, f"loading by ONNX Runtime {ort.__version__}"):
        session = ort.InferenceSession(_model(path), options, providers=providers)
    if device != "cpu" and session.get_providers()[0] != _CUDA:
        raise EngineUnavailable(
            "ONNX Runtime could not start CUDA on this machine.",
            "Check that the driver, CUDA and cuDNN match onnxruntime-gpu, or choose the device cpu.",
        )
    return session


def _providers(device: str) -> list[Any]:
    if device == "cpu":
        return [_CPU]
    if not has_cuda():
        raise EngineUnavailable(
            f"ONNX Runtime {ort.__version__} is installed without CUDA.",
            "Run: pip uninstall onnxruntime && pip install onnxruntime-gpu, or choose the device cpu.",
        )
    number = device.partition(":")[2] or "0"
    return [(_CUDA, {"device_id": number, "arena_extend_strategy": "kSameAsRequested"}), _CPU]


def _model(path: Path) -> str | bytes:
    """What a session is made of: the path, or the bytes of the model rewritten where it must be."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        if content.find(CUSTOM_OP.encode()) < 0:
            return str(path)
        with memoryview(content) as whole:
            return standard_operators(whole, path.name)


def _match_inputs(spec: NetworkSpec, found: Sequence[Any], file: str) -> list[tuple[str, str]]:
    """(name, type) of the file's input for each input of the spec. Raises CorruptCheckpoint."""
    by_name = {one.name: one for one in found}
    if len(found) == len(spec.inputs) == 1:
        by_name = {spec.inputs[0].name: found[0]}
    if set(by_name) != {port.name for port in spec.inputs}:
        raise CorruptCheckpoint(
            f"{file} of {spec.name}: inputs are {_names(found)}, expected {_names(spec.inputs)}.",
            VERIFY,
        )
    for port in spec.inputs:
        one = by_name[port.name]
        _check(port, one, fits(port.shape, _sizes(one)), file, "input")
    return [(by_name[port.name].name, _TYPES[by_name[port.name].type]) for port in spec.inputs]


def _match_outputs(spec: NetworkSpec, session: Any, takes: Sequence[int] | None, file: str) -> list[str]:
    """The file's name of each output of the spec. Raises CorruptCheckpoint."""
    found = session.get_outputs()
    places = range(len(spec.outputs)) if takes is None else takes
    if max(places) >= len(found):
        raise CorruptCheckpoint(
            f"{file} of {spec.name}: outputs are {_names(found)}, expected {max(places) + 1} or more.",
            VERIFY,
        )
    # Where a size is left open, the others may be declared for another size; then only a run can tell.
    fixed = all(None not in _sizes(one) for one in session.get_inputs())
    for port, place in zip(spec.outputs, places, strict=True):
        sizes = _sizes(found[place])
        fit = not fixed or None in sizes or fits(slim(port.shape), slim(sizes))
        _check(port, found[place], fit, file, "output")
    return [found[place].name for place in places]


def _names(ports: Sequence[Any]) -> str:
    return ", ".join(port.name for port in ports)


def _sizes(value: Any) -> list[int | None]:
    """The declared shape of a file's input or output, None for each size left open."""
    return [size if isinstance(size, int) else None for size in value.shape]


def _check(port: Port, value: Any, fit: bool, file: str, kind: str) -> None:
    found = _TYPES.get(value.type, "object")
    if np.dtype(found).kind != np.dtype(port.dtype).kind:
        raise CorruptCheckpoint(f"{file}: {kind} {port.name} is {value.type}, expected {port.dtype}.")
    if not fit:
        raise misfit(file, kind, port, _sizes(value))


@contextmanager
def _translated(
    name: str, kind: type[CorruptCheckpoint | ComputeError], device: str, doing: str
) -> Iterator[None]:
    """ONNX Runtime's errors as ours: OutOfMemory, else `kind`."""
    try:
        yield
    except MemoryError as error:
        raise OutOfMemory(f"{name}: no memory left while {doing}.", less_memory(device, "onnx")) from error
    except _FOREIGN as error:
        text = str(error)
        if any(words in text.lower() for words in _OUT_OF_MEMORY):
            raise OutOfMemory(
                f"{name}: no memory left while {doing}.", less_memory(device, "onnx")
            ) from error
        hint = (
            "Fetch it again (python model_manager.py download), or update onnxruntime."
            if kind is CorruptCheckpoint
            else ""
        )
        raise kind(f"{name}: failed while {doing}: {text.splitlines()[0][:300]}", hint) from error
