"""Which engines there are, and which one `auto` means on this machine."""

from collections.abc import Callable

from core.contracts import Engine
from core.errors import BadOption
from core.settings import Settings


def _lite(settings: Settings) -> Engine:
    from core.engines.lite.engine import LiteEngine

    return LiteEngine(settings)


ENGINES: dict[str, Callable[[Settings], Engine]] = {"lite": _lite}
AUTO = "auto"


def create_engine(name: str, settings: Settings) -> tuple[Engine, str]:
    """An engine by name, or the best one for this machine -> (engine, the reason in one line).

    Raises BadOption for an unknown name, AssetError where something the engine needs is missing.
    """
    if name == AUTO:
        return ENGINES["lite"](settings), "the embedded engine: needs no GPU and no download"
    if name not in ENGINES:
        raise BadOption(f"Unknown engine '{name}'.", f"Choose one of {AUTO}, {', '.join(ENGINES)}.")
    return ENGINES[name](settings), "asked for"
