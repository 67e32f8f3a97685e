"""Upstream's extra arguments, `setup_kwargs` and `run_kwargs`: given as a dict, as JSON, or in a file.

A file is JSON, or a pickle of plain values and arrays; reading it runs nothing that is in it.
"""

import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from core.engines.ditto.unpickle import MAX_BYTES, read_pickle
from core.errors import BadOption, BadPath, CorruptCheckpoint

RUN_KWARGS = ("fade_in", "fade_out", "ctrl_info", "chunksize")
_PARTS = ("setup_kwargs", "run_kwargs")
_HINT = "It holds 'setup_kwargs' and 'run_kwargs', each with option values by name."


@dataclass(frozen=True)
class MoreKwargs:
    """Option values by name, not checked yet: those of the whole session, and those of its run."""

    setup: Mapping[str, Any] = field(default_factory=dict)
    run: Mapping[str, Any] = field(default_factory=dict)


def read_more_kwargs(given: Mapping[str, Any] | str | Path) -> MoreKwargs:
    """A dict, its JSON text, or the path of a .json or .pkl file -> what is in it.

    Raises BadPath (no such file), BadOption (too large, not readable, names that do not belong there).
    """
    if isinstance(given, str) and given.lstrip().startswith("{"):
        given = _parsed(given, "more_kwargs")
    elif isinstance(given, str | Path):
        given = _read(Path(given))
    _only(given, _PARTS, "more_kwargs")
    setup, run = (given.get(name) or {} for name in _PARTS)
    for name, part in zip(_PARTS, (setup, run), strict=True):
        if not isinstance(part, Mapping) or not all(isinstance(key, str) for key in part):
            raise BadOption(f"{name} is no set of named values.", _HINT)
    _only(run, RUN_KWARGS, "run_kwargs")
    return MoreKwargs(setup, run)


def _only(values: Mapping[str, Any], allowed: tuple[str, ...], where: str) -> None:
    for name in values:
        if name not in allowed:
            raise BadOption(f"Unknown name '{name!s:.60}' in {where}.", f"Known: {', '.join(allowed)}.")


def _read(path: Path) -> Mapping[str, Any]:
    kind = path.suffix.lower()
    if kind not in (".json", ".pkl"):
        raise BadOption(
            f"'{path!s:.200}' is neither JSON nor a .json or .pkl file.", "Give one of these as more_kwargs."
        )
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise BadPath(f"'{path}' is not a regular file.", "Check the path.")
        if status.st_size > MAX_BYTES:
            raise BadOption(f"'{path.name}' is larger than {MAX_BYTES >> 20} MiB.", "Give fewer values.")
        if kind == ".json":
            return _parsed(path.read_text("utf-8"), f"'{path.name}'")
    except OSError as error:
        raise BadPath(f"Cannot open '{path!s:.200}': {error.strerror}.", "Check the path.") from error
    except UnicodeDecodeError as error:
        raise BadOption(f"'{path.name}' is not JSON: it is no text.", _HINT) from error
    return _unpickled(path)


def _unpickled(path: Path) -> Mapping[str, Any]:
    if not os.access(path, os.R_OK):
        raise BadPath(f"Cannot open '{path}': it is not readable.", "Check the path.")
    try:
        value = read_pickle(path)
    except CorruptCheckpoint as error:
        raise BadOption(error.message, "Plain values and arrays alone are read from it.") from error
    return _mapping(value, f"'{path.name}'")


def _parsed(text: str, name: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadOption(f"{name} is not JSON ({error.msg} at character {error.pos}).", _HINT) from error
    except RecursionError as error:
        raise BadOption(f"{name} is nested too deeply.", _HINT) from error
    return _mapping(value, name)


def _mapping(value: object, name: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadOption(f"{name} holds no named values.", _HINT)
    return value
