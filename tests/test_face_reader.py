"""From a picture to the face in it: the chain of crops, its two beginnings, and what it says on failing."""

from collections.abc import Mapping

import cv2
import numpy as np
import pytest

from core.atomic_components.crop import MESH_EYES, MESH_LIPS, face_crop
from core.atomic_components.face_reader import (
    FaceReader,
    FaceReading,
    MediapipeMesh,
    cut,
)
from core.atomic_components.first_landmarks import (
    InsightFaceLandmarks,
    Landmarks,
    MeshLandmarks,
    anchors_of,
    first_landmarks,
)
from core.aux_models.face_mesh import FaceMesh
from core.errors import NoFace
from core.networks import INSIGHTFACE_DET, LANDMARK106, NetworkSpec
from core.options import Crop
from scripts.parity.kit import draw
from tests.ditto import EYES, LIPS, Arrays, StandIn, golden
from tests.faces import CHIN, FACE_WIDTH, LEFT_EYE, RIGHT_EYE, astronaut_portrait, no_face, rolled

MATRIX = 5e-4
SIDE = 1432  # px of the kit's portrait; its content does not matter to the stand-ins
BOXES = np.array([[10, 10, 60, 60], [400, 250, 1000, 1050], [5, 5, 300, 200]], np.float32)
Place = tuple[tuple[int, ...], tuple[float, float]]


def face_points(count: int, spread: float, places: list[Place]) -> np.ndarray:
    """Points (count, 2) about the middle of a unit square, some of them placed: the kit's stand-ins."""
    points = 0.5 + spread * draw(f"shared/in/reg/{count}", (count, 2))
    for indices, place in places:
        points[list(indices)] = place
    return points.astype(np.float32)


POINTS_106 = face_points(
    106, 0.18,
    [(EYES[106][0], (0.35, 0.4)), (EYES[106][1], (0.65, 0.42)), ((52,), (0.42, 0.75)), ((61,), (0.6, 0.76))],
)  # fmt: skip
POINTS_203 = face_points(
    203, 0.15,
    [(EYES[203][0], (0.37, 0.42)), (EYES[203][1], (0.62, 0.4)), ((48,), (0.42, 0.68)), ((66,), (0.58, 0.69))],
)  # fmt: skip


def landmark203(points: np.ndarray = POINTS_203) -> StandIn:
    return StandIn(lambda arrays: {"landmarks": points.reshape(1, 406)})


class First:
    """The kit's 106 points in the largest of its boxes."""

    networks = ("first",)

    def __init__(self, points: np.ndarray = POINTS_106) -> None:
        self._points, self.calls = points, 0

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        self.calls += 1
        box = BOXES[1]
        points = self._points * (box[2:] - box[:2]) + box[:2]
        return Landmarks(points, anchors_of(points, EYES[106], LIPS[106]), ("a note",))


class Blind(First):
    """Finds no face."""

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        raise NoFace("gone")


class Mesh:
    """Sees a face in every crop but those whose numbers are given."""

    networks = ("mesh",)

    def __init__(self, *blind: int) -> None:
        self._blind, self._calls = blind, 0

    def __call__(self, crop: np.ndarray) -> np.ndarray | None:
        self._calls += 1
        return None if self._calls in self._blind else np.full((478, 3), self._calls, np.float32)


# --- the chain


def test_chain_is_the_references():
    expected = golden("steps_detection")
    first = First()
    reader = FaceReader(first, landmark203(), Mesh())
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    one = reader(rgb, Crop())
    two = reader(rgb, Crop(crop_scale=2.0, crop_vy_ratio=-0.2, crop_flag_do_rot=False), one)
    for name, reading in (("first", one), ("tracked", two)):
        assert expected.difference(f"reg.{name}.M_c2o", reading.crop_to_source) < MATRIX
        assert expected.difference(f"reg.{name}.lmk203", reading.points) < MATRIX
        assert reading.crop.shape == (512, 512, 3)
    assert first.calls == 1  # the second frame needs none
    assert one.notes == ("a note",)
    assert two.notes == ()
    assert reader.networks == ("first", "landmark203", "mesh")


@pytest.mark.parametrize("case", ["lm106_0", "lm106_1", "lm203_0", "lm203_1"])
def test_crops_pictures_are_the_references(case):
    expected = golden("steps_crop")
    how = next(one["kwargs"] for one in expected.meta["cases"] if one["key"] == case)
    points = expected.arrays[f"{case}.pts"]
    crop = face_crop(
        points, anchors_of(points, EYES[len(points)], LIPS[len(points)]), how["dsize"],
        scale=how["scale"], vy_ratio=how["vy_ratio"],
    )  # fmt: skip
    assert expected.difference(f"{case}.M_c2o", crop.crop_to_source) < MATRIX
    picture = cut(expected.arrays["img"], crop)[::8, ::8].astype(int)
    apart = np.abs(picture - expected.arrays[f"{case}.img_crop.sub"])
    assert apart.max() <= 8
    assert (apart > 0).mean() <= 0.01


