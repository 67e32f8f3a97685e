"""What tests of Ditto share: the parity kit's numbers and made-up weights, stand-in networks, pictures."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from scripts.parity import kit

GOLDEN = Path(__file__).parent / "golden" / "ditto"
Arrays = dict[str, np.ndarray]
# Indices of both eyes and of the mouth corners, by the number of points.
EYES = {106: ((33, 35, 40, 39), (87, 89, 94, 93)), 203: ((0, 6, 12, 18), (24, 30, 36, 42))}
LIPS = {106: (52, 61), 203: (48, 66)}


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


def blocks(key: str, height: int, width: int) -> np.ndarray:
    """The kit's picture of that key: squares of 10 px in drawn colours, uint8 (height, width, 3)."""
    cells = kit.draw(key, (-(-height // 10), -(-width // 10), 3))
    coarse = np.clip(128 + 60 * cells, 0, 255).astype(np.uint8)
    return coarse.repeat(10, 0).repeat(10, 1)[:height, :width]


def detector_outputs(key: str) -> Arrays:
    """What the kit's stand-in for the InsightFace detector says."""
    out = {}
    for level, stride in enumerate((8, 16, 32), 1):
        n = 2 * (512 // stride) ** 2
        logits = 3 * kit.draw(f"{key}/score{stride}", (n, 1)).astype(np.float64) - 9
        out[f"scores{level}"] = (1 / (1 + np.exp(-logits))).astype(np.float32)
        out[f"boxes{level}"] = 6 + 2 * np.abs(kit.draw(f"{key}/box{stride}", (n, 4)))
        out[f"kps{level}"] = 2 * kit.draw(f"{key}/kps{stride}", (n, 10))
    return out


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
