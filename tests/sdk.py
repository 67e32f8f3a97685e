"""A published configuration with stand-in networks, for whoever needs a StreamSDK that runs at once."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from core.engines.ditto import networks as networks_room
from core.networks import NetworkSpec
from tests.ditto import StandIn
from tests.test_ditto_config import published
from tests.test_ditto_engine import RUNS


class Checkpoints:
    """A folder of made-up files and their configuration; `nets` are the stand-ins by name, once opened."""

    def __init__(self, folder: Path, default_kwargs: Mapping[str, Any]) -> None:
        tree = {**published(), "default_kwargs": dict(default_kwargs)}
        mesh = {name: f"aux_models/{name}.onnx" for name in ("blaze_face", "face_mesh")}
        tree["base_cfg"]["landmark478_cfg"] = {f"{name}_model_path": path for name, path in mesh.items()}
        named = [part["model_path"] for part in tree["base_cfg"].values() if "model_path" in part]
        for name in (*named, *mesh.values(), tree["audio2motion_cfg"]["model_path"]):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"stand-in")
        for path in mesh.values():  # MediaPipe's own takes their place: it sees real pictures
            (folder / path).unlink()
        tree["base_cfg"]["landmark478_cfg"] = {"task_path": "face_landmarker.task", "force_ori_type": True}
        (folder / "face_landmarker.task").write_bytes(b"stand-in")
        self.data_root, self.cfg_pkl = folder, folder / "cfg.pkl"
        self.cfg_pkl.write_bytes(pickle.dumps(tree))
        self.nets: dict[str, StandIn] = {}

    def open(self, spec: NetworkSpec, *_: object) -> StandIn:
        run = RUNS.get(spec.name, lambda arrays: {})
        self.nets[spec.name] = StandIn(run)
        return self.nets[spec.name]


def checkpoints(
    folder: Path, patch: pytest.MonkeyPatch, default_kwargs: Mapping[str, Any] | None = None
) -> Checkpoints:  # fmt: skip
    """Made-up checkpoints; the commercial profile, so that faces are found by MediaPipe's mesh."""
    made = Checkpoints(folder, default_kwargs or {})
    patch.setattr(networks_room, "open_network", made.open)
    patch.setenv("VISAVIS_LICENSE_PROFILE", "commercial")
    patch.setenv("VISAVIS_DEVICE", "cpu")
    return made
