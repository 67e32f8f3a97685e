"""The stages between sound and picture, on a kit's inputs."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.atomic_components.audio2motion import MotionRules, motion_rows
from core.atomic_components.blinks import blink_schedule
from core.atomic_components.condition import ConditionRows, Face, emotion_vectors
from core.atomic_components.controls import merged
from core.atomic_components.keypoints import (
    degrees,
    join_vector,
    rotation,
    split_vector,
    transform_keypoints,
)
from core.atomic_components.motion_stitch import DRIVEN, MotionStitch, StitchRules
from core.atomic_components.putback import find_place, put_back, soft_mask
from core.atomic_components.smooth import centred_mean
from core.option_values import FrameControl
from scripts.parity.findings import COMPOSITE, EXACT, STEP, Kit, Result
from scripts.parity.kit import Arrays, draw, indices, stub_lmdm, x_info


def keypoint(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_keypoint").arrays
    for key in golden:
        if key.endswith(".logits"):
            case = key.removesuffix(".logits")
            yield Result(f"{case}.degree", degrees(golden[key]), STEP)
    yield Result("rot.matrix", rotation(*golden["rot.pitch_yaw_roll_deg"]), STEP)
    for case in sorted({key.split(".")[0] for key in golden if key.startswith("tk")}):
        motion = {key: golden[f"{case}.{key}"] for key in ("scale", *DRIVEN)}
        yield Result(f"{case}.out", transform_keypoints(golden[f"{case}.kp"], motion), STEP)


def mask(kit: Kit) -> Iterator[Result]:
    for key in kit.golden("steps_mask").arrays:
        width, height, *inner = key.split("_")[1:]
        made = soft_mask(int(width), int(height), *(float(share) for share in inner))
        yield Result(key, made[..., None], STEP)


def condition(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_condition")
    for key in golden.arrays:
        if key.startswith("emo_") and key != "emo_array":
            labels = [int(part) for part in key.strip("emo_[]()").split(",") if part]
            yield Result(key, emotion_vectors([labels]), STEP)
    for name, case in golden.meta["cases"].items():
        frames = case.get("ch", case["nf"])
        eye_open, eye_ball = (
            np.concatenate([make(f"{kit.salt}/in/ch/{part}{i}") for i in range(frames)])
            for part, make in (("eo", eyes_open), ("eb", eye_balls))
        )
        sc = 0.3 * draw(f"{kit.salt}/in/ch/sc", (63,)) * (2 if "ch" in case else 1)
        vectors = golden.arrays["emo_array"] if case["emo"] == "array" else emotions(case["emo"])
        rows = ConditionRows(
            Face(eye_open, eye_ball, sc), vectors, case.get("f0", False), **case.get("flags", {})
        )
        sound = draw(f"{kit.salt}/in/ch/aud_{name}", (case["n"], 4))
        yield Result(f"{name}.out", rows(sound, case["idx"]), STEP)


def eyes_open(key: str) -> np.ndarray:
    return np.abs(np.float32(0.5) + np.float32(0.1) * draw(key, (1, 2)))


def eye_balls(key: str) -> np.ndarray:
    return np.float32(0.05) * draw(key, (1, 6))


def emotions(emo: Any) -> np.ndarray:
    if isinstance(emo, int):
        return emotion_vectors([[emo]])
    return emotion_vectors(emo if isinstance(emo[0], list) else [emo])


def smooth_source(kit: Kit) -> Iterator[Result]:
    for key in kit.golden("steps_smooth_source").arrays:
        case, name = key.split(".")
        count, k = (int(part[1:]) for part in case.split("_"))
        rows = np.concatenate([x_info(f"{kit.salt}/in/smo/{count}_{i}")[name] for i in range(count)])
        yield Result(key, centred_mean(rows, k), STEP)


def audio2motion(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_audio2motion_offline")
    vector = golden.arrays["cvt.dic2arr"]
    for key, value in split_vector(vector).items():
        yield Result(f"cvt.arr2dic.{key}", value, STEP)
    yield Result("cvt.dic2arr", join_vector(split_vector(vector)), STEP)
    source = join_vector(x_info(f"{kit.salt}/in/a2m/src"))
    for name, case in golden.meta["cases"].items():
        sound = 0.5 * draw(f"{kit.salt}/in/a2m/cond{name.removeprefix('off')}", (case["n"], 11))
        conditions: list[np.ndarray] = []
        motion = np.concatenate(
            list(motion_rows([sound], source, StubMotion(conditions), motion_rules(case, False)))
        )
        yield Result(f"{name}.kp_cond_per_clip", np.stack(conditions), STEP)
        kept = motion if case["res_slice"].startswith("full") else motion[indices(case["res_slice"])]
        yield Result(f"{name}.res", kept, STEP)
        if case.get("clip"):
            motion = motion.clip(*golden.arrays["v_min_max"])
        last, middle = split_vector(motion[-1]), split_vector(motion[case["n"] // 2])
        yield Result(f"{name}.last_exp", last["exp"], STEP)
        yield Result(f"{name}.last_scale", last["scale"], STEP)
        yield Result(f"{name}.mid_pitch", middle["pitch"], STEP)


def motion_rules(given: Mapping[str, Any], online: bool) -> MotionRules:
    """Upstream's keyword arguments in our words."""
    keep = given.get("fix_kp_cond_dim")
    return MotionRules(
        overlap=given.get("overlap_v2", 10),
        smooth=given.get("smo_k_d", 3),
        reset_every=given.get("fix_kp_cond", 0),
        keep=(keep[0], keep[1]) if keep else None,
        online=online,
    )


