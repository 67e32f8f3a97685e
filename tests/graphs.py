"""Tiny ONNX files with the inputs and outputs of a NetworkSpec."""

from pathlib import Path

import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

from core.networks import HUBERT, NetworkSpec

KINDS = {"float32": TensorProto.FLOAT, "float16": TensorProto.FLOAT16, "int64": TensorProto.INT64}


def tiny_model(spec: NetworkSpec, half: bool = False) -> ModelProto:
    """Output number i is the mean of the first input plus i everywhere; letters of shapes stay open."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    first = spec.inputs[0].name
    nodes = [helper.make_node("ReduceMean", [first], ["mean"], keepdims=0)]
    for number, port in enumerate(spec.outputs):
        fixed = [size if isinstance(size, int) else 1 for size in port.shape]
        shape, step, name = f"shape{number}", f"step{number}", f"plus{number}"
        nodes += [
            helper.make_node("Constant", [], [shape], value_ints=fixed),
            helper.make_node("Constant", [], [step], value=helper.make_tensor(step, kind, [], [number])),
            helper.make_node("Add", ["mean", step], [name]),
            helper.make_node("Expand", [name, shape], [port.name]),
        ]
    inputs = [
        helper.make_tensor_value_info(
            port.name, kind if port.dtype == "float32" else KINDS[port.dtype], port.shape
        )
        for port in spec.inputs
    ]
    outputs = [helper.make_tensor_value_info(port.name, kind, port.shape) for port in spec.outputs]
    graph = helper.make_graph(nodes, spec.name, inputs, outputs)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def write_tiny(spec: NetworkSpec, path: Path, half: bool = False) -> Path:
    path.write_bytes(tiny_model(spec, half).SerializeToString())
    return path


def framed_hubert() -> ModelProto:
    """A stand-in for the speech encoder: as many rows as the published one gives, each from its own sound."""
    values = {
        "kernels": np.random.default_rng(0).normal(0, 0.05, (1024, 1, 400)).astype(np.float32),
        "one": np.array([1]),
        "zero": np.array([0]),
    }
    nodes = [
        helper.make_node("Unsqueeze", [HUBERT.inputs[0].name, "one"], ["sound"]),
        helper.make_node("Conv", ["sound", "kernels"], ["columns"], strides=[320]),
        helper.make_node("Transpose", ["columns"], ["rows"], perm=[0, 2, 1]),
        helper.make_node("Squeeze", ["rows", "zero"], [HUBERT.outputs[0].name]),
    ]
    sides = [
        [helper.make_tensor_value_info(port.name, TensorProto.FLOAT, port.shape) for port in side]
        for side in (HUBERT.inputs, HUBERT.outputs)
    ]
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, HUBERT.name, *sides, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