def test_crop_moves_sideways_when_asked():
    reader, rgb = FaceReader(First(), landmark203(), Mesh()), np.zeros((SIDE, SIDE, 3), np.uint8)
    plain, moved = (reader(rgb, Crop(crop_vx_ratio=vx)).crop_to_source for vx in (0.0, 0.25))
    middles = [(place @ (256, 256, 1))[:2] for place in (plain, moved)]
    side = 512 * np.hypot(*plain[:2, 0])
    assert np.linalg.norm(middles[1] - middles[0]) == pytest.approx(0.25 * side, rel=1e-3)


def test_a_lost_face_is_looked_for_anew():
    first = First()
    reader, rgb = FaceReader(first, landmark203(), Mesh(2)), np.zeros((SIDE, SIDE, 3), np.uint8)
    one = reader(rgb, Crop())
    two = reader(rgb, Crop(), one)
    assert first.calls == 2
    assert two.mesh[0, 0] == 3  # the second look at the second frame
    assert np.array_equal(two.points, one.points)


@pytest.mark.parametrize("bad", [np.nan, 0.5])
def test_points_that_are_no_face_are_a_lost_face(bad):
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    good = FaceReader(First(), landmark203(), Mesh())(rgb, Crop())
    senseless = FaceReading(good.crop, good.crop_to_source, np.full((203, 2), bad, np.float32), good.mesh)
    first = First()
    again = FaceReader(first, landmark203(), Mesh())(rgb, Crop(), senseless)
    assert first.calls == 1
    assert np.array_equal(again.points, good.points)
    for reader in (
        FaceReader(First(np.full((106, 2), bad, np.float32)), landmark203(), Mesh()),
        FaceReader(First(), landmark203(np.full((203, 2), bad, np.float32)), Mesh()),
        FaceReader(First(), landmark203(), Mesh(1)),
    ):
        with pytest.raises(NoFace, match=r"could not be made out.*Use a sharper picture"):
            reader(rgb, Crop())


# --- whether the track still holds

PORTRAIT_FACE = ((256.0, 240.0), 203.0)  # px: about its middle, and the side of the box of its points


def faces_203(seen: np.ndarray) -> np.ndarray:
    """203 of the mesh's points (478, 2), eyes and mouth where the landmark network has them."""
    points = seen[np.linspace(0, 467, 203).astype(int)]
    for ours, theirs in zip((*EYES[203], LIPS[203]), (*MESH_EYES, MESH_LIPS), strict=True):
        points[list(ours)] = seen[list(theirs)]
    return points.astype(np.float32)


class CountedMesh(MeshLandmarks):
    """How often a face was looked for in a whole picture."""

    calls = 0

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        self.calls += 1
        return super().__call__(rgb)


def on_pictures(face_mesh: FaceMesh, follows: bool) -> tuple[FaceReader, CountedMesh]:
    """A reader of real pictures. A landmark network that does not follow makes out a face just found;
    else it sees one in any crop, where it should be: as a trained one may where there is none."""
    first, found = CountedMesh(face_mesh), 0
    points = faces_203(face_mesh.largest(astronaut_portrait())[0].points[:, :2])
    loose = face_crop(points, anchors_of(points, EYES[203], LIPS[203]), 224, scale=1.5, vy_ratio=-0.1)
    ideal = (points @ loose.source_to_crop[:2, :2].T + loose.source_to_crop[:2, 2]) / 224

    def landmarks(arrays: Mapping[str, np.ndarray]) -> Arrays:
        nonlocal found
        crop = (arrays["input"][0].transpose(1, 2, 0) * 255).astype(np.uint8)
        seen = MediapipeMesh(face_mesh)(crop) if follows or found < first.calls else None
        found = first.calls
        return {"landmarks": (ideal if seen is None else faces_203(seen[:, :2])).reshape(1, 406)}

    return FaceReader(first, StandIn(landmarks), MediapipeMesh(face_mesh)), first


def moved(shift: tuple[float, float] = (0, 0), zoom: float = 1.0, roll: float = 0.0) -> np.ndarray:
    """The portrait amid (1024, 1024, 3): moved by sides of the face, enlarged, rolled about it."""
    (x, y), side = PORTRAIT_FACE
    matrix = cv2.getRotationMatrix2D((x, y), -roll, zoom)
    matrix[:, 2] += 256 + side * np.array(shift)
    return cv2.warpAffine(astronaut_portrait(), matrix, (1024, 1024), borderMode=cv2.BORDER_REPLICATE)


