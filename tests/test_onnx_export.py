"""The exporter's ONNX files give what torch gives, or get no name."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor

from core.errors import ComputeError, StoreFailed
from core.models.checkpoints import MODULES
from core.models.dense_motion import sample
from core.networks import APPEARANCE_EXTRACTOR, LMDM, STITCH_NETWORK, NetworkSpec, Port
from core.runtimes.onnx_runtime import OnnxNetwork
from scripts.export_onnx import TOLERANCE, drawn, export, main

VOLUME, GRID = (1, 4, 16, 8, 8), (1, 32, 8, 8, 3)  # the grid is larger than the volume, as in the network


class Sampler(torch.nn.Module):
    """The one part of the warp network that does not export as it is."""

    def forward(self, volume: Tensor, places: Tensor) -> Tensor:
        return 2 * sample(torch.relu(volume), places)


def shallow_lmdm() -> torch.nn.Module:
    """One layer of each kind instead of ten: a fifth of the weights to write."""
    module = made_up(LMDM.name)
    module.cond_encoder = module.cond_encoder[:1]
    module.seqTransDecoder.stack = module.seqTransDecoder.stack[:1]
    return module


# All six in full took 5 minutes on a busy core; they are compared whenever someone exports.
CASES: list[tuple[NetworkSpec, Callable[[], torch.nn.Module]]] = [
    (STITCH_NETWORK, lambda: made_up(STITCH_NETWORK.name)),
    (LMDM, shallow_lmdm),
    (
        APPEARANCE_EXTRACTOR._replace(
            inputs=(Port("image", (1, 3, 64, 64)),), outputs=(Port("pred", (1, 32, 16, 16, 16)),)
        ),
        lambda: made_up(APPEARANCE_EXTRACTOR.name),
    ),
    (
        NetworkSpec(
            "sampler", (Port("volume", VOLUME), Port("places", GRID)), (Port("out", (1, 4, *GRID[1:4])),)
        ),
        Sampler,
    ),
]


@torch.no_grad()
def made_up(name: str) -> torch.nn.Module:
    """A network with made-up weights that keep its values near 1."""
    torch.manual_seed(7)
    module = MODULES[name]()
    for entry, tensor in module.state_dict().items():
        if not tensor.is_floating_point():
            continue
        tensor.normal_()
        if entry.endswith("freqs"):
            tensor.copy_(10000 ** (-torch.arange(256) / 256))
        elif entry.endswith("running_var"):
            tensor.abs_().add_(0.5)
        elif tensor.ndim > 1:
            tensor.div_(math.sqrt(tensor[0].numel()))
        else:
            tensor.mul_(0.1).add_(1.0 if entry.endswith("weight") else 0.0)
    return module.eval().requires_grad_(False)


@pytest.mark.parametrize(("spec", "make"), CASES, ids=[spec.name for spec, _ in CASES])
def test_onnx_equals_torch(tmp_path: Path, spec: NetworkSpec, make: Callable[[], torch.nn.Module]) -> None:
    path = tmp_path / "onnx" / f"{spec.name}.onnx"
    module = make()
    assert export(spec, module, path) <= TOLERANCE
    assert [file.name for file in path.parent.iterdir()] == [path.name]

    graph = onnx.load(path, load_external_data=False).graph
    assert [one.name for one in graph.input] == [port.name for port in spec.inputs]
    assert [one.name for one in graph.output] == [port.name for port in spec.outputs]
    assert not [node.op_type for node in graph.node if "GridSample" in node.op_type or node.domain]

    arrays = {port.name: drawn(port) for port in spec.inputs}
    given = [torch.from_numpy(array) for array in arrays.values()]
    results = module(*given) if len(spec.outputs) > 1 else (module(*given),)
    for found, expected in zip(OnnxNetwork(spec, path)(arrays).values(), results, strict=True):
        np.testing.assert_allclose(found, expected.numpy(), atol=TOLERANCE * float(expected.abs().max()))
        assert expected.std() > 0.01


class Fickle(torch.nn.Module):
    """Does something else while it is exported."""

    def forward(self, source: Tensor, driving: Tensor) -> Tensor:
        return source + driving * (1.001 if torch.jit.is_tracing() else 1)


def test_a_file_that_differs_gets_no_name(tmp_path: Path) -> None:
    path = tmp_path / "stitch_network.onnx"
    path.write_bytes(b"the one before")
    with pytest.raises(ComputeError, match=r"stitch_network: the exported out differs from torch by"):
        export(STITCH_NETWORK, Fickle(), path)
    assert path.read_bytes() == b"the one before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreFailed, match="Cannot write"):
        export(STITCH_NETWORK, made_up("stitch_network"), tmp_path / "file" / "net.onnx")


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It takes the published wrapping from the published place, and says what it made."""
    folder = tmp_path / "ditto_pytorch" / "models"
    folder.mkdir(parents=True)
    weights = {f"module.{key}": value for key, value in made_up("stitch_network").state_dict().items()}
    torch.save({"retarget_shoulder": weights}, folder / "stitch_network.pth")
    out = tmp_path / "onnx"
    assert main([str(tmp_path), "--out", str(out), "--only", "stitch_network"]) == 0
    assert str(out / "stitch_network.onnx") in capsys.readouterr().out
    assert main([str(folder), "--out", str(out), "--only", "stitch_network"]) == 0
    assert main([str(tmp_path), "--out", str(out), "--only", "lmdm"]) == 2
    assert "lmdm_v0.4_hubert.pth" in capsys.readouterr().err
    assert [file.name for file in out.iterdir()] == ["stitch_network.onnx"]
