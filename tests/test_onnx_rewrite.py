"""GridSample3D spelled out in standard operators gives what torch's grid_sample gives."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from core.errors import CorruptCheckpoint
from core.networks import NetworkSpec, Port
from core.runtimes.onnx_rewrite import replace_grid_samples, standard_operators
from core.runtimes.onnx_runtime import OnnxNetwork

BATCH, CHANNELS, SIZE, POINTS = 2, 3, (4, 5, 6), (3, 4, 2)
SPEC = NetworkSpec(
    "sampler",
    (Port("volume", (BATCH, CHANNELS, *SIZE)), Port("grid", (BATCH, *POINTS, 3))),
    (Port("out", (BATCH, CHANNELS, *POINTS)),),
)
Attributes = Mapping[str, str | int]


def sampler(attributes: Attributes, opset: int = 17, kind: int = TensorProto.FLOAT, domain: str = "",
            op: str = "GridSample3D") -> onnx.ModelProto:  # fmt: skip
    """A graph with one such node between two others, as a published one has it."""
    sample = helper.make_node(op, ["doubled", "grid"], ["taken"], domain=domain)
    sample.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    graph = helper.make_graph(
        [
            helper.make_node("Add", ["volume", "volume"], ["doubled"]),
            sample,
            helper.make_node("Neg", ["taken"], ["out"]),
        ],
        "sampler",
        [helper.make_tensor_value_info(port.name, kind, port.shape) for port in SPEC.inputs],
        [helper.make_tensor_value_info(port.name, kind, port.shape) for port in SPEC.outputs],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("custom", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def arrays(spread: float = 1.4) -> dict[str, np.ndarray]:
    """A volume, and points of which many lie outside it; two lie on the border and beyond all bounds."""
    rng = np.random.default_rng(5)
    grid = rng.uniform(-spread, spread, (BATCH, *POINTS, 3)).astype(np.float32)
    grid[0, 0, 0, 0], grid[0, 0, 0, 1], grid[1, 0, 0, 0] = 1.0, -1.0, (6e4, -6e4, 0)
    return {"volume": rng.standard_normal((BATCH, CHANNELS, *SIZE)).astype(np.float32), "grid": grid}


def truth(given: Mapping[str, np.ndarray], aligned: bool) -> np.ndarray:
    volume, grid = (torch.from_numpy(given[name]) for name in ("volume", "grid"))
    taken = torch.nn.functional.grid_sample(volume, grid, "bilinear", "zeros", align_corners=aligned)
    return (-2 * taken).numpy()


@pytest.mark.parametrize("opset", [11, 14, 17, 20])
@pytest.mark.parametrize(
    ("attributes", "aligned"),
    [
        ({}, False),
        ({"interpolation_mode": 0, "padding_mode": 0, "align_corners": 0}, False),
        ({"interpolation_mode": "bilinear", "padding_mode": "zeros", "align_corners": "false"}, False),
        ({"mode": "linear", "padding_mode": "zeros", "align_corners": 1}, True),
        ({"align_corners": "True"}, True),
        ({"name": "GridSample3D", "version": 1, "namespace": ""}, False),
    ],
)
def test_it_equals_torch(tmp_path: Path, opset: int, attributes: Attributes, aligned: bool) -> None:
    path = tmp_path / "warp.onnx"
    path.write_bytes(sampler(attributes, opset).SerializeToString())
    before = path.read_bytes()
    found = OnnxNetwork(SPEC, path)(arrays())["out"]
    np.testing.assert_allclose(found, truth(arrays(), aligned), atol=1e-5)
    assert path.read_bytes() == before


def test_any_domain_will_do(tmp_path: Path) -> None:
    path = tmp_path / "warp.onnx"
    path.write_bytes(sampler({}, domain="custom").SerializeToString())
    np.testing.assert_allclose(OnnxNetwork(SPEC, path)(arrays())["out"], truth(arrays(), False), atol=1e-5)


def test_half_precision_graphs(tmp_path: Path) -> None:
    """Coordinates are float32 within: only the rounding of input and output to 11 bits is left."""
    path = tmp_path / "warp.onnx"
    path.write_bytes(sampler({}, kind=TensorProto.FLOAT16).SerializeToString())
    given = {name: array.astype(np.float16).astype(np.float32) for name, array in arrays(1.0).items()}
    found = OnnxNetwork(SPEC, path)(given)["out"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, truth(given, False), rtol=1e-3, atol=1e-3)


def test_old_half_precision_graphs_are_refused(tmp_path: Path) -> None:
    """Before opset 15 no operator casts to the type of another value."""
    path = tmp_path / "warp.onnx"
    path.write_bytes(sampler({}, 14, TensorProto.FLOAT16).SerializeToString())
    with pytest.raises(CorruptCheckpoint, match=r"warp\.onnx"):
        OnnxNetwork(SPEC, path)


def test_the_standard_node_too() -> None:
    """What an exporter writes is replaced likewise, and every node of several under names of their own."""
    model = sampler({"mode": "linear"}, 20, op="GridSample")
    second = onnx.NodeProto()
    second.CopyFrom(model.graph.node[1])
    second.output[0] = "again"
    model.graph.node.insert(2, second)
    assert replace_grid_samples(model, "GridSample", "x") == 2
    assert not {"GridSample", "GridSample3D"} & {node.op_type for node in model.graph.node}
    onnx.checker.check_model(model, full_check=True)


@pytest.mark.parametrize(
    ("attributes", "word"),
    [
        ({"interpolation_mode": 1}, "interpolation_mode=1"),
        ({"mode": "nearest"}, "mode=nearest"),
        ({"padding_mode": "border"}, "padding_mode=border"),
        ({"padding_mode": 2}, "padding_mode=2"),
        ({"align_corners": 7}, "align_corners=7"),
    ],
)
def test_other_modes_are_refused_by_name(attributes: Attributes, word: str) -> None:
    with pytest.raises(CorruptCheckpoint, match=rf"warp\.onnx.*{word}"):
        standard_operators(sampler(attributes).SerializeToString(), "warp.onnx")


def test_an_old_opset_is_refused() -> None:
    with pytest.raises(CorruptCheckpoint, match="opset 11 or newer, found 10"):
        standard_operators(sampler({}, 10).SerializeToString(), "warp.onnx")


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(CorruptCheckpoint, match=r"warp\.onnx is not an ONNX file"):
        standard_operators(b"GridSample3D", "warp.onnx")