def off(reading: FaceReading, shift: tuple[float, float] = (0, 0)) -> float:
    """How far the eyes' centre as read is from where it was marked by hand, in sides of the face."""
    marked = (np.array(RIGHT_EYE) + LEFT_EYE) / 2 + 256 + PORTRAIT_FACE[1] * np.array(shift)
    read = anchors_of(reading.points, EYES[203], LIPS[203])[0]
    return float(np.linalg.norm(read - marked) / PORTRAIT_FACE[1])


CHECKED = Crop(check_track=True)


@pytest.mark.parametrize(
    "change",
    [
        {"shift": (0.1, 0)}, {"shift": (0, 0.1)}, {"shift": (0.9, 0.3)}, {"zoom": 0.5}, {"roll": 40},
        {"shift": (0, 0.106), "zoom": 0.6},  # the mouth stays
    ],
    ids=str,
)  # fmt: skip
def test_a_track_that_lost_the_face_is_noticed_on_request(face_mesh, change):
    reader, first = on_pictures(face_mesh, follows=False)
    start = reader(moved(), CHECKED)
    as_upstream = reader(moved(**change), Crop(), start)
    assert first.calls == 1
    found = reader(moved(**change), CHECKED, start)
    assert first.calls == 2
    assert found.hidden == as_upstream.hidden == 0
    anew = reader(moved(**change), Crop())
    assert np.array_equal(found.points, anew.points)
    assert not np.allclose(as_upstream.points, anew.points, atol=5)
    if set(change) == {"shift"}:
        assert off(found, change["shift"]) < 0.04 < off(as_upstream, change["shift"])


def test_what_is_lost_does_not_depend_on_the_crop(face_mesh):
    reader, first = on_pictures(face_mesh, follows=False)
    for crop_scale in (1.2, 2.3, 5.0):
        how = Crop(crop_scale=crop_scale, check_track=True)
        start = reader(moved(), how)
        searched = first.calls
        reader(moved((0.04, 0)), how, start)
        assert first.calls == searched
        reader(moved((0.11, 0)), how, start)
        assert first.calls == searched + 1


@pytest.mark.parametrize("crop_scale", [1.2, 2.3, 4.0])
def test_a_track_that_holds_is_left_alone(face_mesh, crop_scale):
    """Through a video that swings, rolls and grows, in crops of any size."""
    reader, first = on_pictures(face_mesh, follows=True)
    plain, checked = (Crop(crop_scale=crop_scale, check_track=check) for check in (False, True))
    as_upstream = reading = reader(moved(), plain)
    for k in range(1, 10):
        swing = np.sin(k / 2)
        frame = moved((0.7 * swing, 0.3 * np.sin(k)), 1 + 0.3 * swing, 25 * np.sin(k / 3))
        as_upstream, reading = reader(frame, plain, as_upstream), reader(frame, checked, reading)
        assert np.array_equal(reading.points, as_upstream.points)
    assert first.calls == 1


def test_a_hidden_face_is_waited_for_on_request(face_mesh):
    """As long as it is hidden, what is there in its place is shown."""
    reader, _ = on_pictures(face_mesh, follows=True)
    start = reader(moved(), CHECKED)
    hidden = np.full((1024, 1024, 3), 90, np.uint8)
    with pytest.raises(NoFace, match="No face was found"):
        reader(hidden, Crop(), start)
    with pytest.raises(NoFace, match="No face was found"):
        reader(hidden, CHECKED)
    one = reader(hidden, CHECKED, start)
    two = reader(hidden, CHECKED, one)
    assert (start.hidden, one.hidden, two.hidden) == (0, 1, 2)
    for guess in (one, two):
        assert (guess.crop == 90).all()
        assert guess.crop.shape == (512, 512, 3)
        assert np.array_equal(guess.mesh, start.mesh)
    back = reader(moved((0.05, 0)), CHECKED, two)
    assert back.hidden == 0
    assert off(back, (0.05, 0)) < 0.04


def test_what_lies_in_place_of_a_hidden_face_is_cut_as_the_face_was():
    rgb = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    start = FaceReader(First(), landmark203(), Mesh())(rgb, CHECKED)

    guess = FaceReader(Blind(), landmark203(), Mesh(1))(rgb, CHECKED, start)
    assert guess.notes == ()
    assert np.abs(guess.crop.astype(int) - start.crop).mean() < 0.5
    assert np.array_equal(guess.crop_to_source, start.crop_to_source)


def test_a_face_seen_by_the_points_alone_is_followed_for_a_while():
    """The mesh disagrees and the search finds none: the track is as good a guess as any."""
    rgb = np.zeros((SIDE, SIDE, 3), np.uint8)
    start = FaceReader(First(), landmark203(), Mesh())(rgb, CHECKED)

    upstream = FaceReader(Blind(), landmark203(), Mesh())(rgb, Crop(), start)
    guess = FaceReader(Blind(), landmark203(), Mesh())(rgb, CHECKED, start)
    assert (upstream.hidden, guess.hidden) == (0, 1)
    assert np.array_equal(guess.points, upstream.points)
    assert np.array_equal(guess.mesh, upstream.mesh)


