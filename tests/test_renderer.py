"""What the lite engine's renderer draws, read back from its frames by the landmark model."""

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
import pytest

from core.aux_models.face_mesh import Face, FaceMesh
from core.engines.lite.channels import Channel, rest
from core.engines.lite.renderer import Canvas, LiteRenderer
from core.engines.lite.rig import CROP, build_rig
from tests import faces

SAME = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
PAIRS = ((13, 14), (82, 87), (312, 317))
UPPER_LID, LOWER_LID = {"L": (159, 158), "R": (386, 385)}, {"L": (145, 153), "R": (374, 380)}


@dataclass(frozen=True)
class Portrait:
    rgb: np.ndarray
    face: Face
    rig: dict[str, np.ndarray]

    def renderer(self, canvas: Canvas | None = None) -> LiteRenderer:
        return LiteRenderer(self.rgb, self.rig, canvas or Canvas(SAME, self.rgb.shape[1::-1]))


@pytest.fixture(scope="module")
def mesh() -> Iterator[FaceMesh]:
    with FaceMesh() as one:
        yield one


def portrait_of(mesh: FaceMesh, rgb: np.ndarray) -> Portrait:
    face = mesh.largest(rgb)[0]
    return Portrait(rgb, face, build_rig(rgb, face.points, crop_of(face)))


def crop_of(face: Face) -> np.ndarray:
    x0, y0, x1, y1 = face.box
    side = 2.3 * max(x1 - x0, y1 - y0)
    zoom = side / CROP
    return np.array([[zoom, 0, (x0 + x1 - side) / 2], [0, zoom, (y0 + y1 - side) / 2]], np.float32)


@pytest.fixture(scope="module")
def smiling(mesh: FaceMesh) -> Portrait:
    return portrait_of(mesh, faces.astronaut_portrait())


@pytest.fixture(scope="module")
def closed(mesh: FaceMesh, smiling: Portrait) -> Portrait:
    """The same person with closed lips: itself a frame, used as a portrait."""
    return portrait_of(mesh, smiling.renderer().render(row(TALK=1, ROUND=0.4)))


def row(**channels: float) -> np.ndarray:
    made = rest(1)[0]
    for name, value in channels.items():
        made[Channel[name]] = value
    return made


def gap(face: Face) -> float:
    apart = [np.linalg.norm(face.points[a, :2] - face.points[b, :2]) for a, b in PAIRS]
    return float(np.mean(apart)) / face.eye_distance


def seen(mesh: FaceMesh, source: Portrait, **channels: float) -> Face:
    """The face in a frame; the renderer is as large as the portrait, so pixels compare."""
    found = mesh.track(source.renderer().render(row(**channels)), source.face)
    assert found is not None
    return found


def moved(mesh: FaceMesh, source: Portrait, points: list[int], **channels: float) -> np.ndarray:
    """Mean way (x, y) of mesh points from rest to a row, in eye distances."""
    before, after = seen(mesh, source), seen(mesh, source, **channels)
    way = (after.points[points, :2] - before.points[points, :2]).mean(0)
    return way / before.eye_distance


def lid_opening(face: Face, side: str) -> float:
    upper, lower = face.points[list(UPPER_LID[side]), 1], face.points[list(LOWER_LID[side]), 1]
    return float((lower - upper).mean()) / face.eye_distance


# --- rest


@pytest.mark.parametrize("render_size", [0, 96])
def test_a_face_at_rest_is_the_source_itself(smiling, render_size):
    still = smiling.renderer(Canvas(SAME, (512, 512), render_size)).render(rest(1)[0])
    assert np.array_equal(still, smiling.rgb)


def test_a_face_at_rest_is_plainly_resized(smiling):
    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25]], np.float32)
    still = smiling.renderer(Canvas(half, (256, 256))).render(rest(1)[0])
    assert cv2.PSNR(still, cv2.resize(smiling.rgb, (256, 256), interpolation=cv2.INTER_AREA)) > 45
    cut = np.array([[0.5, 0, -40.25], [0, 0.5, -30.25]], np.float32)
    part = smiling.renderer(Canvas(cut, (180, 160))).render(rest(1)[0])
    assert cv2.PSNR(part, np.ascontiguousarray(still[30:190, 40:220])) > 38


