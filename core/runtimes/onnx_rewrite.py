"""Volumetric grid sampling spelled out in standard operators.

The published warp_network.onnx calls a custom `GridSample3D`, which only a TensorRT 8 plugin knows. The
standard `GridSample` is no full answer: its rank-5 form came with opset 20, below which ONNX Runtime's CUDA
provider takes rank 4, as TensorRT does throughout 10. Gathers and arithmetic run everywhere. On one CPU core
they take 37 ms for 32 channels of 16x64x64 (the standard operator 93 ms), and 395 ms for 22 x 4 channels
(255 ms), in a network of several seconds.
"""

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from onnx import TensorProto, helper, numpy_helper

from core.errors import CorruptCheckpoint
from core.runtimes.files import FETCH_AGAIN

CUSTOM_OP = "GridSample3D"
_OLDEST = 11  # opset: Range, and Slice with inputs
_CAST_LIKE = 15  # opset since which a value can be cast to the type of another
_BILINEAR, _ZEROS = ("0", "bilinear", "linear"), ("0", "zeros")


def standard_operators(graph: bytes | memoryview, name: str) -> bytes:
    """A serialised model with every `GridSample3D` of its graph replaced; `name` of the file is for errors.

    Raises CorruptCheckpoint for bytes that are no model and for nodes that ask for more than trilinear
    sampling with zeros outside.
    """
    model = onnx.ModelProto()
    try:
        model.ParseFromString(graph)
    except DecodeError as error:
        raise CorruptCheckpoint(f"{name} is not an ONNX file.", FETCH_AGAIN) from error
    replace_grid_samples(model, CUSTOM_OP, name)
    return model.SerializeToString()


def replace_grid_samples(model: onnx.ModelProto, op_type: str, name: str) -> int:
    """Replace, in place, the nodes of `op_type` (of any domain) by a composition of standard operators.

    They take a volume (N, C, D, H, W), each of D, H, W at least 2, and a grid (N, d, h, w, 3) of x, y, z in
    -1..1, float32 or float16, and give (N, C, d, h, w) in the volume's type. Coordinates and blending are
    float32. Returns the number of nodes replaced. Raises CorruptCheckpoint naming what it cannot replace.
    """
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=0)
    nodes: list[onnx.NodeProto] = []
    count = 0
    for node in model.graph.node:
        if node.op_type != op_type:
            nodes.append(node)
            continue
        if opset < _OLDEST:
            raise CorruptCheckpoint(f"{name}: {op_type} needs opset {_OLDEST} or newer, found {opset}.")
        build = _Builder(model.graph, f"{node.output[0]}/sample")
        _sample(build, node, _aligned(node, name), opset)
        nodes.extend(build.nodes)
        count += 1
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return count


def _aligned(node: onnx.NodeProto, name: str) -> bool:
    """Whether -1 and 1 are the centres of the border voxels. Raises CorruptCheckpoint for other modes.

    Files carry the attributes as numbers (0: bilinear, zeros, false), as words, or not at all.
    """
    given = {attribute.name: _value(attribute) for attribute in node.attribute}
    allowed: Mapping[str, tuple[str, ...]] = {
        "interpolation_mode": _BILINEAR,
        "mode": _BILINEAR,
        "padding_mode": _ZEROS,
        "align_corners": ("0", "1", "false", "true"),
    }
    for key, values in allowed.items():
        if given.get(key, values[0]) not in values:
            raise CorruptCheckpoint(
                f"{name}: {node.op_type} with {key}={given[key]}; known are {', '.join(values)}.",
                "This file is none of the published ones.",
            )
    return given.get("align_corners", "0") in ("1", "true")


def _value(attribute: onnx.AttributeProto) -> str:
    value = helper.get_attribute_value(attribute)
    return (value.decode(errors="replace") if isinstance(value, bytes) else str(value)).lower()


