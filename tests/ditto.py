"""What tests of Ditto share: the parity kit's numbers and made-up weights, stand-in networks, pictures."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scripts.parity import kit
from scripts.parity.auxiliary import EYES, LIPS, blocks, detector_outputs

__all__ = ["EYES", "LIPS", "blocks", "detector_outputs"]

GOLDEN = Path(__file__).parent / "golden" / "ditto"
Arrays = dict[str, np.ndarray]


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


def golden(name: str) -> kit.Golden:
    """An npz of the kit."""
    return kit.open_golden(GOLDEN / f"{name}.npz")


def salt() -> str:
    name: str = manifest()["salt"]
    return name


class StandIn:
    """A Network that computes what it is told and keeps what it was called with."""

    def __init__(self, run: Callable[[Mapping[str, np.ndarray]], Arrays]) -> None:
        self._run = run
        self.calls: list[Mapping[str, np.ndarray]] = []

    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        self.calls.append(arrays)
        return self._run(arrays)

    def close(self) -> None: ...


def stitching() -> StandIn:
    """The kit's stitching network in numpy: small enough to be written out."""
    made = weights("stitch_network")

    def run(arrays: Mapping[str, np.ndarray]) -> Arrays:
        source, driving = arrays["kp_source"], arrays["kp_driving"]
        x = np.concatenate([source.reshape(1, -1), driving.reshape(1, -1)], axis=1)
        for layer in (0, 2, 4, 6):
            x = x @ made[f"mlp.{layer}.weight"].T + made[f"mlp.{layer}.bias"]
            x = np.maximum(x, 0) if layer < 6 else x
        out = driving + x[:, :63].reshape(1, 21, 3)
        out[..., :2] += x[:, None, 63:]
        return {"out": out}

    return StandIn(run)
