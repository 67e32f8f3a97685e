"""The crop's geometry against numbers of the reference, and the means over time."""

import numpy as np
import pytest

from core.atomic_components.crop import face_crop, mesh_anchors
from core.atomic_components.smooth import CausalMean, centred_mean

# Five-point faces (eyes, nose, mouth corners) and the crop-to-source maps that antgroup/ditto-talkinghead
# e9191cf6 computes for them; made with its code, numpy 2.0.
REFERENCE = [
    (
        [[149.60000610351562, 96.20167541503906], [183.1999969482422, 94.37898254394531],
         [135.8197784423828, 132.1867218017578], [160.63999938964844, 136.02552795410156],
         [172.16000366210938, 136.97276306152344]],
        (224, {"scale": 1.5, "vy_ratio": -0.1}),
        [[0.31727826595306396, 0.0, 123.97472381591797], [0.0, 0.31727826595306396, 73.03367614746094]],
    ),
    (
        [[157.02694702148438, 89.48340606689453], [188.13421630859375, 102.25303649902344],
         [130.10598754882812, 135.64732360839844], [152.82337951660156, 133.19532775878906],
         [163.12461853027344, 138.5709686279297]],
        (512, {"scale": 2.3, "vy_ratio": -0.125}),
        [[0.22194769978523254, -0.08101723343133926, 128.454833984375],
         [0.08101723343133926, 0.22194769978523254, 26.562368392944336]],
    ),
    (
        [[142.9995574951172, 108.3489990234375], [171.53509521484375, 90.55260467529297],
         [156.5695343017578, 162.05384826660156], [174.6178741455078, 135.01318359375],
         [183.91859436035156, 128.20571899414062]],
        (512, {"scale": 2.0, "vy_ratio": -0.05, "do_rot": False}),
        [[0.20595404505729675, 0.0, 107.94892120361328], [0.0, 0.20595404505729675, 68.63969421386719]],
    ),
    (
        [[189.3909912109375, 118.427001953125], [160.7021026611328, 135.9183349609375],
         [195.07994079589844, 66.54116821289062], [158.79827880859375, 88.99048614501953],
         [148.85452270507812, 94.80874633789062]],
        (256, {"scale": 1.5, "vy_ratio": -0.1}),
        [[-0.32746875286102295, -0.19700399041175842, 250.0668487548828],
         [0.19700399041175842, -0.32746875286102295, 126.31243896484375]],
    ),
]  # fmt: skip


@pytest.mark.parametrize(("points", "how", "expected"), REFERENCE)
def test_crop_is_the_references(points, how, expected):
    points = np.array(points, np.float32)
    anchors = np.stack([(points[0] + points[1]) / 2, (points[3] + points[4]) / 2])
    size, options = how
    crop = face_crop(points, anchors, size, **options)
    assert crop.crop_to_source.dtype == np.float32
    assert np.abs(crop.crop_to_source[:2] - expected).max() < 5e-4
    assert np.allclose(crop.source_to_crop @ crop.crop_to_source, np.eye(3), atol=1e-4)


def _face(angle: float = 0.0, centre: tuple[float, float] = (300.0, 200.0)) -> tuple[np.ndarray, np.ndarray]:
    """A box of points 100 wide and 120 high about its centre, eyes above lips, turned by `angle` degrees."""
    local = np.array([[-50, -60], [50, -60], [-50, 60], [50, 60]], np.float64)
    anchors = np.array([[0.0, -20], [0, 30]])
    a = np.radians(angle)
    turn = np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]])
    return local @ turn + centre, anchors @ turn + centre


def _to_source(crop, x, y):
    return (crop.crop_to_source @ [x, y, 1])[:2]


def test_crop_is_centred_upright_and_scaled():
    crop = face_crop(*_face(), 512, scale=2.0, vy_ratio=0.0)
    assert crop.side == pytest.approx(240)  # twice the larger side of the box
    assert np.allclose(_to_source(crop, 256, 256), (300, 200), atol=1e-3)
    assert np.allclose(_to_source(crop, 0, 0), (180, 80), atol=1e-3)


