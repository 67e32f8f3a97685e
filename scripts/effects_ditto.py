"""What each option does to Ditto's motion, in numbers. See `effects_bench` for what is real and what made up.

What only real weights can show, the source's framing above all, is not seen here.
"""

import json
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np

from core.option_table import parse_options
from core.types import FPS
from scripts.effects import FRAME, Measures, Record, control, measured, trial
from scripts.effects_bench import Bench, Run
from scripts.parity import kit
from scripts.parity.steps import eye_balls, eyes_open

STEPS = 5  # of sampling, in all clips but where that is what is tried
UNSEEN = frozenset(  # what these do to motion goes through networks that read the source
    (
        "crop_scale", "crop_vx_ratio", "crop_vy_ratio", "crop_flag_do_rot", "max_size", "template_n_frames",
        "smo_k_s", "check_track",
    )
)  # fmt: skip
NO_MOTION = {"resolution": "none; acts on Ditto's picture", "render_size": "no effect"}

_ALWAYS = {"sampling_timesteps": STEPS, "resolution": "source"}
_ONLINE = {"online_mode": "true", "overlap_v2": "70"}
_EYES, _LIPS = [11, 13, 15, 16, 18], [6, 12, 14, 17, 19, 20]  # of the 21 points
_PERCENT = 50  # of the crop's side, for 1 in the points' coordinates, which go from -1 to 1 across it
_SHUT = 0.1  # mean change of the eyes' expression, in the middle of the made-up blink
_LOOK = "what it looks like is unseen"

_AT = {angle: f"{angle} of frame {FRAME}, degrees" for angle in ("pitch", "yaw", "roll")}
_MOVE = "points move, % of the crop's side"
_SPEED = "head speed, degrees a frame"
_SOUND = "sound before the first frame, s"
_LIPS_CHANGE = "lips' expression, mean change from the source"
_EYES_CHANGE = "eyes' expression, mean change from the source"
_RUNS = "runs of the motion model"
_LAST = "pitch of the last frame, degrees"
_BEGIN = "lips' expression in the first 2 s, mean change from the source"
_STEP = "largest step of the points between two frames, % of the crop's side"
_BLINKS = "blinks in the clip"
_FIRST = "expression of the first frame, mean change from the source"
_MOVE_AT = f"points of frame {FRAME} move, % of the crop's side"
_END = "lips' expression in the last 2 s, mean change from the source"


def _blink() -> list[list[float]]:
    """Nine frames in which the eyes' expression goes and comes back."""
    rows = np.zeros((9, 21, 3))
    rows[:, _EYES] = 0.1 * (1 - np.cos(np.linspace(0, 2 * np.pi, 9)))[:, None, None]
    return rows.reshape(9, 63).tolist()


def _character() -> dict[str, Any]:
    """Another made-up character."""
    key = "shared/effects/other"
    info = {name: rows.tolist() for name, rows in kit.x_info(key).items()}
    sc = info.pop("kp")[0]
    eyes = {"eye_open": eyes_open(key).tolist(), "eye_ball": eye_balls(key).tolist()}
    return {**info, **eyes, "sc": sc}


_ARRAY = {"delta_eye_arr": json.dumps(_blink())}
TRIALS = (
    trial("seed", "7", _MOVE),
    trial("smo_k_d", "25", _SPEED),
    trial("sampling_timesteps", "10", _RUNS),
    trial("sampling_timesteps", "10", _MOVE, note=_LOOK),
    trial("overlap_v2", "40", _RUNS),
    trial("overlap_v2", "0", _STEP),
    trial("overlap_v2", "75", _SOUND, beside=_ONLINE, shown="75 in place of 70"),
    trial("fix_kp_cond", "1", _MOVE, note=_LOOK),
    trial("fix_kp_cond_dim", "0,202", _MOVE, beside={"fix_kp_cond": "1"}, note=_LOOK),
    trial("v_min_max_for_clip", json.dumps([[-0.1] * 265, [0.1] * 265]), _LIPS_CHANGE,
          shown="-0.1 and 0.1 in all columns"),
    trial("ch_info", _character(), _MOVE, shown="another made-up face", note=_LOOK),
    trial("chunksize", "2,5,1", _SOUND, beside=_ONLINE,
          note="what more context does is unseen: the stand-in for HuBERT hears every frame alone"),
    trial("online_mode", "true", _SOUND, beside={"overlap_v2": "70"}),
    trial("low_latency", "true", _SOUND, beside=_ONLINE),
    trial("emo", "happy", _MOVE, note=_LOOK),
    trial("drive_eye", "false", _EYES_CHANGE),
    trial("delta_eye_arr", _ARRAY["delta_eye_arr"], _EYES_CHANGE, shown="nine rows, a made-up blink"),
    trial("delta_eye_open_n", "25", _BLINKS, beside=_ARRAY),
    trial("eye_f0_mode", "true", _MOVE, "video", note=_LOOK),
    trial("use_d_keys", "exp", _SPEED),
    trial("delta_pitch", "5", "mean pitch, degrees"),
    trial("delta_yaw", "5", "mean yaw, degrees"),
    trial("delta_roll", "5", "mean roll, degrees"),
    trial("overall_ctrl_info", '{"delta_yaw": 5}', "mean yaw, degrees"),
    trial("corrected_controls", "true", "mean pitch, degrees",
          beside={"overall_ctrl_info": '{"alpha_pitch": 0.5}'}),
    trial("ctrl_info", '{"100": {"delta_yaw": 10}}', _AT["yaw"]),
    trial("fade_in", "50", _BEGIN),
    trial("fade_out", "50", _END),
    trial("fade_type", "d0", _LAST, beside={"fade_out": "50", "fade_out_keys": "pitch", "delta_pitch": "5"}),
    trial("N_d", "100", _END, beside={"fade_out": "50"}),
    trial("fade_out_keys", "pitch", _LAST, beside={"fade_out": "50", "delta_pitch": "5"}),
    trial("relative_d", "false", _FIRST),
    trial("flag_stitching", "false", _MOVE, note=_LOOK),
)  # fmt: skip

