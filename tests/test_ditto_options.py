"""Every option of Ditto acts: on the motion of the whole engine, with stand-in networks."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core.atomic_components.motion_stitch import MotionStitch, StitchRules
from core.atomic_components.windows import frame_count
from core.contracts import warnings
from core.engines.ditto.config import Audio2MotionConfig
from core.engines.ditto.engine import DittoEngine
from core.engines.ditto.registration import source_face, source_motion
from core.engines.ditto.rules import Subject, condition_rows
from core.option_table import OPTIONS, parse_options
from core.option_values import MOTION_KEYS, FrameControl
from core.talker import Session
from core.types import AudioChunk, RegisteredAvatar
from scripts.parity.kit import x_info
from tests.fakes import chunks_of
from tests.test_ditto_config import published
from tests.test_ditto_engine import FEW, INSIGHTFACE, Counted, make_bench, portrait, sound

COURSE = [[0.2] * 63, [0.6] * 63, [0.4] * 63]
LIPS, EYES = [6, 12, 14, 17, 19, 20], [11, 13, 15, 16, 18]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DittoEngine, dict[str, Counted]]]:
    with pytest.MonkeyPatch.context() as patch:
        folder: Path = tmp_path_factory.mktemp("files")
        bench = make_bench(folder, patch, without={"blaze_face", "face_mesh"} | INSIGHTFACE)
        engine = bench.engine()
        yield engine, bench.opened
        engine.close()


@pytest.fixture(scope="module")
def engine(made: tuple[DittoEngine, dict[str, Counted]]) -> DittoEngine:
    return made[0]


@pytest.fixture(scope="module")
def avatar(engine: DittoEngine) -> RegisteredAvatar:
    return engine.register(portrait(), parse_options({}).crop)


@pytest.fixture
def points(made: tuple[DittoEngine, dict[str, Counted]], avatar: RegisteredAvatar) -> Any:
    engine, nets = made

    def points(seconds: float = 0.6, **values: object) -> np.ndarray:
        """The driving points of every frame before stitching, (n, 21, 3)."""
        calls = nets["stitch_network"].calls
        calls.clear()
        count = len(list(session(engine, avatar, seconds, values)))
        assert count == frame_count(len(sound(seconds)))
        return np.concatenate([call["kp_driving"] for call in calls])

    return points


def session(engine: DittoEngine, avatar: RegisteredAvatar, seconds: float, values: dict[str, object]) -> Any:
    options = parse_options({**FEW, **values})
    return Session(engine, avatar, options).frames(chunks_of(sound(seconds), 6400))


def motion(engine: DittoEngine, avatar: RegisteredAvatar, seconds: float, **values: object) -> np.ndarray:
    """Rows of motion (n, 265)."""
    options = parse_options({**FEW, **values})
    subject = Subject(source_motion(avatar), source_face(avatar), avatar.is_image)
    driving = engine.driving(subject, options, np.random.default_rng(0))
    return np.stack(list(driving(chunks_of(sound(seconds), 6400))))[driving.lead :]


@pytest.mark.parametrize(
    "values",
    [
        {"overall_ctrl_info": {"delta_pitch": 9}}, {"overall_ctrl_info": '{"alpha_exp": 0}'},
        {"delta_eye_arr": COURSE, "delta_eye_open_n": 10}, {"delta_eye_arr": COURSE},
        {"online_mode": True}, {"online_mode": True, "low_latency": True},
        {"online_mode": True, "overlap_v2": 70}, {"N_d": 8, "fade_out": 4},
        {"emo": [[0.5] * 8]}, {"emo": [[0.0] * 8] * 3 + [[1.0] * 8]},
        {"corrected_controls": True, "overall_ctrl_info": {"alpha_yaw": 0.5}},
    ],
    ids=str,
)  # fmt: skip
def test_options_act(points: Any, values: dict[str, object]) -> None:
    assert np.abs(points() - points(**values)).max() > 1e-4


def test_corrected_controls(points: Any, avatar: RegisteredAvatar) -> None:
    """Upstream multiplies logits, which hardly turns a head, and gives the whole expression to the voice."""

    def turned(**values: object) -> float:
        return float(np.abs(points(overall_ctrl_info={"alpha_yaw": 0.5}, **values) - points(**values)).max())

    assert turned(corrected_controls=True) != pytest.approx(turned(), rel=0.05)
    silent = {"overall_ctrl_info": {"vad_alpha": 0}, "use_d_keys": "exp", "drive_eye": True}
    apart = np.abs(points(use_d_keys="exp", drive_eye=True) - points(**silent)).max((0, 2))
    lips = np.abs(points(use_d_keys="exp", drive_eye=True) - points(**silent, corrected_controls=True)).max(
        (0, 2)
    )
    assert apart[LIPS].min() > 1e-4 and apart[EYES].min() > 1e-4
    assert lips[LIPS].min() > 1e-4 and lips[EYES].max() < 1e-6


def test_chunks_are_heard_as_asked(
    made: tuple[DittoEngine, dict[str, Counted]], avatar: RegisteredAvatar
) -> None:  # fmt: skip
    engine, nets = made
    for chunk, length in (((3, 5, 2), 6480), ("2,5,1", 5200), ([5, 5, 3], 8400)):
        nets["hubert"].calls.clear()
        motion(engine, avatar, 0.4, chunksize=chunk)
        assert {len(call["input_values"][0]) for call in nets["hubert"].calls} == {length}


def test_what_is_asked_goes_before_what_all_frames_have(points: Any) -> None:
    """Nothing, too: 0 takes back what a configuration turns all frames by."""
    turned = {"overall_ctrl_info": {"delta_pitch": 9}}
    assert np.abs(points(**turned) - points()).max() > 1e-2
    np.testing.assert_array_equal(points(**turned, delta_pitch=0), points(delta_pitch=0))


def test_limits_hold(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    free = motion(engine, avatar, 0.4)
    rows = [np.full(265, -0.1), np.full(265, 0.1), np.zeros(265), np.zeros(265)]
    held = motion(engine, avatar, 0.4, v_min_max_for_clip=np.stack(rows))
    np.testing.assert_allclose(held, free.clip(-0.1, 0.1), atol=1e-6)
    assert np.abs(free).max() > 0.3


def test_a_reset_keeps_what_it_shall(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    free = motion(engine, avatar, 4.0, fix_kp_cond=1)
    kept = motion(engine, avatar, 4.0, fix_kp_cond=1, fix_kp_cond_dim=(0, 202))
    whole = motion(engine, avatar, 4.0, fix_kp_cond=1, fix_kp_cond_dim=[0, 265])
    never = motion(engine, avatar, 4.0)
    np.testing.assert_array_equal(whole, never)
    assert np.abs(free[80:] - kept[80:]).max() > 1e-3 < np.abs(never[80:] - kept[80:]).max()


def test_another_character(points: Any, avatar: RegisteredAvatar) -> None:
    """The motion model is told of it, and its size scales the motion."""
    arrays = avatar.arrays
    own = {
        "x_s_info_lst": [{name: arrays[f"x.{name}"] for name in ("scale", *MOTION_KEYS)}],
        "eye_open_lst": [arrays["eye_open"]], "eye_ball_lst": [arrays["eye_ball"]], "sc": arrays["sc"],
    }  # fmt: skip
    np.testing.assert_allclose(points(ch_info=own), points(), atol=1e-5)
    own["x_s_info_lst"][0]["scale"] = 2 * own["x_s_info_lst"][0]["scale"]
    assert np.abs(points(ch_info=own) - points()).max() > 1e-3


def test_a_planned_length_lets_the_end_fade_without_waiting(points: Any) -> None:
    whole = points(fade_out=4, fade_type="s", drive_eye=False)
    planned = points(fade_out=4, fade_type="s", drive_eye=False, N_d=15)
    np.testing.assert_array_equal(whole, planned)
    short = points(fade_out=4, fade_type="s", drive_eye=False, N_d=8)
    assert np.abs(short[7:] - short[7]).max(0)[LIPS].max() < np.abs(whole[:11] - whole[0]).max(0)[LIPS].max()


def test_blinks_are_laid_out_for_the_planned_length(points: Any) -> None:
    plain = points(delta_eye_arr=COURSE, delta_eye_open_n=-1)

    def shut(**values: object) -> list[int]:
        made = points(delta_eye_arr=COURSE, delta_eye_open_n=4, **values)
        return np.flatnonzero(np.abs(made - plain).max((1, 2)) > 1e-4).tolist()

    assert shut() == [5, 6, 12, 13]
    assert shut(N_d=10) == [5, 6], "none begins so late that the gap behind it would not fit"


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        ({}, 3.285), ({"online_mode": True, "overlap_v2": 70}, 0.885),
        ({"online_mode": True, "overlap_v2": 70, "low_latency": True}, 0.485),
        ({"online_mode": True, "overlap_v2": 70, "low_latency": True, "chunksize": (2, 5, 1)}, 0.445),
    ],
    ids=str,
)  # fmt: skip
def test_the_lookahead_is_what_the_first_frame_waits_for(
    engine: DittoEngine, avatar: RegisteredAvatar, values: dict[str, object], seconds: float
) -> None:
    options = parse_options({**FEW, **values})
    assert (engine.lookahead(options) + 640) / 16_000 == pytest.approx(seconds)
    heard = 0

    def counted() -> Iterator[AudioChunk]:
        nonlocal heard
        for chunk in chunks_of(np.resize(sound(), 16_000 * 5), 80):
            heard += len(chunk.samples)
            yield chunk

    with closing(Session(engine, avatar, options).frames(counted())) as made:
        next(made)
    assert heard <= engine.lookahead(options) + 640


def test_what_needs_something_else_is_told(engine: DittoEngine) -> None:
    def told(**values: object) -> tuple[str, ...]:
        return warnings(engine, values, parse_options(values), True)

    assert told(delta_eye_open_n=30) == ("Option 'delta_eye_open_n' has no effect without 'delta_eye_arr'.",)
    assert told(fix_kp_cond_dim=(0, 202)) == (
        "Option 'fix_kp_cond_dim' has no effect without 'fix_kp_cond'.",
    )
    assert told(delta_eye_open_n=30, delta_eye_arr=COURSE, fix_kp_cond=1, fix_kp_cond_dim=(0, 202)) == ()
    assert engine.capabilities.acts_on == set(OPTIONS) - {"render_size"}


def character(avatar: RegisteredAvatar) -> dict[str, Any]:
    """The source as a reference character, rows by name, to be changed."""
    names = ("scale", *MOTION_KEYS)
    made = {name: np.array(avatar.arrays[f"x.{name}"]) for name in names}
    return made | {name: np.array(avatar.arrays[name]) for name in ("eye_open", "eye_ball", "sc")}


def test_what_the_motion_model_is_told_of_a_character(
    made: tuple[DittoEngine, dict[str, Counted]], avatar: RegisteredAvatar
) -> None:
    engine, nets = made
    other = character(avatar)
    other |= {"sc": other["sc"] + 1, "eye_open": other["eye_open"] + 2, "exp": other["exp"] + 3}
    nets["lmdm"].calls.clear()
    motion(engine, avatar, 0.2, ch_info=other)
    call = nets["lmdm"].calls[0]
    np.testing.assert_allclose(call["cond"][0, 0, 1040:], other["sc"], atol=1e-6)
    np.testing.assert_allclose(call["cond"][0, 0, 1032:1034], other["eye_open"][0], atol=1e-6)
    np.testing.assert_allclose(call["cond_frame"][0, 202:], other["exp"][0], atol=1e-6)


def test_a_larger_character_moves_more(points: Any, avatar: RegisteredAvatar) -> None:
    """By its size over the source's; the stand-in's motion itself does not depend on it."""

    def swing(**values: object) -> np.ndarray:
        moved = points(use_d_keys="exp", drive_eye=False, flag_stitching=True, **values)[:, LIPS]
        return moved - moved[:1]

    large = character(avatar)
    large["scale"] = 2 * large["scale"]
    np.testing.assert_allclose(swing(ch_info=large), 2 * swing(), atol=1e-5)
    assert np.abs(swing()).max() > 1e-2


def test_online_all_is_relative_to_the_silence_before(
    made: tuple[DittoEngine, dict[str, Counted]], avatar: RegisteredAvatar, points: Any
) -> None:
    """Offline the first frame is the source itself."""
    _, nets = made

    def first(**values: object) -> float:
        moved = points(use_d_keys="exp", drive_eye=False, **values)[0, LIPS]
        return float(np.abs(moved - nets["stitch_network"].calls[0]["kp_source"][0, LIPS]).max())

    assert first() < 1e-6
    assert first(online_mode=True, overlap_v2=70) > 1e-3
    assert first(online_mode=True, overlap_v2=70, relative_d=False) == pytest.approx(
        first(online_mode=True, overlap_v2=70)
    )


def test_the_silence_before_is_heard_as_upstream_hears_it(
    made: tuple[DittoEngine, dict[str, Counted]], avatar: RegisteredAvatar
) -> None:
    """With chunks of 3, 5, 2, whatever is asked for the sound."""
    engine, nets = made
    nets["hubert"].calls.clear()
    motion(engine, avatar, 0.4, chunksize=(5, 5, 3), online_mode=True, overlap_v2=70)
    lengths = [len(call["input_values"][0]) for call in nets["hubert"].calls]
    assert lengths[:14] == [6480] * 14 and set(lengths[14:]) == {8400}


def test_a_fade_of_the_clip_goes_before_one_of_a_frame(points: Any) -> None:
    """As upstream has it."""
    whole = {"fade_in": 4, "drive_eye": False, "use_d_keys": "exp"}
    single = points(**whole, ctrl_info={2: {"fade_alpha": 0}, 6: {"fade_alpha": 0}})
    apart = np.abs(single - points(**whole)).max((1, 2))
    assert apart[2] == 0 and apart[6] > 1e-4


def test_sessions_on_threads_do_not_meet(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    """One set of weights, four sessions at once: each makes what it makes alone."""
    cases: list[dict[str, object]] = [{"seed": n, "emo": n, "delta_yaw": n} for n in range(4)]

    def pictures(values: dict[str, object]) -> list[bytes]:
        return [frame.rgb.tobytes() for frame in session(engine, avatar, 0.4, values)]

    alone = [pictures(values) for values in cases]
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(pictures, cases)) == alone
    assert len({made[5] for made in alone}) == 4


def test_a_model_is_told_what_it_was_trained_with(engine: DittoEngine, avatar: RegisteredAvatar) -> None:
    """The configuration's flags leave out columns of the condition."""
    subject = Subject(source_motion(avatar), source_face(avatar), avatar.is_image)
    whole = published()["audio2motion_cfg"]
    for flag, width in (("use_emo", 8), ("use_eye_open", 2), ("use_eye_ball", 6), ("use_sc", 63)):
        told = {**whole, flag: False, "audio_feat_dim": 1103 - width}
        rows = condition_rows(subject, parse_options({}), Audio2MotionConfig.model_validate(told))
        assert rows(np.zeros((3, 1024), np.float32), 0).shape == (3, 1103 - width)


def test_blinks_go_on_in_a_clip_longer_than_their_schedule() -> None:
    """Frame 3000 and on go through it again."""
    deltas = np.array([[0.0] * 63, [0.5] * 63], np.float32)
    source = {**x_info("shared/long"), "kp": x_info("shared/long")["kp"]}
    rules = StitchRules({}, drive_eye=True, eye_deltas=deltas, blinks=np.array([0, 1, 0]))
    stage = MotionStitch(source, rules, None)
    driven = x_info("shared/long/driven", with_kp=False)
    shown = [stage(driven, index, FrameControl())[1][0, EYES] for index in (0, 1, 3, 4, 3001)]
    np.testing.assert_array_equal(shown[0], shown[2])
    np.testing.assert_array_equal(shown[1], shown[3])
    assert np.abs(shown[0] - shown[1]).max() > 0.1 and (shown[4] == shown[1]).all()
