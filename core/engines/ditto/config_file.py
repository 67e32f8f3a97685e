"""Ditto's configuration in files: the published pickles, read once and safely, and our own plain copies."""

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
import safetensors
import safetensors.numpy
from pydantic import ValidationError

from core.engines.ditto.config import DittoConfig
from core.engines.ditto.sections import Section
from core.engines.ditto.unpickle import read_pickle
from core.errors import BadOption, CorruptCheckpoint, EngineUnavailable, MissingCheckpoint, StoreFailed

Backend = Literal["torch", "onnx", "tensorrt", "mediapipe"]
_SUFFIXES: dict[str, Backend] = {
    ".pt": "torch", ".pth": "torch", ".onnx": "onnx", ".engine": "tensorrt", ".trt": "tensorrt",
    ".task": "mediapipe",
}  # fmt: skip
_FORMAT = "visavis-ditto-config-1"
NO_SECTIONS: Mapping[str, Mapping[str, Any]] = MappingProxyType({})


def read_published(path: Path, sections: Mapping[str, Mapping[str, Any]] = NO_SECTIONS) -> DittoConfig:
    """The configuration in one of the published pickles, nothing of which is run.

    `sections` replace entries, by section and name. Raises MissingCheckpoint, CorruptCheckpoint naming what
    is wrong, BadOption for a section that there is not, and EngineUnavailable for a configuration that wants
    other sound features than HuBERT's.
    """
    tree = read_pickle(path)
    config = _checked(tree, path)
    if not sections:
        return config
    assert isinstance(tree, dict)
    for name, entries in sections.items():
        _refuse_strangers(name, entries)
        tree = {**tree, name: {**tree.get(name, {}), **entries}}
    try:
        return _checked(tree, path)
    except CorruptCheckpoint as error:  # the file alone is whole: the caller's entries are not
        raise BadOption(error.message, "Correct what was given beside the configuration.") from error


def save(config: DittoConfig, path: Path) -> None:
    """Write a configuration as safetensors with the rest as JSON in its header, whole or not at all.

    Raises StoreFailed.
    """
    arrays: dict[str, np.ndarray] = {}
    tree = _without_arrays(config.model_dump(exclude_unset=True), "", arrays)
    data = safetensors.numpy.save(arrays, {"format": _FORMAT, "config": json.dumps(tree)})
    unfinished = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    try:
        with unfinished.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        raise StoreFailed(
            f"Cannot write '{path}': {error.strerror}.", "Free space or rights there."
        ) from error
    finally:
        unfinished.unlink(missing_ok=True)


def load(path: Path) -> DittoConfig:
    """What `save` wrote, value for value. Raises MissingCheckpoint, CorruptCheckpoint."""
    hint = "Remove the file; it is made again from the published one."
    try:
        with safetensors.safe_open(path, framework="np") as file:
            about = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except OSError as error:
        raise MissingCheckpoint(
            f"Cannot read '{path}': {error.strerror or error}.", "Check the path."
        ) from error
    except safetensors.SafetensorError as error:
        raise CorruptCheckpoint(f"'{path.name}' is no whole safetensors file.", hint) from error
    if about.get("format") != _FORMAT:
        raise CorruptCheckpoint(f"'{path.name}' is no configuration of this version.", hint)
    try:
        tree = json.loads(about["config"])
        for name, array in arrays.items():
            *parents, last = name.split(".")
            place = tree
            for parent in parents:
                place = place[parent]
            place[last] = array
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpoint(f"'{path.name}' does not hold together.", hint) from error
    return _checked(tree, path)


def find_file(name: str, data_root: Path) -> Path:
    """Where a model of a configuration lies: a file there relative to the working directory, else in
    `data_root`. Raises MissingCheckpoint."""
    for place in (Path(name), data_root / name):
        if place.is_file():
            return place
    raise MissingCheckpoint(
        f"The model '{name}' is neither in '{data_root}' nor in the working directory.",
        "Fetch it: python model_manager.py download",
    )


def backend_of(path: str | Path) -> Backend:
    """What runs a model's file, by its suffix. Raises CorruptCheckpoint."""
    suffix = Path(path).suffix.lower()
    if suffix not in _SUFFIXES:
        raise CorruptCheckpoint(f"Nothing runs the model '{path}'.", f"Known: {', '.join(_SUFFIXES)}.")
    return _SUFFIXES[suffix]


def _refuse_strangers(name: str, entries: Mapping[str, Any]) -> None:
    """Raises BadOption for a section, or an entry of one, that a configuration does not have."""
    sections = DittoConfig.model_fields
    kind = sections[name].annotation if name in sections else None
    if not isinstance(kind, type) or not issubclass(kind, Section) or not isinstance(entries, Mapping):
        raise BadOption(
            f"'{name}' is no section of the configuration, or not given as a dict.",
            f"Known: {', '.join(sections)}.",
        )
    for entry in entries:
        if entry not in {*kind.model_fields, *kind.passed_over}:
            raise BadOption(f"'{entry}' is unknown in {name}.", f"Known: {', '.join(kind.model_fields)}.")


def _checked(tree: object, path: Path) -> DittoConfig:
    motion = tree.get("audio2motion_cfg") if isinstance(tree, dict) else None
    sound = motion.get("w2f_type") if isinstance(motion, dict) else None
    if isinstance(sound, str) and sound.lower() != "hubert":
        raise EngineUnavailable(
            f"'{path.name}' is for the sound features '{sound:.40}'; this version has HuBERT's alone.",
            "Use a configuration whose name has 'hubert' in it.",
        )
    try:
        return DittoConfig.model_validate(tree)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        wrong = first["msg"].removeprefix("Value error, ")
        raise CorruptCheckpoint(
            f"'{path.name}': {where}: {wrong}.", "Fetch the configuration again."
        ) from error


def _without_arrays(tree: dict[str, Any], path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """What is left of a tree when its arrays are taken out, each under the names that lead to it."""
    left = {}
    for name, value in tree.items():
        if isinstance(value, np.ndarray):
            arrays[f"{path}{name}"] = value
        else:
            left[name] = (
                _without_arrays(value, f"{path}{name}.", arrays) if isinstance(value, dict) else value
            )
    return left