class _Builder:
    """Adds nodes and constants under names of their own."""

    def __init__(self, graph: onnx.GraphProto, prefix: str) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self._graph, self._prefix, self._count = graph, prefix, 0

    def __call__(self, op: str, *inputs: str, output: str = "", **attributes: int | list[int]) -> str:
        output = output or self._name()
        node = helper.make_node(op, inputs, [output], name=output)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
        return output

    def constant(self, value: float | int | list[int]) -> str:
        """A float32 or int64 constant, by the Python type of `value`."""
        array = np.array(value, np.float32 if isinstance(value, float) else np.int64)
        name = self._name()
        self._graph.initializer.append(numpy_helper.from_array(array, name))
        return name

    def _name(self) -> str:
        self._count += 1
        return f"{self._prefix}/{self._count}"


def _sample(build: _Builder, node: onnx.NodeProto, aligned: bool, opset: int) -> None:
    """out[n, :, p] = sum over the 8 voxels j around p of V[n, :, j] * product over axes of hat(x - j).

    hat(t) = max(0, 1 - |t|), the trilinear weight. The lower voxel is held within 0..size-2; a point outside
    then lies farther than 1 from what is not its neighbour, so zeros outside come by themselves.
    """
    volume, grid = node.input[:2]
    const, one = build.constant, build.constant(1.0)
    shape = build("Shape", volume)
    size = build("Gather", shape, const([4, 3, 2]))  # (3,) W, H, D, as the grid's x, y, z
    extent = build("Cast", size, to=TensorProto.FLOAT)
    last = build("Sub", extent, one)
    half = const(0.5)
    scale = build("Mul", last if aligned else extent, half)
    x = build("Add", build("Mul", build("Cast", grid, to=TensorProto.FLOAT), scale), build("Mul", last, half))
    low = build("Max", build("Min", build("Floor", x), build("Sub", last, one)), const(0.0))
    beyond = build("Sub", x, low)  # (N, d, h, w, 3) voxels beyond the lower neighbour
    weights = [
        build("Relu", build("Sub", one, build("Abs", distance)))
        for distance in (beyond, build("Sub", beyond, one))
    ]

    def axis(points: str, number: int) -> str:  # (N, d, h, w, 3) -> (N, d, h, w)
        return build("Gather", points, const(number), axis=-1)

    table, index, steps = _rows(build, volume, shape, size, axis, build("Cast", low, to=TensorProto.INT64))
    total = ""
    for z, y, x_ in product((0, 1), repeat=3):
        at = index
        for there, step in zip((x_, y, z), steps, strict=True):
            at = build("Add", at, step) if there else at
        weight = axis(weights[x_], 0)
        for there, number in ((y, 1), (z, 2)):
            weight = build("Mul", weight, axis(weights[there], number))
        weight = build("Reshape", weight, const([0, 0, 0, 0, 1]))
        part = build("Mul", build("Gather", table, at), weight)  # (N, d, h, w, C)
        total = build("Add", total, part) if total else part
    if opset < _CAST_LIKE:  # float32 alone: the volume is of the type of `total` already
        build("Transpose", total, perm=[0, 4, 1, 2, 3], output=node.output[0])
    else:
        whole = build("Transpose", total, perm=[0, 4, 1, 2, 3])
        build("CastLike", whole, volume, output=node.output[0])


def _rows(
    build: _Builder, volume: str, shape: str, size: str, axis: Callable[[str, int], str], low: str
) -> tuple[str, str, tuple[str, str, str]]:
    """The volume as a table (N*D*H*W, C), the row of each lower voxel (N, d, h, w), and a step in x, y, z."""
    const = build.constant
    one = const(1)
    width, height, depth = (build("Gather", size, const(number)) for number in range(3))
    plane = build("Mul", width, height)
    batch = build("Gather", shape, const(0))
    first = build("Mul", build("Range", const(0), batch, one), build("Mul", plane, depth))
    index = build("Add", axis(low, 0), build("Reshape", first, const([-1, 1, 1, 1])))
    index = build("Add", index, build("Mul", axis(low, 1), width))
    index = build("Add", index, build("Mul", axis(low, 2), plane))
    channels = build("Gather", shape, const([1]))
    last_axis = build("Transpose", build("Cast", volume, to=TensorProto.FLOAT), perm=[0, 2, 3, 4, 1])
    table = build("Reshape", last_axis, build("Concat", const([-1]), channels, axis=0))
    return table, index, (one, width, plane)