class StubMotion:
    """The kit's stand-in for the motion model; notes the condition frames it is called with."""

    def __init__(self, conditions: list[np.ndarray]) -> None:
        self._conditions = conditions

    def __call__(self, condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self._conditions.append(condition)
        return stub_lmdm(len(self._conditions) - 1, rows, condition)


def motion_stitch(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_motion_stitch")
    stitch = kit.networks("stitch_network")
    for name, case in golden.meta["cases"].items():
        key = f"{kit.salt}/in/ms"
        source = stacked([x_info(f"{key}/src{i}") for i in range(case["video"] or 1)])
        size_ratio = 1.0
        if case.get("ch_info"):
            size_ratio = float(x_info(f"{key}/ch")["scale"].item() / source["scale"][0].item())
        rules = stitch_rules(
            case,
            bool(case["video"]),
            golden.arrays["delta_eye_arr"],
            random.Random(case["seed"]),
            size_ratio,
        )
        stage = MotionStitch(source, rules, stitch if case.get("flag_stitching") else None)
        if case.get("d0"):
            stage.start_from(x_info(f"{key}/d0", with_kp=False))
        overall = FrameControl(**case.get("overall_ctrl_info", {}))
        frames = [
            stage(x_info(f"{key}/drv{i}", with_kp=False), i, merged(overall, FrameControl(**case["ctrl"][i])))
            for i in range(case["n"])
        ]
        yield Result(f"{name}.x_d", np.concatenate([x_d for _, x_d in frames]), STEP)
        yield Result(f"{name}.x_s", np.concatenate([x_s for x_s, _ in frames[: len(source["exp"])]]), STEP)
    for number, case in enumerate(golden.meta["blink_idx"]):
        rng = random.Random(case["random_seed"])
        places = blink_schedule(case["N"], case["blink_n"], case["open_n"], rng)
        starts = np.flatnonzero(places == 1)
        yield Result(f"blink{number}.starts", starts, EXACT, theirs=np.array(case["starts"]))
        if case["idx"] is not None:
            yield Result(f"blink{number}.idx", places, EXACT, theirs=np.array(case["idx"]))


def stacked(rows: Sequence[Arrays]) -> Arrays:
    """Frames of one row each as one motion."""
    return {key: np.concatenate([row[key] for row in rows]) for key in rows[0]}


def stitch_rules(
    given: Mapping[str, Any],
    is_video: bool,
    eye_deltas: np.ndarray | None,
    rng: random.Random,
    size_ratio: float = 1.0,
) -> StitchRules:
    """Upstream's keyword arguments in our words."""
    keys = given.get("use_d_keys") or (("exp",) if is_video else DRIVEN)
    drive_eye = given.get("drive_eye")
    blinks = None
    if given.get("delta_eye_arr") and eye_deltas is not None:
        gaps = given.get("delta_eye_open_n", 0)
        blinks = blink_schedule(given.get("N_d", 3000), len(eye_deltas), gaps, rng)
    return StitchRules(
        use_d_keys=keys if isinstance(keys, dict) else dict.fromkeys(keys, 1.0),
        drive_eye=not is_video if drive_eye is None else drive_eye,
        relative=given.get("relative_d", True),
        fade_type=given.get("fade_type", ""),
        fade_keys=given.get("fade_out_keys", ("exp",)),
        eye_deltas=None if blinks is None else eye_deltas,
        blinks=blinks,
        size_ratio=size_ratio,
    )


def putback(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_putback").arrays
    for case in sorted({key.split(".")[0] for key in golden}):
        picture, small = golden[f"{case}.frame"], golden[f"{case}.render_32"]
        render = small.repeat(16, axis=0).repeat(16, axis=1)
        place = find_place(golden[f"{case}.M_c2o"], (picture.shape[1], picture.shape[0]))
        yield Result(f"{case}.out", put_back(picture, render, place), COMPOSITE)