@pytest.mark.parametrize(("render_size", "least"), [(0, 50.0), (320, 36.0)])
def test_the_first_motion_does_not_pop(smiling, render_size, least):
    renderer = smiling.renderer(Canvas(SAME, (512, 512), render_size))
    still = renderer.render(rest(1)[0])
    for channels in ({"YAW": 0.02}, {"TALK": 0.02}, {"LID_L": 0.02}, {"BROW_IN": 0.01}, {"SHIFT_Y": 5e-4}):
        assert cv2.PSNR(still, renderer.render(row(**channels))) > least, channels


def test_frames_are_fresh_and_repeatable_and_leave_the_rig_alone(smiling):
    rig = {name: value.copy() for name, value in smiling.rig.items()}
    for value in rig.values():
        value.flags.writeable = False  # as when mapped from a file
    busy = row(TALK=1, OPEN=0.6, LID_L=0.7, LID_R=1, YAW=4, GAZE_X=8, SMILE_L=0.5)
    renderer = LiteRenderer(smiling.rgb, rig, Canvas(SAME, (512, 512)))
    first = renderer.render(busy)
    kept = first.copy()
    first[:] = 0
    renderer.render(row(PITCH=8))
    assert np.array_equal(renderer.render(busy), kept)
    assert np.array_equal(smiling.renderer().render(busy), kept)
    assert kept.dtype == np.uint8
    assert kept.flags.c_contiguous


def test_a_rig_is_small(smiling):
    assert sum(value.nbytes for value in smiling.rig.values()) < 400_000


# --- the mouth


