"""Detectors, landmarks, mesh, speech encoder around stand-in networks, against the parity kit's numbers."""

from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
import pytest

from core.atomic_components.face_reader import network_image
from core.aux_models.blaze_face import BlazeFace, anchors
from core.aux_models.hubert import ChunkSize, Hubert
from core.aux_models.insightface_detector import FaceDetector, largest, letterbox
from core.aux_models.landmark106 import Landmark106
from core.aux_models.landmark203 import Landmark203
from core.aux_models.landmark478 import Landmark478, region
from core.errors import BadOption, CorruptCheckpoint
from scripts.parity.kit import draw, stub_hubert
from tests.ditto import StandIn, blocks, detector_outputs, golden

STEP = 1e-5
DETECTION = golden("steps_detection")


def fed(network: StandIn, port: str) -> np.ndarray:
    """What the network was last called with."""
    return network.calls[-1][port]


def constant(**outputs: np.ndarray) -> StandIn:
    return StandIn(lambda arrays: {name: array.copy() for name, array in outputs.items()})


# --- InsightFace


@pytest.mark.parametrize("case", range(3))
def test_detector(case):
    height, width = DETECTION.meta["cases"][f"det{case}"]["image"]
    network = StandIn(lambda arrays: detector_outputs(f"shared/in/det/{case}"))
    found = FaceDetector(network)(blocks(f"shared/in/det/img{case}", height, width))
    assert DETECTION.difference(f"det{case}.det", found.boxes) < STEP
    assert DETECTION.difference(f"det{case}.kps", found.points) < STEP
    assert DETECTION.difference(f"det{case}.chosen_box", largest(found.boxes)) < STEP
    sub, blob = DETECTION.arrays[f"det{case}.blob.sub"], fed(network, "image")
    apart = np.abs(blob[:, :, ::16, ::16] - sub) * 128
    assert apart.max() <= 1.001  # one grey level, where versions of OpenCV round otherwise
    assert (apart > 0.01).mean() < 0.01


def test_detector_that_sees_nothing():
    zeros = {name: 0 * array for name, array in detector_outputs("nothing").items()}
    found = FaceDetector(constant(**zeros))(np.zeros((50, 80, 3), np.uint8))
    assert found.boxes.shape == (0, 5)
    assert found.points.shape == (0, 5, 2)


def test_equal_boxes_become_one_and_far_ones_stay():
    out = {name: 0 * array for name, array in detector_outputs("nothing").items()}
    out["scores2"][[100, 101, 700], 0] = (0.6, 0.9, 0.7)  # two anchors of one cell, and a far cell
    out["boxes2"][:] = 3
    found = FaceDetector(constant(**out))(np.zeros((512, 512, 3), np.uint8))
    assert found.boxes[:, 4].tolist() == pytest.approx([0.9, 0.7])
    assert found.boxes[0, :4].tolist() == [50 % 32 * 16 - 48, 16 - 48, 50 % 32 * 16 + 48, 16 + 48]


@pytest.mark.parametrize(("size", "seen"), [((2000, 1), (512, 1)), ((1, 2000), (1, 512))])
def test_a_strip_of_a_picture_has_a_letterbox(size, seen):
    blob, zoom = letterbox(np.full((*size, 3), 255, np.uint8))
    lit = blob[0, 0] > 0
    assert (lit.any(1).sum(), lit.any(0).sum()) == seen
    assert zoom == seen[0] / size[0]


def test_the_letterbox_truncates():
    blob, zoom = letterbox(np.full((300, 199, 3), 255, np.uint8))
    assert (blob[0, 0, 0] > 0).sum() == 339  # of 339.6
    assert zoom == 512 / 300


@pytest.mark.parametrize(("apart", "count"), [(2, 1), (3, 2)])
def test_sides_count_their_pixels(apart, count):
    """Boxes from 0 to 4, one moved by 2: three of seven columns are shared, by bare lengths two of six."""
    out = {name: 0 * array for name, array in detector_outputs("nothing").items()}
    out["scores1"][[0, 1], 0] = (0.9, 0.8)
    out["boxes1"][0] = np.array([0, 0, 4, 4]) / 8
    out["boxes1"][1] = np.array([-apart, 0, 4 + apart, 4]) / 8
    found = FaceDetector(constant(**out))(np.zeros((512, 512, 3), np.uint8))
    assert len(found.boxes) == count


@pytest.mark.parametrize("case", range(2))
def test_landmark106(case):
    height, width = DETECTION.meta["cases"][f"l106_{case}"]["image"]
    name = f"l106_{case}"
    network = constant(fc1=DETECTION.arrays[f"{name}.pred"])
    points = Landmark106(network)(
        blocks(f"shared/in/l106/img{case}", height, width), DETECTION.arrays[f"{name}.bbox"]
    )
    assert points.dtype == np.float32
    assert DETECTION.difference(f"{name}.out", points) < STEP
    assert DETECTION.difference(f"{name}.blob", fed(network, "data")) < STEP


