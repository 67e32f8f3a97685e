"""The chain of crops through ONNX Runtime, from files with the inputs and outputs of the published ones."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, save

from core.atomic_components.crop import face_crop
from core.atomic_components.face_reader import FaceReader, NetworkMesh
from core.atomic_components.first_landmarks import anchors_of, first_landmarks
from core.aux_models.face_mesh import FaceMesh
from core.networks import BLAZE_FACE, FACE_MESH, INSIGHTFACE_DET, LANDMARK106, LANDMARK203, NetworkSpec
from core.options import Crop
from core.runtimes.onnx_runtime import OnnxNetwork
from tests.ditto import EYES, LIPS, Arrays
from tests.faces import LEFT_EYE, RIGHT_EYE, astronaut_portrait


@pytest.fixture(scope="module")
def face_mesh() -> Iterator[FaceMesh]:
    with FaceMesh() as mesh:
        yield mesh


def constant_graph(folder: Path, spec: NetworkSpec, outputs: Mapping[str, np.ndarray]) -> OnnxNetwork:
    """A network whose file says the same of every picture, with the inputs and outputs of the spec."""
    ports = [
        [helper.make_tensor_value_info(port.name, TensorProto.FLOAT, port.shape) for port in side]
        for side in (spec.inputs, spec.outputs)
    ]
    picture = spec.inputs[0].name
    nodes = [
        helper.make_node("ReduceMin", [picture], ["darkest"], keepdims=0),
        helper.make_node("Mul", ["darkest", "none"], ["nothing"]),
    ]
    values = {"none": np.zeros((), np.float32)}
    for port in spec.outputs:
        values[f"{port.name}_value"] = outputs.get(port.name, np.zeros(port.shape)).astype(np.float32)
        nodes.append(helper.make_node("Add", [f"{port.name}_value", "nothing"], [port.name]))
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, spec.name, *ports, constants)
    path = folder / f"{spec.name}.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return OnnxNetwork(spec, path)


def test_chain_through_onnx_runtime(tmp_path, face_mesh):
    """Graphs that know where the astronaut's face is; the crop and the eyes must then be where they are."""
    rgb = astronaut_portrait()
    known = face_mesh.largest(rgb)[0]
    networks = {
        spec.name: constant_graph(tmp_path, spec, outputs) for spec, outputs in astronaut_says(known.points)
    }
    first = first_landmarks("research", lambda spec: networks[spec.name], lambda: face_mesh)
    mesh = NetworkMesh(networks[BLAZE_FACE.name], networks[FACE_MESH.name])
    reader = FaceReader(first, networks[LANDMARK203.name], mesh)
    reading = reader(rgb, Crop())
    eyes_in_crop = reading.mesh[[468, 473], :2] * 512
    eyes = np.column_stack([eyes_in_crop, [1, 1]]) @ reading.crop_to_source[:2].T
    assert np.allclose(eyes, (RIGHT_EYE, LEFT_EYE), atol=8)
    assert np.allclose(reading.points[[48, 66]], known.points[[61, 291], :2], atol=0.1)  # the mouth's corners
    assert reader.networks == tuple(networks)
    for network in networks.values():
        network.close()


def astronaut_says(mesh: np.ndarray) -> list[tuple[NetworkSpec, Arrays]]:
    """What each network has to say for the face at mesh points (478, 3) of a picture of 512 px."""
    flat = mesh[:, :2]
    low, high = flat.min(0), flat.max(0)
    scores, boxes = np.zeros((8192, 1)), np.zeros((8192, 4))
    cell = (low + high) / 2 // 8
    row = int(2 * (cell[1] * 64 + cell[0]))
    scores[row], boxes[row] = 0.9, np.concatenate([cell * 8 - low, high - cell * 8]) / 8

    half = 0.75 * (high - low).max()  # of the square that the 106 points are told in
    points106 = _like(106, flat, EYES[106], LIPS[106])
    fc1 = (points106 - (low + high) / 2) / half

    points203 = _like(203, flat, EYES[203], LIPS[203])
    loose = face_crop(points106, anchors_of(points106, EYES[106], LIPS[106]), 224, scale=1.5, vy_ratio=-0.1)
    landmarks = (points203 @ loose.source_to_crop[:2, :2].T + loose.source_to_crop[:2, 2]) / 224

    close = face_crop(points203, anchors_of(points203, EYES[203], LIPS[203]), 512)
    local = (flat @ close.source_to_crop[:2, :2].T + close.source_to_crop[:2, 2]) / 512
    low, high = local.min(0), local.max(0)
    regressors, logits = np.zeros((896, 16)), np.full((896, 1), -9.0)
    regressors[0, :2], regressors[0, 2:4] = ((low + high) / 2 - 1 / 32) * 128, (high - low) * 128
    regressors[0, 6] = 1  # the left eye lies level with the right one
    logits[0] = 9
    side = 1.5 * (high - low).max()
    points = np.column_stack([(local - (low + high) / 2) / side + 0.5, mesh[:, 2] * 0]) * 256
    return [
        (INSIGHTFACE_DET, {"scores1": scores, "boxes1": boxes}),
        (LANDMARK106, {"fc1": fc1.reshape(1, 212)}),
        (LANDMARK203, {"landmarks": landmarks.reshape(1, 406)}),
        (BLAZE_FACE, {"regressors": regressors[None], "classificators": logits[None]}),
        (FACE_MESH, {"Identity": points.reshape(1, 1, 1, 1434)}),
    ]


def _like(
    count: int, mesh: np.ndarray, eyes: tuple[tuple[int, ...], ...], lips: tuple[int, int]
) -> np.ndarray:
    """Points (count, 2) of the mesh's outline, with eyes and mouth where the indices want them."""
    points = np.resize(mesh, (count, 2))
    for indices, corners in zip(eyes, ((33, 159, 133, 145), (263, 386, 362, 374)), strict=True):
        points[list(indices)] = mesh[list(corners)]
    points[list(lips)] = mesh[[61, 291]]
    return points.astype(np.float32)