def test_a_mesh_of_a_neighbours_face_does_not_move_the_track():
    """The mesh disagrees with the face that was found anew just as much."""
    first, rgb = First(), np.zeros((SIDE, SIDE, 3), np.uint8)
    reader = FaceReader(first, landmark203(), Mesh())
    one = reader(rgb, CHECKED)
    two = reader(rgb, CHECKED, one)
    as_upstream = FaceReader(First(), landmark203(), Mesh())(rgb, Crop(), one)
    assert first.calls == 2
    assert np.array_equal(two.points, as_upstream.points)
    assert two.hidden == 0


# --- its beginnings


def seeing(*scores: float) -> StandIn:
    """A detector that sees the kit's boxes with these scores, in a square picture of SIDE px."""
    out: Arrays = {port.name: np.zeros(port.shape, np.float32) for port in INSIGHTFACE_DET.outputs}
    for row, (box, score) in enumerate(zip(BOXES, scores, strict=False)):
        out["scores1"][2 * row] = score
        local = box * 512 / SIDE / 8 * [-1, -1, 1, 1] + np.array([1, 0, -1, 0]) * row
        out["boxes1"][2 * row] = local
    return StandIn(lambda arrays: out)


def test_insightface_takes_the_largest_face_and_says_so():
    landmark106 = StandIn(lambda arrays: {"fc1": np.zeros((1, 212), np.float32)})
    seen = InsightFaceLandmarks(seeing(0.9, 0.6, 0.7), landmark106)(np.zeros((SIDE, SIDE, 3), np.uint8))
    assert np.allclose(seen.points, (700, 650), atol=0.1)  # the middle of the largest box
    assert seen.notes == ("3 faces found, the largest is used.",)


def test_insightface_without_a_face():
    landmark106 = StandIn(lambda arrays: {})
    with pytest.raises(NoFace, match=r"No face was found.*Use a portrait"):
        InsightFaceLandmarks(seeing(0.4), landmark106)(np.zeros((SIDE, SIDE, 3), np.uint8))


@pytest.fixture(scope="module")
def face_mesh():
    with FaceMesh() as mesh:
        yield mesh


def test_commercial_profile_opens_no_network(face_mesh):
    opened: list[str] = []

    def open_network(spec: NetworkSpec) -> StandIn:
        opened.append(spec.name)
        return StandIn(lambda arrays: {})

    commercial = first_landmarks("commercial", open_network, lambda: face_mesh)
    assert opened == []
    assert commercial.networks == ("mediapipe_face_mesh",)
    research = first_landmarks("research", open_network, lambda: pytest.fail("the mesh is not needed"))
    assert tuple(opened) == research.networks == (INSIGHTFACE_DET.name, LANDMARK106.name)


@pytest.mark.parametrize("degrees", [0.0, 25.0])
def test_commercial_crop_is_that_of_an_outline_marked_by_hand(face_mesh, degrees):
    brows = 176.0  # px, their highest point in the portrait
    seen = MeshLandmarks(face_mesh)(rolled(degrees))
    crop = face_crop(seen.points, seen.anchors, 224, scale=1.5, vy_ratio=-0.1)
    assert crop.side == pytest.approx(1.5 * FACE_WIDTH, rel=0.05)
    straight = MeshLandmarks(face_mesh)(astronaut_portrait())
    upright = face_crop(straight.points, straight.anchors, 224, scale=1.5, vy_ratio=-0.1)
    assert np.degrees(crop.angle - upright.angle) == pytest.approx(degrees, abs=3)
    face_middle = ((RIGHT_EYE[0] + LEFT_EYE[0]) / 2, (brows + CHIN[1]) / 2 - 0.1 * 1.5 * FACE_WIDTH)
    assert np.linalg.norm(upright.centre - face_middle) < 0.03 * upright.side


def test_commercial_profile_without_a_face(face_mesh):
    with pytest.raises(NoFace):
        MeshLandmarks(face_mesh)(no_face("blank"))


def test_mediapipe_mesh_is_in_sides_of_the_crop(face_mesh):
    mesh = MediapipeMesh(face_mesh)
    points = mesh(astronaut_portrait())
    assert points is not None
    assert points.shape == (478, 3)
    assert np.allclose(points[[468, 473], :2] * 512, (RIGHT_EYE, LEFT_EYE), atol=6)
    assert -0.3 < points[:, 2].min() < 0
    assert mesh(no_face("blank")) is None