@pytest.mark.parametrize("angle", [-170.0, -90.0, -30.0, 0.0, 45.0, 120.0])
def test_turned_face_stands_upright_in_its_crop(angle):
    points, anchors = _face(angle)
    crop = face_crop(points, anchors, 512)
    eyes, lips = (crop.source_to_crop @ np.append(p, 1) for p in anchors)
    assert crop.angle == pytest.approx(np.radians(angle), abs=1e-6)
    assert eyes[0] == pytest.approx(lips[0], abs=1e-2)
    assert eyes[1] < lips[1]


def test_shifts_move_the_crop_along_the_faces_own_axes():
    points, anchors = _face(90.0)  # its right is the picture's down
    plain = face_crop(points, anchors, 512, vy_ratio=0.0)
    across = face_crop(points, anchors, 512, vx_ratio=0.1, vy_ratio=0.0)
    down = face_crop(points, anchors, 512, vx_ratio=0.0, vy_ratio=0.1)
    assert np.allclose(across.centre - plain.centre, (0, 0.1 * plain.side), atol=1e-3)
    assert np.allclose(down.centre - plain.centre, (-0.1 * plain.side, 0), atol=1e-3)


def test_without_rotation_the_crop_is_level():
    crop = face_crop(*_face(30.0), 512, do_rot=False)
    assert crop.angle == 0
    assert crop.source_to_crop[0, 1] == crop.source_to_crop[1, 0] == 0


def test_anchors_that_coincide_mean_an_upright_face():
    points, anchors = _face()
    crop = face_crop(points, anchors[[0, 0]], 512)
    assert crop.angle == 0


def test_mesh_anchors_are_the_eyes_and_the_mouth():
    points = np.zeros((478, 3), np.float32)
    points[[33, 133, 159, 145], :2] = [[0, 10], [20, 10], [10, 5], [10, 15]]
    points[[362, 263, 386, 374], :2] = [[40, 10], [60, 10], [50, 5], [50, 15]]
    points[[61, 291], :2] = [[10, 50], [50, 54]]
    anchors = mesh_anchors(points)
    assert anchors.dtype == np.float32
    assert anchors.tolist() == [[30, 10], [30, 52]]


# --- means over time


def _by_hand(rows, half):
    return [rows[max(0, i - half) : min(len(rows), i + half + 1)].mean(0) for i in range(len(rows))]


@pytest.mark.parametrize(("n", "k", "half"), [(7, 13, 6), (20, 5, 2), (12, 4, 2), (5, 2, 1), (1, 13, 6)])
def test_centred_mean_is_cut_at_the_ends(n, k, half):
    rows = np.random.default_rng(n).standard_normal((n, 3, 2)).astype(np.float32)
    smooth = centred_mean(rows, k)
    assert smooth.dtype == np.float32
    assert np.allclose(smooth, _by_hand(rows, half), atol=1e-6)


def test_centred_mean_of_the_reference():
    source = np.array([1.0, 4.0, 1.0, -2.0, 6.0], np.float32)[:, None]
    assert centred_mean(source, 2).ravel() == pytest.approx([2.5, 2.0, 1.0, 5 / 3, 2.0])  # 2 counts as 3


@pytest.mark.parametrize("k", [-1, 0, 1])
def test_no_window_changes_nothing_and_gives_a_copy(k):
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    smooth = centred_mean(rows, k)
    assert np.array_equal(smooth, rows)
    smooth[0] = 9
    assert rows[0, 0] == 0
    row = np.ones(2, np.float32)
    once = CausalMean(k)(row)
    assert np.array_equal(once, row)
    assert once is not row


def test_causal_mean_looks_back_only():
    rows = np.random.default_rng(2).standard_normal((40, 5)).astype(np.float32)
    mean = CausalMean(3)
    got = np.stack([mean(row) for row in rows])
    expected = [rows[max(0, i - 2) : i + 1].mean(0) for i in range(40)]
    assert got.dtype == np.float32
    assert np.allclose(got, expected, atol=1e-6)


def test_causal_mean_keeps_its_own_rows():
    mean, row = CausalMean(2), np.zeros(1, np.float32)
    mean(row)
    row[0] = 100  # the caller's buffer is its own again
    assert mean(np.ones(1, np.float32))[0] == pytest.approx(0.5)
