"""Imports of packages that carry native code, with the system's complaint made readable."""

import importlib
from types import ModuleType

from core.errors import EngineUnavailable

_APT = "apt-get install libgl1 libglib2.0-0"


def import_native(name: str) -> ModuleType:
    """Import `name`; raise EngineUnavailable, naming the remedy, when it or a library of it is missing."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        missing = error.name or name
        raise EngineUnavailable(
            f"The Python package {missing} is not installed.", "Run: pip install -r requirements-base.txt"
        ) from error
    except ImportError as error:
        raise EngineUnavailable(
            f"{name.partition('.')[0]} cannot be loaded: {error}.",
            f"A system library is missing; on Debian or Ubuntu run: {_APT}",
        ) from error