@pytest.mark.parametrize("which", ["smiling", "closed"])
def test_opening_is_absolute_and_linear(mesh, request, which):
    source = request.getfixturevalue(which)
    opened = np.array([0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    # some turn of the head each, or one reading of the mesh decides
    turns = ({}, {"YAW": 1.0}, {"YAW": -1.0, "PITCH": 0.5}, {"PITCH": -1.0})
    gaps = np.array(
        [np.mean([gap(seen(mesh, source, TALK=1, OPEN=o, **turn)) for turn in turns]) for o in opened]
    )
    assert gaps[0] <= 0.02
    assert 0.17 <= gaps[4] <= 0.24
    assert np.corrcoef(opened, gaps)[0, 1] ** 2 > 0.975
    assert np.diff(gaps).min() > 0.01


@pytest.mark.parametrize("channels", [{}, {"PRESS": 1}, {"ROUND": 1}, {"SPREAD": 1}, {"SNEER": 0.9}])
def test_lips_close_over_bared_teeth(mesh, smiling, channels):
    assert gap(smiling.face) > 0.12
    assert gap(seen(mesh, smiling, TALK=1, **channels)) <= 0.02
    between = np.zeros(smiling.rgb.shape[:2], np.uint8)  # where the source shows its teeth
    ring = [78, 81, 13, 311, 308, 402, 14, 178]
    cv2.fillPoly(between, [smiling.face.points[ring, :2].astype(np.int32)], 1)

    def teeth(rgb: np.ndarray) -> int:
        """Pixels there that are bright and pale."""
        red, green, _ = rgb[between > 0].astype(float).T
        return int(((green > 175) & (green > 0.87 * red)).sum())

    assert teeth(smiling.rgb) > 300
    assert teeth(smiling.renderer().render(row(TALK=1, **channels))) < 0.3 * teeth(smiling.rgb)


def test_talk_leads_from_the_source_s_mouth_to_the_absolute_one(mesh, smiling):
    gaps = [gap(seen(mesh, smiling, TALK=talk)) for talk in (0.0, 0.35, 1.0)]
    assert gaps[0] == pytest.approx(gap(smiling.face), abs=0.02)
    assert gaps[0] > gaps[1] + 0.02 > gaps[2] + 0.04
    still = smiling.renderer().render(row(OPEN=1, ROUND=1, PRESS=1, TUCK=1, YAW=0.001))
    assert cv2.PSNR(still, smiling.rgb) > 45  # without TALK speech leaves the mouth alone


@pytest.mark.parametrize("which", ["smiling", "closed"])
def test_rounded_lips_draw_together_and_spread_ones_apart(mesh, request, which):
    source = request.getfixturevalue(which)

    def width(**channels: float) -> float:
        points = seen(mesh, source, TALK=1, OPEN=0.3, **channels).points
        return float(np.linalg.norm(points[61, :2] - points[291, :2])) / source.face.eye_distance

    assert width(ROUND=1) < min(0.82 * width(), 0.75)
    assert width(SPREAD=1) > 1.02 * width()


def test_a_tucked_lip_shows_the_edge_of_the_teeth_only(mesh, closed):
    assert 0.005 < gap(seen(mesh, closed, TALK=1, TUCK=1, OPEN=0.1)) < 0.08


def test_the_jaw_goes_down_and_the_nose_stays(mesh, closed):
    assert moved(mesh, closed, [152, 148, 377], TALK=1, OPEN=1)[1] > 0.09
    assert np.abs(moved(mesh, closed, [4, 6, 168], TALK=1, OPEN=1)).max() < 0.02


def test_a_grey_picture_stays_grey(mesh):
    source = portrait_of(mesh, faces.grey())
    frame = source.renderer().render(row(TALK=1, OPEN=1, LID_L=1, LID_R=1, YAW=4)).astype(int)
    assert np.ptp(frame, axis=-1).max() <= 12


# --- the rest of the face


@pytest.mark.parametrize(("side", "corner", "other"), [("L", 61, 291), ("R", 291, 61)])
def test_each_corner_smiles_for_itself(mesh, closed, side, corner, other):
    assert moved(mesh, closed, [corner], **{f"SMILE_{side}": 1})[1] < -0.025
    assert moved(mesh, closed, [corner], **{f"SMILE_{side}": -1})[1] > 0.015
    assert abs(moved(mesh, closed, [other], **{f"SMILE_{side}": 1})[1]) < 0.015


def test_brows_rise_and_fall(mesh, smiling):
    for name, points in (("BROW_IN", [55, 107, 285, 336]), ("BROW_OUT", [53, 63, 283, 293])):
        assert moved(mesh, smiling, points, **{name: 1})[1] < -0.04
        assert moved(mesh, smiling, points, **{name: -1})[1] > 0.02


def test_a_sneer_lifts_lip_and_nose(mesh, closed):
    assert moved(mesh, closed, [37, 267, 0], SNEER=1)[1] < -0.02
    assert moved(mesh, closed, [64, 294], SNEER=1)[1] < -0.01


@pytest.mark.parametrize(("side", "other"), [("L", "R"), ("R", "L")])
def test_each_lid_closes_and_widens(mesh, smiling, side, other):
    open_ = lid_opening(smiling.face, side)
    shut = seen(mesh, smiling, **{f"LID_{side}": 1})
    assert lid_opening(shut, side) < 0.45 * open_
    assert lid_opening(shut, other) > 0.8 * lid_opening(smiling.face, other)
    assert lid_opening(seen(mesh, smiling, **{f"LID_{side}": -0.3}), side) > 1.03 * open_


def test_no_iris_shows_through_closed_lids(smiling):
    frame = smiling.renderer().render(row(LID_L=1, LID_R=1))
    for x, y in smiling.face.points[[468, 473], :2].astype(int):
        before, after = (
            picture[y - 6 : y + 4, x - 8 : x + 9].astype(float) for picture in (smiling.rgb, frame)
        )
        assert after.min() > before.min() + 25


def test_eyes_turn_where_they_are_told(mesh, smiling):
    for axis, name in enumerate(("GAZE_X", "GAZE_Y")):
        for degrees in (-12, 12):
            way = moved(mesh, smiling, [468, 473], **{name: degrees})[axis]
            assert np.sign(way) == np.sign(degrees)
            assert 0.01 < abs(way) < 0.06


# --- the head


@pytest.mark.parametrize(("name", "angle"), [("YAW", "yaw"), ("PITCH", "pitch"), ("ROLL", "roll")])
@pytest.mark.parametrize("degrees", [-8, 8])
def test_the_head_turns_about_each_axis(mesh, smiling, name, angle, degrees):
    turn = getattr(seen(mesh, smiling, **{name: degrees}), angle) - getattr(smiling.face, angle)
    assert np.sign(turn) == np.sign(degrees)
    assert 0.4 * abs(degrees) < abs(turn) < 1.6 * abs(degrees)


def test_the_head_moves_aside_and_down(mesh, smiling):
    assert moved(mesh, smiling, [4, 33, 263, 152], SHIFT_X=0.1)[0] == pytest.approx(0.1, abs=0.03)
    assert moved(mesh, smiling, [4, 33, 263, 152], SHIFT_Y=0.1)[1] == pytest.approx(0.1, abs=0.03)


def test_what_is_far_from_the_head_does_not_move(smiling):
    frame = smiling.renderer().render(row(YAW=8, PITCH=5, ROLL=6, SHIFT_X=0.1))
    for corner in (np.s_[:60, :60], np.s_[:60, -60:], np.s_[-60:, :60], np.s_[-60:, -60:]):
        assert np.array_equal(frame[corner], smiling.rgb[corner])


def test_the_picture_s_border_stays_when_it_cuts_the_head(mesh):
    source = portrait_of(mesh, faces.tight(1.9))
    frame = source.renderer().render(row(YAW=9, PITCH=9, ROLL=9, SHIFT_X=0.15, SHIFT_Y=0.15))
    rim = np.r_[0, -1]
    assert np.abs(frame[rim].astype(int) - source.rgb[rim]).mean() < 4
    assert np.abs(frame[:, rim].astype(int) - source.rgb[:, rim]).mean() < 4


# --- other portraits


@pytest.mark.parametrize(
    "make",
    [lambda: faces.rolled(30), lambda: faces.turned(25), lambda: faces.turned(-18, 12),
     lambda: faces.small(100, 640), faces.dark_skin, faces.with_glasses, faces.with_beard, faces.painted],
    ids=["rolled", "turned", "turned both ways", "small", "dark", "glasses", "beard", "painted"],
)  # fmt: skip
def test_every_portrait_opens_and_closes_its_mouth(mesh, make):
    source = portrait_of(mesh, make())
    assert gap(seen(mesh, source, TALK=1, OPEN=0.8)) > 0.13
    assert gap(seen(mesh, source, TALK=1)) <= 0.035


def test_a_canvas_that_misses_the_face_still_gets_its_pixels(smiling):
    for place, size in (([[1, 0, -440], [0, 1, -440]], (72, 72)), ([[1, 0, 0], [0, 1, 0]], (40, 30))):
        renderer = smiling.renderer(Canvas(np.array(place, np.float32), size))
        frame = renderer.render(row(TALK=1, OPEN=1, LID_L=1, LID_R=1, YAW=5))
        assert frame.shape == (size[1], size[0], 3)


def test_render_size_is_the_sharpness_of_the_face(smiling):
    busy = row(TALK=1, OPEN=0.5, YAW=2)

    def detail(render_size: int) -> float:
        frame = smiling.renderer(Canvas(SAME, (512, 512), render_size)).render(busy)
        x, y = smiling.face.points[4, :2].astype(int)
        return float(cv2.Laplacian(frame[y - 80 : y + 80, x - 60 : x + 60], cv2.CV_32F).std())

    assert detail(96) < 0.7 * detail(0)
    assert detail(4096) == detail(0)


# --- videos


def test_a_video_keeps_its_own_motion_and_gets_the_new_mouth(mesh, smiling):
    way = np.array([[0.995, -0.06, 22.0], [0.06, 0.995, -9.0]], np.float32)
    second = cv2.warpAffine(smiling.rgb, way, (512, 512), borderMode=cv2.BORDER_REFLECT_101)
    face = mesh.track(second, smiling.face)
    assert face is not None
    rig = build_rig(second, face.points, crop_of(face), smiling.rig)
    assert {name: value.shape for name, value in rig.items()} == {
        name: value.shape for name, value in smiling.rig.items()
    }
    assert np.array_equal(rig["teeth"], smiling.rig["teeth"])

    renderer = smiling.renderer()
    renderer.render(row(TALK=1, OPEN=0.5))
    renderer.retarget(second, rig)
    assert np.array_equal(renderer.render(rest(1)[0]), second)
    for opened, low, high in ((0.0, 0.0, 0.02), (0.8, 0.16, 0.25)):
        drawn = mesh.track(renderer.render(row(TALK=1, OPEN=opened)), face)
        assert drawn is not None
        assert low <= gap(drawn) <= high
        assert np.abs(drawn.eyes - face.eyes).max() < 2
