"""Ditto's networks with the parity kit's made-up weights, and what the published code gave with them."""

import json
from pathlib import Path
from typing import Any

from scripts.parity import kit

GOLDEN = Path(__file__).parent / "golden" / "ditto"


def manifest() -> dict[str, Any]:
    """The kit's rules for the weights: salt, and networks with gain and state_dict."""
    content: dict[str, Any] = json.loads((GOLDEN / "state_dicts.json").read_text())
    return content


def weights(net: str) -> kit.Arrays:
    """The made-up state dict of a network."""
    return kit.weights(net, manifest()["networks"][net], salt())


def checkpoint(net: str, folder: Path) -> Path:
    """The made-up checkpoint of a network, wrapped as published; up to 220 MB, drawn once per folder."""
    path = folder / f"{net}.pth"
    if not path.exists():
        kit.write_checkpoint(net, weights(net), path)
    return path


def golden(net: str) -> kit.Golden:
    return kit.open_golden(GOLDEN / f"{net}.npz")


def salt() -> str:
    name: str = manifest()["salt"]
    return name
