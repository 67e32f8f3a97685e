"""One clip of a kit's whole runs: from sound to moving keypoints, with stand-ins for the networks."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from core.atomic_components.audio2motion import WINDOW, MotionRules, motion_rows
from core.atomic_components.condition import ConditionRows, Face
from core.atomic_components.controls import frame_control
from core.atomic_components.keypoints import POSE_WIDTH, join_vector, split_vector
from core.atomic_components.motion_stitch import MotionStitch
from core.atomic_components.smooth import centred_mean
from core.atomic_components.speech_features import offline_features, online_features
from core.aux_models.hubert import ChunkSize, Hubert
from core.contracts import Network
from core.engines.ditto.driving import Driving
from core.option_table import parse_options
from core.options import GenerationOptions
from core.types import SAMPLES_PER_FRAME, AudioChunk
from scripts.parity.kit import Arrays, stub_hubert, x_info
from scripts.parity.steps import (
    StubMotion,
    emotions,
    eye_balls,
    eyes_open,
    motion_rules,
    stacked,
    stitch_rules,
)  # fmt: skip


class StubHubert:
    def __call__(self, arrays: Mapping[str, np.ndarray]) -> Arrays:
        return {"encoding_out": stub_hubert(arrays["input_values"][0])}

    def close(self) -> None: ...


@dataclass(frozen=True)
class _FadedThrough(MotionRules):
    """Windows as online, which fade over all that they share."""

    @property
    def fade(self) -> int:
        return self.overlap


class Clip:
    """One case: its source, its sound, and what became of them.

    `streaming` tells upstream's online class from its offline one; either may be told to be in the other's
    mode. `held` are the arrays that a case only names. `online`: motion in silence leads in.
    """

    def __init__(
        self, key: str, sound: np.ndarray, case: Mapping[str, Any], held: Arrays, streaming: bool
    ) -> None:
        given = case.get("kwargs", {})
        self.frames = case.get("src_frames", 1)
        self.conditions: list[np.ndarray] = []
        self.last_rows = np.zeros(0)
        raw = stacked([x_info(f"{key}/{i}") for i in range(self.frames)])
        smooth = given.get("smo_k_s", 13) if self.frames > 1 else 1
        self._source = {name: centred_mean(rows, smooth) for name, rows in raw.items()}
        self._case, self._given, self._held = case, given, held
        self._streaming = streaming
        online_mode = bool(given.get("online_mode", streaming))
        self.online = streaming and online_mode
        self._stub = StubMotion(self.conditions)
        hubert: Network = StubHubert()
        limits = held["v_min_max_for_clip"][:2] if "v_min_max_for_clip" in given else None
        chunk = ChunkSize(*case.get("chunksize", (3, 5, 2)))
        first = join_vector({name: value[:1] for name, value in self._source.items()})
        rules = motion_rules(given, online_mode)
        rows = self._condition_rows(key, raw["kp"][0])
        self.driving = Driving(Hubert(hubert), rows, self._predict, first, rules, chunk, limits)
        beyond = len(sound) - chunk.samples + chunk.past * SAMPLES_PER_FRAME
        self.complete_windows = max(0, 1 + beyond // (chunk.present * SAMPLES_PER_FRAME))
        self.sound = _fed(sound, chunk) if streaming else iter([AudioChunk(sound, 0)])

    def _condition_rows(self, key: str, sc: np.ndarray) -> ConditionRows:
        eye_open, eye_ball = (
            np.concatenate([make(f"{key}/{i}/{part}") for i in range(self.frames)])
            for part, make in (("eo", eyes_open), ("eb", eye_balls))
        )
        emo = self._given.get("emo", 4)
        vectors = self._held["emo"] if isinstance(emo, str) else emotions(emo)
        return ConditionRows(Face(eye_open, eye_ball, sc), vectors, self._given.get("eye_f0_mode", False))

    def _predict(self, condition: np.ndarray, rows: np.ndarray) -> np.ndarray:
        self.last_rows = rows
        return self._stub(condition, rows)

    def run(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """First row of all (265,), the clip's rows (n, 265), source and driving points (n, 21, 3)."""
        every = self._motion()
        rows = every[self.driving.lead :] if self.online else every
        rng = random.Random(self._case.get("python_random_seed"))
        is_video = self.frames > 1
        deltas = self._held.get("delta_eye_arr")
        stitch_rules(self._given, is_video, deltas, rng)  # upstream draws blinks for a clip without end
        counted = {"N_d": len(rows), **self._given}
        stage = MotionStitch(self._source, stitch_rules(counted, is_video, deltas, rng), None)
        if self.online:
            stage.start_from(split_vector(every[0]))
        controls = controls_of(self._case)
        points = [
            stage(split_vector(row), i, frame_control(controls, i, len(rows))) for i, row in enumerate(rows)
        ]
        x_s, x_d = (np.concatenate(part) for part in zip(*points, strict=True))
        return every[0], rows, x_s, x_d

    def _motion(self) -> np.ndarray:
        """All rows of motion, those before the clip included.

        Upstream lets its online class run in offline mode and the other way round, a mix that no session
        has. Its features and its smoothing are the class's own, over how much windows fade is the mode's;
        windows begin with the clip and the last ones are padded.
        """
        driving, rules = self.driving, self.driving.rules
        if self._streaming == rules.online:
            return np.stack(list(driving(self.sound)))
        describe = online_features if self._streaming else offline_features
        features = np.concatenate(list(describe(self.sound, driving.hubert, driving.chunk)))
        count = len(features)
        missing = WINDOW + (count - 1) // rules.step * rules.step - count
        if self._streaming:
            rules = _FadedThrough(rules.overlap, rules.smooth, rules.reset_every, rules.keep, online=True)
            rows = driving.conditions(_lengthened(features, missing), 0)
        else:
            rows = _lengthened(driving.conditions(features, 0), missing)
        motion = np.concatenate(list(motion_rows([rows], driving.source, driving.predict, rules)))[:count]
        if not self._streaming:
            motion[:, :POSE_WIDTH] = centred_mean(motion[:, :POSE_WIDTH], rules.smooth)
        return motion if driving.limits is None else motion.clip(*driving.limits)

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


def controls_of(case: Mapping[str, Any]) -> GenerationOptions:
    """What a case says of its frames, as options: controls of all and of single ones, and fades."""
    given, fades = case.get("kwargs", {}), case.get("setup_Nd") or {}
    values = {name: given[name] for name in ("ctrl_info", "overall_ctrl_info") if name in given}
    return parse_options(values | {name: fades[name] for name in ("fade_in", "fade_out") if name in fades})


def _lengthened(rows: np.ndarray, missing: int) -> np.ndarray:
    """The last row repeated."""
    return np.concatenate([rows, np.repeat(rows[-1:], missing, axis=0)])


def _fed(sound: np.ndarray, chunk: ChunkSize) -> Iterator[AudioChunk]:
    """The sound as far as upstream's caller has handed it in with each of its windows."""
    start, end = 0, chunk.samples - chunk.past * SAMPLES_PER_FRAME
    while start < len(sound):
        yield AudioChunk(sound[start:end], start)
        start, end = end, end + chunk.present * SAMPLES_PER_FRAME
