"""Ditto's stages from sound to keypoints and back into the picture, against the parity kit's numbers."""

import random
from collections.abc import Callable, Iterator, Mapping

import numpy as np
import pytest

from core.atomic_components.audio2motion import MotionRules, motion_rows
from core.atomic_components.blinks import blink_schedule
from core.atomic_components.keypoints import degrees, join_vector, transform_keypoints
from core.atomic_components.motion_stitch import DRIVEN, MotionStitch, StitchRules
from core.atomic_components.putback import find_place, put_back
from core.option_values import FrameControl
from scripts.parity import auxiliary, flows, steps, tables
from scripts.parity.findings import Kit, Result, run
from scripts.parity.kit import x_info
from tests.ditto import GOLDEN, Arrays, golden, salt, stitching

KIT = Kit(salt(), GOLDEN, None, {"stitch_network": stitching()}.__getitem__)


@pytest.mark.parametrize(
    ("stem", "check", "least"),
    [
        ("steps_keypoint", steps.keypoint, 7),
        ("steps_mask", steps.mask, 4),
        ("steps_condition", steps.condition, 19),
        ("steps_smooth_source", steps.smooth_source, 24),
        ("steps_audio2motion_offline", steps.audio2motion, 30),
        ("steps_motion_stitch", steps.motion_stitch, 87),
        ("steps_putback", steps.putback, 1),
        ("steps_offline_motion", flows.offline_motion, 28),
        ("steps_online_motion", flows.online_motion, 35),
        ("steps_crop", auxiliary.crop, 16),
    ],
)
def test_stage_gives_upstreams_numbers(
    stem: str, check: Callable[[Kit], Iterator[Result]], least: int
) -> None:
    found = list(run(KIT, stem, check, None))
    assert len(found) >= least
    assert [one for one in found if not one.ok] == []


@pytest.mark.parametrize("table", [tables.online_flow, tables.ctrl_info, tables.loader])
def test_table_agrees_with_upstream(table: Callable[[Kit], Iterator[tables.Entry]]) -> None:
    entries = list(table(KIT))
    assert len(entries) > 20
    assert [entry for entry in entries if entry.ours != entry.theirs] == []


@pytest.mark.parametrize("online", [False, True])
@pytest.mark.parametrize("overlap", [0, 5, 10, 40, 70, 75])
def test_as_many_rows_as_conditions_whatever_the_chunks(overlap: int, online: bool) -> None:
    """Offline for every length; online what complete windows show."""
    rules = MotionRules(overlap=overlap, online=online)
    source = np.zeros(265, np.float32)

    def predict(condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return (rows.mean(1, keepdims=True) + 0.1 * condition + np.arange(80)[:, None]).astype(np.float32)

    for n in (1, 10, 79, 80, 81, 149, 150, 151, 333):
        rows = np.random.default_rng(n).normal(size=(n, 7)).astype(np.float32)
        whole = np.concatenate([*motion_rows([rows], source, predict, rules), np.zeros((0, 265))])
        step = 80 - overlap
        assert len(whole) == (n if not online else 80 + (n - 80) // step * step if n >= 80 else 0)
        parts = np.concatenate(
            [*motion_rows([rows[i : i + 9] for i in range(0, n, 9)], source, predict, rules),
             np.zeros((0, 265))]
        )  # fmt: skip
        np.testing.assert_array_equal(parts, whole)


def test_a_reset_keeps_only_the_named_columns() -> None:
    seen: list[np.ndarray] = []
    source = np.full(265, 7, np.float32)

    def predict(condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        seen.append(condition)
        return np.ones((80, 265), np.float32)

    rules = MotionRules(reset_every=2, keep=(0, 3))
    list(motion_rows([np.zeros((220, 5), np.float32)], source, predict, rules))
    assert (seen[1] == 1).all()
    assert (seen[2][:3] == 1).all()
    assert (seen[2][3:] == 7).all()


def source_motion(frames: int = 1) -> Arrays:
    return steps.stacked([x_info(f"test/src{i}") for i in range(frames)])


def rules_for(keys: Mapping[str, float] | None = None, fade_type: str = "") -> StitchRules:
    return StitchRules(keys or dict.fromkeys(DRIVEN, 1.0), drive_eye=True, fade_type=fade_type)


def test_degrees_and_logits_may_be_faded_into_each_other() -> None:
    """A turn in degrees and a fade of the pose: upstream broadcasts one over the other."""
    motion = source_motion()
    stage = MotionStitch(motion, rules_for(fade_type="s"), None)
    drive = x_info("test/drv", with_kp=False)
    control = FrameControl(delta_yaw=20, fade_alpha=0.0, fade_out_keys=("yaw", "pitch", "roll", "exp", "t"))
    x_s, x_d = stage(drive, 0, control)
    assert x_d.shape == (1, 21, 3)
    without_gaze = MotionStitch(motion, StitchRules(dict.fromkeys(DRIVEN, 1.0), False, fade_type="s"), None)
    _, still = without_gaze(drive, 0, control)
    np.testing.assert_allclose(still, x_s, atol=1e-6)


def test_sources_are_not_written_to() -> None:
    motion = source_motion(3)
    before = {key: value.copy() for key, value in motion.items()}
    stage = MotionStitch(motion, rules_for(), None)
    for i in range(5):
        drive = x_info(f"test/drv{i}", with_kp=False)
        kept = {key: value.copy() for key, value in drive.items()}
        stage(drive, i, FrameControl(delta_pitch=3, alpha_exp=0.5, vad_alpha=0.2))
        for key, value in kept.items():
            np.testing.assert_array_equal(drive[key], value)
    for key, value in before.items():
        np.testing.assert_array_equal(motion[key], value)


def test_turning_shows_in_the_points() -> None:
    motion = source_motion()
    points = transform_keypoints(motion["kp"], motion)
    turned = transform_keypoints(motion["kp"], {**motion, "yaw": degrees(motion["yaw"]) + 20})
    assert np.abs(turned - points).max() > 0.05
    np.testing.assert_allclose(turned[..., 1], points[..., 1], atol=0.2)


def test_a_vector_has_no_kp() -> None:
    assert join_vector(source_motion()).shape == (265,)


@pytest.mark.parametrize("case", golden("steps_motion_stitch").meta["blink_idx"])
def test_blinks_come_when_upstreams_do(case: dict) -> None:
    rng = random.Random(case["random_seed"])
    places = blink_schedule(case["N"], case["blink_n"], case["open_n"], rng)
    assert np.flatnonzero(places == 1).tolist() == case["starts"]
    if case["idx"] is not None:
        assert places.tolist() == case["idx"]


def test_blinks_at_random_are_60_to_100_frames_apart() -> None:
    places = blink_schedule(3000, 15, 0, random.Random(3))
    starts = np.flatnonzero(places == 1)
    gaps = np.diff(starts) - 15
    assert len(starts) > 20
    assert gaps.min() >= 60
    assert gaps.max() <= 100


def test_a_face_outside_the_picture_changes_nothing() -> None:
    picture = np.full((50, 60, 3), 9, np.uint8)
    away = np.array([[0.1, 0, 500], [0, 0.1, 500]], np.float32)
    out = put_back(picture, np.full((512, 512, 3), 255, np.float32), find_place(away, (60, 50)))
    np.testing.assert_array_equal(out, picture)
    assert out is not picture
