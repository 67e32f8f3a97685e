"""Sound to moving keypoints as a whole, offline and online, with the kit's stand-ins for the networks."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from core.atomic_components.condition import ConditionRows, Face
from core.atomic_components.controls import fade_alpha
from core.atomic_components.keypoints import join_vector, split_vector
from core.atomic_components.motion_stitch import MotionStitch
from core.atomic_components.smooth import centred_mean
from core.aux_models.hubert import ChunkSize, Hubert
from core.contracts import Network
from core.engines.ditto.driving import WINDOW, Driving
from core.options import FrameControl
from core.types import SAMPLES_PER_FRAME, AudioChunk
from scripts.parity.findings import STEP, Kit, Result
from scripts.parity.kit import Arrays, audio, stub_hubert, x_info
from scripts.parity.steps import (
    StubMotion,
    emotions,
    eye_balls,
    eyes_open,
    motion_rules,
    stacked,
    stitch_rules,
)  # fmt: skip

_DRV = (slice(None, None, 4), slice(None, None, 7))  # what is kept of the driving vectors
_MADE_UP = frozenset(("emo", "v_min_max_for_clip"))  # arrays that the kit uses and does not hold


class StubHubert:
    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        return {"encoding_out": stub_hubert(arrays["input_values"][0])}

    def close(self) -> None: ...


class Clip:
    """One case: its source, its sound, and what became of them."""

    def __init__(self, key: str, sound: np.ndarray, case: Mapping[str, Any], eye_deltas: np.ndarray | None):
        given = case.get("kwargs", {})
        self.online = bool(given.get("online_mode", True)) and not case.get("offline", False)
        self.conditions: list[np.ndarray] = []
        self.last_rows = np.zeros(0)
        frames = case.get("src_frames", 1)
        raw = stacked([x_info(f"{key}/{i}") for i in range(frames)])
        smooth = given.get("smo_k_s", 13) if frames > 1 else 1
        source = {name: centred_mean(rows, smooth) for name, rows in raw.items()}
        eye_open, eye_ball = (
            np.concatenate([make(f"{key}/{i}/{part}") for i in range(frames)])
            for part, make in (("eo", eyes_open), ("eb", eye_balls))
        )
        face = Face(eye_open, eye_ball, raw["kp"][0])
        rows = ConditionRows(face, emotions(given.get("emo", 4)), given.get("eye_f0_mode", False))
        rules = motion_rules(given, self.online)
        first = join_vector({name: value[:1] for name, value in source.items()})
        chunk = ChunkSize(*case.get("chunksize", (3, 5, 2)))
        self._stub = StubMotion(self.conditions)
        hubert: Network = StubHubert()
        self.driving = Driving(Hubert(hubert), rows, self._predict, first, rules, chunk)
        beyond = len(sound) - chunk.samples + chunk.past * SAMPLES_PER_FRAME
        self.complete_windows = max(0, 1 + beyond // (chunk.present * SAMPLES_PER_FRAME))
        self.sound = _fed(sound, chunk) if self.online else iter([AudioChunk(sound, 0)])
        self._source, self._case, self._eye_deltas = source, case, eye_deltas

    def _predict(self, condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self.last_rows = rows
        return self._stub(condition, rows)

    def run(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First row of all (265,), the clip's rows (n, 265), source and driving points (n, 21, 3)."""
        every = np.stack(list(self.driving(self.sound)))
        rows = every[self.driving.lead :]
        given = self._case.get("kwargs", {})
        rng = random.Random(self._case.get("python_random_seed"))
        is_video = len(self._source["exp"]) > 1
        stitch_rules(given, is_video, self._eye_deltas, rng)  # upstream draws blinks for a clip without end
        counted = {"N_d": len(rows), **given}
        stage = MotionStitch(
            self._source, stitch_rules(counted, is_video, self._eye_deltas, rng), None
        )  # fmt: skip
        stage.start_from(split_vector(every[0]))
        points = [stage(split_vector(row), i, self._control(i, len(rows))) for i, row in enumerate(rows)]
        x_s, x_d = (np.concatenate(part) for part in zip(*points, strict=True))
        return every[0], rows, x_s, x_d

    def emitted(self) -> list[int]:
        """Frames of the clip that come out after each window of sound, and at last those after the end."""
        counts = [0]

        def fed() -> Iterator[AudioChunk]:
            for number, chunk in enumerate(self.sound):
                if number:
                    counts.append(0)
                yield chunk
            counts.append(0)

        for number, _ in enumerate(self.driving(fed())):
            if number >= self.driving.lead:
                counts[-1] += 1
        return counts

    def _control(self, index: int, count: int) -> FrameControl:
        given = self._case.get("kwargs", {}).get("ctrl_info", {})
        if isinstance(given, list):
            given = {str(i): control for i, control in enumerate(given)}
        control = dict(given.get(str(index), {}))
        fades = self._case.get("setup_Nd") or {}
        alpha = fade_alpha(index, count, fades.get("fade_in", -1), fades.get("fade_out", -1))
        return FrameControl(**control if alpha == 1 else control | {"fade_alpha": alpha})


