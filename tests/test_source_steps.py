"""Eyes, smoothing, size rule and order of a source's frames, against the parity kit's numbers."""

import json

import numpy as np
import pytest

from core.atomic_components.eyes import eye_ball, eye_open
from core.atomic_components.loop import mirror_index
from core.atomic_components.smooth import centred_mean
from core.atomic_components.windows import frame_count
from core.errors import BadImage
from core.media.image import fit_size
from scripts.parity.kit import x_info
from tests.ditto import GOLDEN, golden

STEP = 1e-5
LOADER = json.loads((GOLDEN / "steps_loader.json").read_text())


@pytest.mark.parametrize("case", ["case0", "case1"])
def test_eyes(case):
    expected = golden("steps_eye")
    mesh = expected.arrays[f"{case}.lmk478"]
    assert expected.difference(f"{case}.eye_open", eye_open(mesh)) < STEP
    assert expected.difference(f"{case}.eye_ball", eye_ball(mesh)) < STEP


def test_eyes_without_width_are_numbers():
    mesh = np.zeros((1, 478, 3), np.float32)
    assert eye_open(mesh).tolist() == [[0, 0]]
    assert eye_ball(mesh).tolist() == [[0] * 6]


@pytest.mark.parametrize(("n", "k"), [(7, 13), (20, 13), (20, 5), (12, 4), (5, 2), (3, 1)])
def test_smoothing_of_a_source(n, k):
    expected = golden("steps_smooth_source")
    infos = [x_info(f"shared/in/smo/{n}_{i}") for i in range(n)]
    for name in ("exp", "pitch", "kp", "scale"):
        smooth = centred_mean(np.concatenate([info[name] for info in infos]), k)
        assert expected.difference(f"n{n}_k{k}.{name}", smooth) < STEP


@pytest.mark.parametrize("case", LOADER["check_resize(h,w,max_dim)->(new_h,new_w,flag)"])
def test_size_rule(case):
    height, width, limit, new_height, new_width, _ = case
    if min(new_height, new_width) == 0:
        with pytest.raises(BadImage):
            fit_size(width, height, limit)
    else:
        assert fit_size(width, height, limit) == (new_width, new_height)


@pytest.mark.parametrize(("size", "indices"), LOADER["mirror_index"].items())
def test_frames_go_forth_and_back(size, indices):
    assert [mirror_index(i, int(size)) for i in range(len(indices))] == indices


def test_frames_before_the_first():
    expected = LOADER["mirror_index_negative(-3..-1),size 5"]
    assert [mirror_index(i, 5) for i in (-3, -2, -1)] == expected


@pytest.mark.parametrize(("samples", "frames"), LOADER["num_frames(len_samples)"].items())
def test_frames_of_a_sound(samples, frames):
    assert frame_count(int(samples)) == frames


@pytest.mark.parametrize("samples", [4480, 8960, 17920, 35200])
def test_floating_point_adds_a_frame(samples):
    assert frame_count(samples) == samples // 640 + 1
