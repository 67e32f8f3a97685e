"""All deterministic networks at once: from features of sound to the picture with the face put back."""

import random
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from core.atomic_components.audio2motion import MotionRules
from core.atomic_components.condition import ConditionRows, Face
from core.atomic_components.controls import frame_control
from core.atomic_components.keypoints import join_vector, split_vector
from core.atomic_components.loop import mirror_index
from core.atomic_components.motion_stitch import MotionStitch
from core.atomic_components.putback import find_place, put_back
from core.atomic_components.smooth import centred_mean
from core.aux_models.hubert import ChunkSize, Hubert
from core.engines.ditto.driving import Driving
from core.engines.ditto.face_renderer import FaceRenderer
from core.engines.ditto.motion_model import MotionModel
from core.types import AudioChunk
from scripts.parity.clip import StubHubert, controls_of
from scripts.parity.findings import COMPOSITE, EXACT, FRAME, FRAME_ROWS, MOTION, NETWORK, Kit, Result
from scripts.parity.flows import source_rows
from scripts.parity.kit import audio, draw, x_info
from scripts.parity.steps import emotions, eye_balls, eyes_open, motion_rules, stacked, stitch_rules

_DRV = (slice(None), slice(None, None, 3))


class _DrawnNoise:
    def __init__(self, key: str, steps: int) -> None:
        self._key, self._calls = key, 0
        self.steps: Sequence[np.ndarray] = [draw(f"{key}/{k}", (1, 80, 265)) for k in range(steps - 1)]

    def start(self) -> np.ndarray:
        self._calls += 1
        return draw(f"{self._key}/x{self._calls - 1}", (1, 80, 265))


def offline_image(kit: Kit) -> Iterator[Result]:
    yield from _run(kit, "e2e_offline_image")


def offline_video(kit: Kit) -> Iterator[Result]:
    yield from _run(kit, "e2e_offline_video")


def online_image(kit: Kit) -> Iterator[Result]:
    yield from _run(kit, "e2e_online_image")


class _Source:
    """The kit's made-up portrait of one case."""

    def __init__(self, key: str, frames: int, smooth: int) -> None:
        self.key, self.frames = key, frames
        raw = stacked([x_info(f"{key}/{i}", logit=1.0) for i in range(frames)])
        smooth = smooth if frames > 1 else 1
        self.motion = {name: centred_mean(rows, smooth) for name, rows in raw.items()}
        eye_open, eye_ball = (
            np.concatenate([make(f"{key}/{i}/{part}") for i in range(frames)])
            for part, make in (("eo", eyes_open), ("eb", eye_balls))
        )
        self.face = Face(eye_open, eye_ball, raw["kp"][0])

    def appearance(self, row: int) -> np.ndarray:
        return np.float32(0.5) * draw(f"{self.key}/{row}/f", (1, 32, 16, 64, 64))

    def picture(self, row: int) -> np.ndarray:
        noise = draw(f"{self.key}/{row}/img", (180, 240, 3))
        return np.clip(128 + 50 * noise, 0, 255).astype(np.uint8)


def _run(kit: Kit, stem: str) -> Iterator[Result]:
    golden = kit.golden(stem)
    case = golden.meta
    smooth = case["kwargs"].get("smo_k_s", 13)
    source = _Source(f"{kit.salt}/src/e2e_{case['tag']}", case["src_frames"], smooth)
    rules = motion_rules(case["kwargs"], case["mode"] == "online")
    every = np.stack(list(_motion(kit, case, source, rules)))
    rows = every[rules.overlap :] if rules.online else every
    count = len(rows)  # upstream goes on with what it made of the padding
    points, x_s = _points(kit, case, source, every[0], rows)
    yield Result("drv", rows[_DRV], MOTION, slice(count))
    yield Result("x_d", points, MOTION, slice(count))
    yield Result("x_s", x_s[:1], MOTION)
    yield Result("frame_idx", source_rows(source.frames, count), EXACT, slice(count))
    frames = [frame for frame in case["frames"] if f"frame{frame}.composite" in golden.arrays]
    yield from _frames(kit, golden.arrays, source, x_s, frames)


def _motion(kit: Kit, case: Mapping[str, Any], source: _Source, rules: MotionRules) -> Iterator[np.ndarray]:
    given = case["kwargs"]
    steps = case["sampling_timesteps"]
    noise = _DrawnNoise(f"{kit.salt}/noise/e2e_{case['tag']}", steps)
    model = MotionModel(kit.networks("lmdm"), steps, noise)
    conditions = ConditionRows(source.face, emotions(given.get("emo", 4)), given.get("eye_f0_mode", False))
    first = join_vector({name: value[:1] for name, value in source.motion.items()})
    chunk = ChunkSize(*case["chunksize"] or ())
    driving = Driving(Hubert(StubHubert()), conditions, model, first, rules, chunk)
    if rules.online:
        return driving([AudioChunk(audio(f"{kit.salt}/e2e/audio", case["audio_samples"]), 0)])
    kind = "img" if source.frames == 1 else "vid"
    features = np.float32(0.5) * draw(f"{kit.salt}/e2e/feat_{kind}", (case["total"], 1024))
    return driving.of_features([features])


def _points(
    kit: Kit, case: Mapping[str, Any], source: _Source, first: np.ndarray, rows: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Driving points of every frame (n, 21, 3), source points of every source frame."""
    given = case["kwargs"]
    deltas = np.float32(0.02) * draw(f"{kit.salt}/e2e/delta_eye", (15, 63))
    rules = stitch_rules(given, source.frames > 1, deltas, random.Random(case["random_seed"]))
    stitching = kit.networks("stitch_network") if given.get("flag_stitching", True) else None
    stage = MotionStitch(source.motion, rules, stitching)
    if case["mode"] == "online":
        stage.start_from(split_vector(first))
    options = controls_of(case)
    both = [stage(split_vector(row), i, frame_control(options, i, len(rows))) for i, row in enumerate(rows)]
    x_s, x_d = (np.concatenate(points) for points in zip(*both, strict=True))
    return x_d, x_s[: source.frames]


def _frames(
    kit: Kit, stored: Mapping[str, np.ndarray], source: _Source, x_s: np.ndarray, frames: Sequence[int]
) -> Iterator[Result]:
    """Pictures of the kit's own points, so that one stage's rounding is not counted as the next one's."""
    renderer = FaceRenderer(kit.networks("warp_network"), kit.networks("decoder"))
    place = find_place(stored["M_c2o"], (240, 180))
    for frame in frames:
        row = mirror_index(frame, source.frames)
        points = stored["x_d"][frame : frame + 1]
        warped = renderer.warp(source.appearance(row), x_s[row : row + 1], points)
        face = renderer.decode(warped)
        yield Result(f"frame{frame}.warped", warped, NETWORK)
        yield Result(f"frame{frame}.render", face, FRAME)
        yield Result(f"frame{frame}.render_row_mean", face.mean(1), FRAME_ROWS)
        yield Result(f"frame{frame}.composite", put_back(source.picture(row), face, place), COMPOSITE)
