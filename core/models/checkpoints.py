"""Published .pth files become networks, or a plain word on what is wrong with the file.

Nothing in a file is run (`weights_only`), and nothing is copied: weights are mapped and read when first
used. A file must therefore not be changed while its network is in use; to replace one, rename onto it.
"""

import pickle
import re
import struct
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from core.errors import CorruptCheckpoint, MissingCheckpoint
from core.models.appearance import AppearanceExtractor
from core.models.decoder import SpadeDecoder, SpectralConv2d
from core.models.lmdm import Lmdm
from core.models.motion import MotionExtractor
from core.models.stitch import StitchNetwork
from core.models.warp import WarpNetwork

MODULES: Mapping[str, type[nn.Module]] = {
    "appearance_extractor": AppearanceExtractor,
    "motion_extractor": MotionExtractor,
    "warp_network": WarpNetwork,
    "decoder": SpadeDecoder,
    "stitch_network": StitchNetwork,
    "lmdm": Lmdm,
}
_PARALLEL = "retarget_shoulder"  # saved from a data-parallel module: its names have a prefix
_WRAPPINGS = ("model_state_dict", _PARALLEL)
_HALVES = (torch.float16, torch.bfloat16)  # widened on load
# what reading a damaged file ends in: its bytes say which lookups and conversions are tried
_BROKEN = (
    pickle.UnpicklingError, RuntimeError, OSError, EOFError, ValueError, LookupError, TypeError,
    AttributeError, AssertionError, ArithmeticError, MemoryError, struct.error,
)  # fmt: skip
_ZIP = b"PK\x03\x04"
_FETCH = "Fetch it: python model_manager.py download"
_AGAIN = "Fetch it again: python model_manager.py download"
_VERIFY = "Check it: python model_manager.py verify"


def load_network(name: str, path: Path) -> nn.Module:
    """The network `name` (a key of MODULES) with the weights of `path`, in eval mode, without gradients.

    Takes float16 and bfloat16 weights as well; the network is float32. Raises MissingCheckpoint,
    CorruptCheckpoint.
    """
    found = _state_dict(path)
    with torch.device("meta"):  # names and shapes alone; the file brings the values
        network = MODULES[name]()
    expected = network.state_dict()
    _check_names(name, path, expected, found)
    for entry, tensor in expected.items():
        _check_tensor(name, path, entry, tensor, found[entry])
    network.load_state_dict(
        {entry: tensor.to(expected[entry].dtype).contiguous() for entry, tensor in found.items()}, assign=True
    )
    for part in network.modules():
        if isinstance(part, SpectralConv2d):
            part.fold()
    return network.eval().requires_grad_(False)


def _state_dict(path: Path) -> dict[str, Tensor]:
    """The tensors of a file by name, out of whatever it wraps them in."""
    content = _read(path)
    wrapping = next((key for key in _WRAPPINGS if isinstance(content, dict) and key in content), "")
    if wrapping and isinstance(content, dict):
        content = content[wrapping]
    if not isinstance(content, dict) or not content:
        found = "nothing" if isinstance(content, dict) else type(content).__name__
        raise CorruptCheckpoint(f"{path} holds no weights: expected tensors by name, found {found}.", _AGAIN)
    for entry, tensor in content.items():
        if not isinstance(entry, str) or not isinstance(tensor, Tensor):
            raise CorruptCheckpoint(
                f"{path} holds more than weights: expected a tensor as entry {entry!r}, "
                f"found {type(tensor).__name__}.",
                _AGAIN,
            )
    prefix = "module." if wrapping == _PARALLEL else ""
    return {entry.replace(prefix, ""): tensor for entry, tensor in content.items()}


def _read(path: Path) -> object:
    """Whatever a file of torch.save holds, mapped where its format allows. Raises as load_network does."""
    try:
        with path.open("rb") as file:
            is_zip = file.read(len(_ZIP)) == _ZIP
    except OSError as error:
        raise MissingCheckpoint(f"The checkpoint {path} cannot be read: {error.strerror}.", _FETCH) from error
    try:
        return torch.load(str(path), map_location="cpu", weights_only=True, mmap=is_zip)
    except _BROKEN as error:
        code = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        raise CorruptCheckpoint(
            f"{path} holds a program ({code[1]}) where weights alone are expected; it was not run."
            if code
            else f"{path} is no PyTorch checkpoint, or cut short or damaged ({path.stat().st_size} bytes).",
            _AGAIN,
        ) from error


def _check_names(name: str, path: Path, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    missing = [entry for entry in expected if entry not in found]
    unknown = [entry for entry in found if entry not in expected]
    if not missing and not unknown:
        return
    other = _looks_like(found)
    wrong = [f"{_some(missing)} expected and not found"] if missing else []
    wrong += [f"{_some(unknown)} found and not expected"] if unknown else []
    if other and other != name:
        looks, hint = f"; it looks like {other}", f"Were files renamed? {_VERIFY}"
    elif unknown:
        looks, hint = "", f"Is it made for a newer version of Visavis? {_VERIFY}"
    else:
        looks, hint = "", _AGAIN
    raise CorruptCheckpoint(f"{path} does not fit {name}{looks}: {', '.join(wrong)}.", hint)


def _some(entries: list[str]) -> str:
    return f"entry {entries[0]!r}" + (f" and {len(entries) - 1} more" if len(entries) > 1 else "")


def _looks_like(found: Mapping[str, Tensor]) -> str:
    """The network that shares more than half of its entries' names with a file; empty: none."""
    with torch.device("meta"):
        known = {name: module().state_dict().keys() for name, module in MODULES.items()}
    shared = {name: len(names & found.keys()) / len(names | found.keys()) for name, names in known.items()}
    best = max(shared, key=lambda name: shared[name])
    return best if shared[best] > 0.5 else ""


def _check_tensor(name: str, path: Path, entry: str, expected: Tensor, found: Tensor) -> None:
    widened = expected.dtype is torch.float32 and found.dtype in _HALVES
    plain = found.layout is torch.strided and found.device.type == "cpu"
    if found.shape != expected.shape or not (found.dtype is expected.dtype or widened) or not plain:
        raise CorruptCheckpoint(
            f"{path} does not fit {name}: entry {entry!r} expected as {_describe(expected)}, "
            f"found as {_describe(found)}{'' if plain else ', without values of its own'}.",
            _VERIFY,
        )


def _describe(tensor: Tensor) -> str:
    return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"