MODES: tuple[dict[str, Any], ...] = (
    {"overlap_v2": 10},
    *({"online_mode": True, "overlap_v2": overlap} for overlap in (10, 30, 70, 75)),
    *({"online_mode": True, "overlap_v2": overlap, "low_latency": True} for overlap in (70, 75)),
    {"online_mode": True, "overlap_v2": 70, "low_latency": True, "chunksize": [2, 5, 1]},
)

_SIZE_AT = f"lips' expression of frame {FRAME}, mean size"
_CHANGE_AT = f"expression of frame {FRAME}, mean change from the source"
CONTROLS = (
    *(control(f"delta_{angle}", 10, _AT[angle]) for angle in _AT),
    *(control(f"alpha_{angle}", 0.5, _AT[angle]) for angle in _AT),
    control("alpha_exp", 0.5, _SIZE_AT),
    control("delta_exp", 0.1, _MOVE_AT),
    control("vad_alpha", 0, _CHANGE_AT),
    control("fade_alpha", 0, _CHANGE_AT),
    control("fade_out_keys", ["yaw"], _AT["yaw"], {"fade_alpha": 0}),
)


def _apart(a: Run, b: Run, frames: slice = slice(None)) -> float:
    """How far the points of two clips are apart in the picture."""
    apart = (a.moved.points - b.moved.points)[frames, :, :2]
    return float(np.linalg.norm(apart, axis=-1).mean() * _PERCENT)


def _largest_step(run: Run) -> float:
    steps = np.linalg.norm(np.diff(run.moved.points, axis=0)[..., :2], axis=-1).mean(1)
    return float(steps.max() * _PERCENT)


def _speed(run: Run) -> float:
    angles = np.stack(list(run.moved.angles.values()))
    return float(np.abs(np.diff(angles)).sum(0).mean())


def _change(run: Run, points: Sequence[int], frames: slice = slice(None)) -> float:
    """Of these points' expression against the source's."""
    return float(np.abs(run.moved.change[frames, points]).mean())


def _blinks(run: Run) -> float:
    shut = np.abs(run.moved.change[:, _EYES]).mean((1, 2)) > _SHUT
    return float(np.count_nonzero(shut[1:] & ~shut[:-1]))


def _mean(angle: str) -> Callable[[Run], float]:
    return lambda run: float(run.moved.angles[angle].mean())


def _at(angle: str) -> Callable[[Run], float]:
    return lambda run: float(run.moved.angles[angle][FRAME])


_TRIED, _ALL = slice(FRAME, FRAME + 1), range(21)
MEASURES: Measures[Run] = Measures(
    of_one={
        _SPEED: _speed,
        _SOUND: lambda run: run.sound,
        _RUNS: lambda run: float(run.moved.calls),
        _STEP: _largest_step,
        _LIPS_CHANGE: lambda run: _change(run, _LIPS),
        _EYES_CHANGE: lambda run: _change(run, _EYES),
        _BEGIN: lambda run: _change(run, _LIPS, slice(2 * FPS)),
        _END: lambda run: _change(run, _LIPS, slice(-2 * FPS, None)),
        _FIRST: lambda run: _change(run, _ALL, slice(1)),
        _CHANGE_AT: lambda run: _change(run, _ALL, _TRIED),
        _SIZE_AT: lambda run: float(np.abs(run.moved.exp[FRAME].reshape(21, 3)[_LIPS]).mean()),
        _BLINKS: _blinks,
        _LAST: lambda run: float(run.moved.angles["pitch"][-1]),
        **{f"mean {angle}, degrees": _mean(angle) for angle in _AT},
        **{name: _at(angle) for angle, name in _AT.items()},
    },
    of_two={_MOVE: _apart, _MOVE_AT: lambda a, b: _apart(a, b, _TRIED)},
)


def measure(bench: Bench, options: Collection[str]) -> dict[str, list[Record]]:
    """The trials of these options -> by option what was found."""
    return measured([each for each in TRIALS if each.name in options], bench.run, MEASURES, _ALWAYS)


def measure_controls(bench: Bench, fields: Collection[str], corrected: bool) -> dict[str, list[Record]]:
    """The controls of a single frame, as upstream has them or corrected -> by field what was found."""
    chosen = [each for each in CONTROLS if each.name in fields]
    return measured(chosen, bench.run, MEASURES, {**_ALWAYS, "corrected_controls": corrected})


def measure_latency(bench: Bench) -> list[dict[str, Any]]:
    """Sound that must be heard before the first frame comes, in seconds."""
    found = []
    for values in MODES:
        options = parse_options({**_ALWAYS, **values})
        found.append({"values": values, "sound": round(bench.run("portrait", options).sound, 3)})
    return found
