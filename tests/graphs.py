"""Tiny ONNX files with the inputs and outputs of a NetworkSpec."""

from pathlib import Path

from onnx import ModelProto, TensorProto, helper

from core.networks import NetworkSpec

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
