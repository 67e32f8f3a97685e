"""Faces of every size, turn, light and look; none where there is none; the same one from frame to frame."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest

from core.aux_models import face_nets
from core.aux_models.face_mesh import MAX_YAW, MIN_EYE_DISTANCE, Face, FaceMesh
from core.errors import EngineUnavailable, NoFace
from core.native import import_native
from tests import faces

EYES = np.array([faces.RIGHT_EYE, faces.LEFT_EYE])


@pytest.fixture(scope="module")
def mesh() -> Iterator[FaceMesh]:
    with FaceMesh() as one:
        yield one


@pytest.fixture(scope="module")
def plain(mesh: FaceMesh) -> Face:
    return mesh.largest(faces.astronaut_portrait())[0]


def _off(face: Face, other: Face) -> float:
    """Mean distance of the points of two faces, in eye distances."""
    apart = np.linalg.norm(face.points[:, :2] - other.points[:, :2], axis=1)
    return float(apart.mean()) / other.eye_distance


def test_points_lie_on_the_features(plain):
    for index, place in ((4, faces.NOSE), (152, faces.CHIN)):
        assert np.linalg.norm(plain.points[index, :2] - place) < 4
    assert np.linalg.norm(plain.points[[13, 14], :2].mean(0) - faces.MOUTH) < 4
    assert np.abs(plain.eyes - EYES).max() < 4
    assert plain.points.dtype == np.float32
    assert plain.points.shape == (478, 3)
    assert plain.eye_distance == pytest.approx(faces.EYE_DISTANCE, abs=3)
    assert plain.box[2] - plain.box[0] == pytest.approx(faces.FACE_WIDTH, abs=6)
    assert plain.points[4, 2] < plain.points[33, 2] < plain.points[234, 2]  # nose, eye, ear: ever deeper


@pytest.mark.parametrize(
    "make",
    [faces.grey, faces.dim, faces.dark_skin, faces.with_glasses, faces.with_beard, faces.painted],
    ids=lambda make: make.__name__,
)
def test_look_and_light_do_not_move_the_points(mesh, plain, make):
    face, notes = mesh.largest(make())
    assert _off(face, plain) < 0.06
    assert notes == ()


def test_a_face_in_near_darkness_is_found(mesh, plain):
    assert _off(mesh.largest(faces.dim(0.05))[0], plain) < 0.15


@pytest.mark.parametrize("angle", [-135, -90, -45, -30, 30, 45, 75, 120, 175])
def test_rolled_faces_give_the_same_shape(mesh, plain, angle):
    face, _ = mesh.largest(faces.rolled(angle))
    assert abs((face.roll - plain.roll - angle + 180) % 360 - 180) < 3
    assert face.eye_distance == pytest.approx(plain.eye_distance, rel=0.04)
    assert face.yaw == pytest.approx(plain.yaw, abs=6)
    assert face.pitch == pytest.approx(plain.pitch, abs=6)


@pytest.mark.parametrize("angle", [-30, -20, -10, 10, 20, 30])
def test_turns_are_measured(mesh, plain, angle):
    yaw = mesh.largest(faces.turned(angle))[0].yaw - plain.yaw
    pitch = mesh.largest(faces.turned(0, 0.7 * angle))[0].pitch - plain.pitch
    assert yaw == pytest.approx(angle, abs=2 + 0.25 * abs(angle))
    assert pitch == pytest.approx(0.7 * angle, abs=2 + 0.25 * abs(angle))


def test_straight_face_measures_as_straight(plain):
    assert abs(plain.yaw) < 3
    assert abs(plain.pitch) < 5
    assert plain.roll == pytest.approx(3, abs=1.5)  # as she holds her head


def test_mirror_image_gives_mirrored_angles_and_one_face(mesh, plain):
    found = mesh.faces(faces.mirrored())
    assert len(found) == 1  # and not another one in the cloth of the collar
    assert found[0].roll == pytest.approx(-plain.roll, abs=1)
    assert found[0].eyes[0, 0] == pytest.approx(faces.SIDE - 1 - plain.eyes[1, 0], abs=2)


@pytest.mark.parametrize(("width", "side"), [(60, 1024), (60, 1920), (120, 4000), (60, 4000)])
def test_small_faces_are_found_where_they_are(mesh, width, side):
    face, _ = mesh.largest(faces.small(width, side))
    expected = EYES * width / faces.FACE_WIDTH + [round(side * 0.62), round(side * 0.3)]
    assert np.abs(face.eyes - expected).max() < 0.05 * width


@pytest.mark.parametrize("zoom", [1.5, 2.2, 3.0])
def test_faces_that_overflow_the_picture_are_found(mesh, plain, zoom):
    face, _ = mesh.largest(faces.tight(zoom))
    assert face.eye_distance == pytest.approx(zoom * plain.eye_distance, rel=0.04)


def test_the_largest_of_two_is_used_with_a_note(mesh, plain):
    face, notes = mesh.largest(faces.two_faces())
    assert notes == ("2 faces found, the largest is used.",)
    assert _off(face, plain) < 0.02


# --- refused


@pytest.mark.parametrize("which", ["coffee", "cat", "rocket", "noise", "blank"])
def test_no_face_where_there_is_none(mesh, which):
    with pytest.raises(NoFace, match="No face was found"):
        mesh.largest(faces.no_face(which))


def test_half_a_face_is_none(mesh):
    assert mesh.faces(faces.astronaut_portrait()[:, :256]) == []


@pytest.mark.parametrize("shape", [(1, 1), (512, 2), (2, 512)])
def test_slivers_hold_no_face(mesh, shape):
    assert mesh.faces(np.zeros((*shape, 3), np.uint8)) == []


def test_too_small_a_face_is_refused_with_its_size(mesh):
    with pytest.raises(NoFace, match=r"too small: its eyes are 1\d px apart, at least 24 px"):
        mesh.largest(faces.small(30, 512))
    edge = MIN_EYE_DISTANCE / faces.EYE_DISTANCE * faces.FACE_WIDTH
    assert mesh.largest(faces.small(edge * 1.1, 512))[0].eye_distance >= MIN_EYE_DISTANCE


def test_too_far_a_turn_is_refused_with_its_degrees(mesh):
    for angle in (-55, 55):
        with pytest.raises(NoFace, match=rf"sideways: [4-6]\d degrees, at most {MAX_YAW:.0f}"):
            mesh.largest(faces.turned(angle))
    with pytest.raises(NoFace, match="up or down"):
        mesh.largest(faces.turned(0, -45))


# --- tracking


def _moved(rgb: np.ndarray, dx: float, dy: float) -> np.ndarray:
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    return cv2.warpAffine(rgb, matrix, rgb.shape[1::-1], borderMode=cv2.BORDER_REPLICATE)


@pytest.mark.parametrize("dx", [2, 30, 130])
def test_track_follows_small_and_large_moves(mesh, plain, dx):
    face = mesh.track(_moved(faces.astronaut_portrait(), dx, -dx / 3), plain)
    assert face is not None
    apart = face.points[:, :2] - plain.points[:, :2] - [dx, -dx / 3]
    assert np.linalg.norm(apart, axis=1).mean() < 0.03 * plain.eye_distance


def test_track_stays_with_its_face_though_another_is_larger(mesh):
    picture = faces.two_faces()
    smaller = mesh.faces(picture)[1]
    face = mesh.track(_moved(picture, 4, 0), smaller)
    assert face is not None
    assert abs(face.eyes[0, 0] - smaller.eyes[0, 0] - 4) < 2


def test_track_that_lost_its_place_takes_the_nearest_face(mesh, plain):
    smaller = mesh.faces(faces.two_faces())[1]
    away = Face(smaller.points + np.array([0, -250, 0], np.float32))
    face = mesh.track(faces.two_faces(), away)
    assert face is not None
    assert _off(face, smaller) < 0.05


def test_track_says_when_the_face_is_gone(mesh, plain):
    assert mesh.track(faces.no_face("cat"), plain) is None


# --- its life


def test_same_picture_same_points(mesh, plain):
    assert np.array_equal(mesh.largest(faces.astronaut_portrait())[0].points, plain.points)


def test_threads_take_turns(mesh, plain):
    mirrored = mesh.faces(faces.mirrored())[0]
    pictures = [faces.astronaut_portrait(), faces.mirrored()] * 6
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda picture: mesh.faces(picture)[0].points, pictures))
    for points, expected in zip(found, [plain, mirrored] * 6, strict=True):
        assert np.array_equal(points, expected.points)


def test_closing_ends_its_threads_and_may_be_repeated():
    before = len(os.listdir("/proc/self/task"))
    one = FaceMesh()
    one.close()
    one.close()
    assert len(os.listdir("/proc/self/task")) <= before


def test_start_is_quiet_and_loads_little():
    code = (
        "import sys; from core.aux_models.face_mesh import FaceMesh\n"
        "assert not any(name.startswith('mediapipe') for name in sys.modules)\n"
        "FaceMesh().close()\n"
        "print([name for name in ('matplotlib', 'jax', 'sounddevice', 'mediapipe') if name in sys.modules])\n"
        "import mediapipe; print(mediapipe.solutions.face_mesh.FaceMesh.__name__)"
    )
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "FaceMesh"]
    assert done.stderr == ""


def test_start_passes_on_what_is_not_chatter(capfd):
    with face_nets._quiet():
        os.write(2, b"INFO: Created TensorFlow Lite XNNPACK delegate for CPU.\nreal trouble\n")
    assert capfd.readouterr().err == "real trouble\n"


def test_missing_packages_and_libraries_are_named_with_the_remedy(monkeypatch):
    with pytest.raises(EngineUnavailable, match=r"no_such_package is not installed.*pip install"):
        import_native("no_such_package")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(EngineUnavailable, match="mediapipe is not installed"):
        FaceMesh()

    def broken(name: str) -> None:
        raise ImportError("libGL.so.1: cannot open shared object file: No such file or directory")

    monkeypatch.setattr(importlib, "import_module", broken)
    with pytest.raises(EngineUnavailable, match=r"libGL.so.1.*apt-get install libgl1 libglib2.0-0"):
        import_native("cv2")