# --- 203 and 478 points


def test_landmark203():
    network = constant(landmarks=DETECTION.arrays["l203.pred"])
    points = Landmark203(network)(blocks("shared/in/l203/img", 224, 224), DETECTION.arrays["l203.M_c2o"])
    assert points.dtype == np.float32
    assert DETECTION.difference("l203.out", points) < STEP
    assert DETECTION.difference("l203.inp", fed(network, "input")) < STEP


def blaze_face() -> StandIn:
    return constant(**{name: DETECTION.arrays[f"blaze.{name}"] for name in ("regressors", "classificators")})


def test_blaze_face():
    network = blaze_face()
    faces = BlazeFace(network)(blocks("shared/in/blaze/img", 512, 512))
    assert faces.dtype == np.float32
    assert np.abs(anchors() - DETECTION.arrays["blaze.anchors"][:, :2]).max() < 1e-7
    assert DETECTION.difference("blaze.out", faces) < STEP
    assert DETECTION.difference("blaze.input", fed(network, "input")) < STEP


def test_blaze_face_far_from_certain():
    none = np.full((1, 896, 1), -1e9, np.float32)  # would overflow the exponential
    raw = np.zeros((1, 896, 16), np.float32)
    assert BlazeFace(constant(regressors=raw, classificators=none))(np.zeros((9, 9, 3), np.uint8)).shape == (
        0,
        17,
    )
    none[0, [3, 700]] = 1e9  # and boxes without area, which overlap nothing
    assert len(BlazeFace(constant(regressors=raw, classificators=none))(np.zeros((9, 9, 3), np.uint8))) == 2


def test_mesh():
    mesh = constant(Identity=DETECTION.arrays["mesh.points"])
    picture = blocks("shared/in/blaze/img", 512, 512)
    points = Landmark478(blaze_face(), mesh)(picture)
    face = BlazeFace(blaze_face())(picture)[0]
    assert points is not None
    assert points.dtype == np.float32
    assert DETECTION.difference("mesh.roi", region(face, (512, 512))) < STEP
    assert DETECTION.difference("mesh.lmk478", points[None]) < STEP
    assert DETECTION.difference("mesh.input", fed(mesh, "input")) < STEP


def test_mesh_of_nothing():
    nothing = constant(
        regressors=np.zeros((1, 896, 16), np.float32), classificators=np.full((1, 896, 1), -9, np.float32)
    )
    mesh = constant()
    assert Landmark478(nothing, mesh)(np.zeros((64, 64, 3), np.uint8)) is None
    assert not mesh.calls


def test_the_extractors_input():
    assert DETECTION.difference("to256.out", network_image(blocks("shared/in/crop512", 512, 512))) < STEP


# --- HuBERT

FEATURES = golden("steps_wav2feat")


def hubert(change: Callable[[np.ndarray], np.ndarray] = lambda rows: rows) -> Hubert:
    """The kit's stand-in, whose rows may be changed."""

    def run(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {"encoding_out": change(stub_hubert(arrays["input_values"][0]))}

    return Hubert(StandIn(run))


@pytest.mark.parametrize("name", ["c3_5_2", "c2_5_1", "c5_5_3", "c0_10_2"])
def test_a_window_describes_its_middle(name):
    size = ChunkSize(*(int(part) for part in name[1:].split("_")))
    sound = 0.3 * draw(f"shared/in/wavchunk/{name[1:].replace('_', '')}", (size.samples,))
    rows = hubert()(sound, size)
    assert rows.dtype == np.float32
    assert rows.shape == (size.present, 1024)
    assert FEATURES.difference(f"chunk_{name}", rows[:, FEATURES.arrays["dims"]]) < STEP


def test_a_window_without_future_describes_its_end():
    size = ChunkSize(3, 5, 0)
    rows = stub_hubert(sound := draw("no future", (size.samples,)))
    assert np.allclose(hubert()(sound, size)[-1], rows[-2:].mean(0))


@pytest.mark.parametrize("size", [(-1, 5, 2), (3, 0, 2), (3, 5, -1), (3, 5, 0), (1, 1, 1), (10, 10, 10)])
def test_sizes_that_make_no_window_are_refused(size):
    with pytest.raises(BadOption, match="chunksize"):
        ChunkSize(*size).checked()


@pytest.mark.parametrize("change", [lambda rows: rows[:13], lambda rows: rows[:, :768]])
def test_an_encoder_of_another_kind_is_refused(change):
    with pytest.raises(CorruptCheckpoint, match="hubert gave"):
        hubert(change)(np.zeros(6480, np.float32), ChunkSize())


def test_all_sizes_of_the_published_engine_are_taken():
    for past, present, future in product((0, 3), (5, 15), (1, 2)):
        assert ChunkSize(past, present, future).checked().samples == (past + present + future) * 640 + 80
