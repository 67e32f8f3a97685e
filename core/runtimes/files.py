"""What can be told of a network's file before anything opens it."""

from pathlib import Path

from core.errors import CorruptCheckpoint, EngineUnavailable, MissingCheckpoint

FETCH_AGAIN = "Fetch it again: python model_manager.py download"
_PLAN_MAGIC = (b"ptrt", b"ftrt")  # first bytes of a serialised engine, TensorRT 7 and earlier, 8 and later
_PLAN_VERSION = slice(24, 27)  # major, minor, patch, a byte each (github.com/NVIDIA/TensorRT/issues/3073)
_STILL_READ = 10  # major version whose engines current TensorRT can read


def require_file(path: Path) -> None:
    """Raise MissingCheckpoint when there is no file, CorruptCheckpoint when it is empty or not readable."""
    if not path.is_file():
        raise MissingCheckpoint(f"There is no file {path}.", "Fetch it: python model_manager.py download")
    try:
        with path.open("rb") as file:
            empty = not file.read(1)
    except OSError as error:
        raise CorruptCheckpoint(f"{path} cannot be read: {error.strerror}.") from error
    if empty:
        raise CorruptCheckpoint(f"{path} is empty.", FETCH_AGAIN)


def refuse_plan(path: Path, name: str) -> EngineUnavailable | CorruptCheckpoint:
    """The error that says why the TensorRT engine of network `name` cannot be run, and what to use instead.

    Raises MissingCheckpoint or CorruptCheckpoint when the file is not there or not readable.
    """
    require_file(path)
    with path.open("rb") as file:
        head = file.read(_PLAN_VERSION.stop)
    if len(head) < _PLAN_VERSION.stop or not head.startswith(_PLAN_MAGIC):
        return CorruptCheckpoint(f"{path.name} is not a TensorRT engine.", FETCH_AGAIN)
    version = head[_PLAN_VERSION]
    found = f"{path.name} is an engine of TensorRT {'.'.join(map(str, version))}"
    if version[0] < _STILL_READ:
        found += f", which TensorRT {_STILL_READ} and newer cannot read"
    return EngineUnavailable(
        f"{found}; this version of Visavis runs no TensorRT engines.",
        f"Use the ONNX file of {name} instead (ditto_onnx): python model_manager.py download ditto-onnx",
    )