def _fed(sound: np.ndarray, chunk: ChunkSize) -> Iterator[AudioChunk]:
    """The sound as far as upstream's caller has handed it in with each of its windows."""
    start, end = 0, chunk.samples - chunk.past * SAMPLES_PER_FRAME
    while start < len(sound):
        yield AudioChunk(sound[start:end], start)
        start, end = end, end + chunk.present * SAMPLES_PER_FRAME


def offline_motion(kit: Kit) -> Iterator[Result]:
    golden = kit.golden("steps_offline_motion")
    for name, case in golden.meta["cases"].items():
        if case["kwargs"].get("online_mode"):
            continue  # a mode that the published class offers and cannot finish
        key = f"{kit.salt}/src/v{case['src_frames']}"
        sound = audio(f"{kit.salt}/aud/off_{name}", case["samples"])
        clip = Clip(key, sound, {**case, "offline": True}, golden.arrays.get("delta_eye_arr"))
        _, rows, _, x_d = clip.run()
        yield Result(f"{name}.drv", rows[_DRV], STEP)
        yield Result(f"{name}.x_d", x_d[:: case["stride"]], STEP)


def online_motion(kit: Kit) -> Iterator[Result]:
    """All frames that the clip has: upstream goes on with what it made of the padding, and with an overlap
    below 40 loses frames at the start, as it does all of a clip that is shorter than a window."""
    golden = kit.golden("steps_online_motion")
    for name, case in golden.meta["cases"].items():
        if name.startswith("var_"):
            if case["kwargs"].get("online_mode") is not False:
                yield from _variant(kit, name, case)
            continue
        overlap, chunk, samples = (int(part.lstrip("ovcn")) for part in name.split("_"))
        made = {"kwargs": {"overlap_v2": overlap}, "chunksize": [int(digit) for digit in str(chunk)]}
        clip = Clip(f"{kit.salt}/src/img", audio(f"{kit.salt}/aud/{samples}", samples), made, None)
        first, rows, x_s, x_d = clip.run()
        lost = max(0, WINDOW - 2 * overlap)
        drv, points = rows[lost:][_DRV], x_d[lost :: case["stride"]]
        yield Result(f"{name}.d0", first, STEP)
        yield Result(f"{name}.drv", drv, STEP, slice(len(drv)))
        yield Result(f"{name}.x_d", points, STEP, slice(len(points)))
        yield Result(f"{name}.x_s", x_s[:1], STEP)


def _variant(kit: Kit, name: str, case: Mapping[str, Any]) -> Iterator[Result]:
    given = case["kwargs"]
    if any(given.get(key) == "array" for key in _MADE_UP):
        return
    key = f"{kit.salt}/src/v{case['src_frames']}"
    sound = audio(f"{kit.salt}/aud/{name.removeprefix('var_')}", case["samples"])
    clip = Clip(key, sound, case, None)
    _, _, _, x_d = clip.run()
    yield Result(f"{name}.kp_cond_per_clip", np.stack(clip.conditions)[:, ::5], STEP)
    yield Result(f"{name}.cond_last_clip", clip.last_rows[::8, ::9], STEP)
    yield Result(f"{name}.x_d", x_d, STEP, slice(len(x_d)))
