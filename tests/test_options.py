"""One table, strict: wrong values are named with their range."""

import numpy as np
import pytest

from core.errors import BadOption
from core.option_table import OPTIONS, PRESETS, check_frames, flat, parse_options
from core.options import GenerationOptions


def test_defaults_are_dittos() -> None:
    values = flat(parse_options({}))
    assert values["crop_scale"] == 2.3
    assert values["crop_vy_ratio"] == -0.125
    assert values["smo_k_s"] == 13
    assert values["emo"] == [[4]]
    assert parse_options({}) == GenerationOptions()


def test_text_and_values_mean_the_same() -> None:
    text = {"crop_scale": "2.5", "crop_flag_do_rot": "false", "emo": "happy", "drive_eye": "none",
            "use_d_keys": '{"exp": 1, "pitch": 0.5}', "delta_eye_open_n": "30,40", "resolution": 320,
            "fade_out_keys": "exp, pitch", "ctrl_info": '{"3": {"delta_pitch": 4}}'}  # fmt: skip
    real = {"crop_scale": 2.5, "crop_flag_do_rot": False, "emo": 3, "drive_eye": None,
            "use_d_keys": {"exp": 1.0, "pitch": 0.5}, "delta_eye_open_n": [30, 40], "resolution": "320",
            "fade_out_keys": ("exp", "pitch"), "ctrl_info": {3: {"delta_pitch": 4.0}}}  # fmt: skip
    assert parse_options(text) == parse_options(real)


def test_flat_is_read_back() -> None:
    options = parse_options(
        {"emo": [[3], [4, 5]], "use_d_keys": ["exp"], "ctrl_info": {0: {"fade_alpha": 0.5}}}
    )
    assert parse_options(flat(options)) == options


@pytest.mark.parametrize(
    ("value", "rows"),
    [(3, ((3,),)), ("happy", ((3,),)), ("3", ((3,),)), ("Sad,happy", ((5, 3),)), ([3, 4], ((3, 4),)),
     ([[3], ["sad", 4]], ((3,), (5, 4)))],
)  # fmt: skip
def test_emotions(value: object, rows: tuple) -> None:
    assert parse_options({"emo": value}).expression.emo == rows


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"crop_scale": 9}, "1.2 .. 5"),
        ({"crop_scale": float("nan")}, "finite"),
        ({"emo": 9}, "9 is no emotion"),
        ({"emo": "hapy"}, "'hapy' is no emotion"),
        ({"emo": []}, "empty"),
        ({"emo": True}, "no emotion"),
        ({"crop_scal": 1}, "Did you mean 'crop_scale'?"),
        ({"zzz": 1}, "Unknown option 'zzz'"),
        ({"seed": "x"}, "0 .. 4294967295"),
        ({"resolution": 99}, "320 | 512 | source"),
        ({"ctrl_info": "{"}, "not JSON"),
        ({"ctrl_info": {"2": {"delta_pitch": 99}}}, "2.delta_pitch"),
        ({"ctrl_info": {"2": {"nod": 1}}}, "2.nod"),
        ({"ctrl_info": {"-1": {}}}, "ctrl_info"),
        ({"delta_eye_open_n": -4}, "greater than or equal to -1 (given: '-4')"),
        ({"delta_eye_open_n": "5,20"}, "greater than or equal to 10 (given: '5')"),
        ({"delta_eye_open_n": [20, 9]}, "greater than or equal to 10 (given: '9')"),
        ({"delta_eye_open_n": []}, "list of gaps is empty"),
        ({"delta_eye_open_n": "[]"}, "list of gaps is empty"),
        ({"delta_eye_open_n": "x"}, "valid integer"),
        ({"crop_flag_do_rot": "maybe"}, "true | false"),
        ({"use_d_keys": "nose"}, "use_d_keys"),
    ],
)
def test_wrong_values_are_named(given: dict, says: str) -> None:
    with pytest.raises(BadOption) as caught:
        parse_options(given)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_presets() -> None:
    assert parse_options({}, "fast").crop.max_size == 512
    assert parse_options({"max_size": 900}, "fast").crop.max_size == 900
    with pytest.raises(BadOption, match="default, fast, balanced, quality"):
        parse_options({}, "best")
    assert all(name in OPTIONS for preset in PRESETS.values() for name in preset)


def test_every_option_says_what_it_is() -> None:
    for spec in OPTIONS.values():
        assert spec.help, spec.name
        assert spec.range, spec.name


def test_lists_come_as_text_too() -> None:
    assert parse_options({"emo": '[["happy"], ["sad", 0]]'}).expression.emo == ((3,), (5, 0))
    assert parse_options({"emo": "[[3],[5]]"}).expression.emo == ((3,), (5,))
    assert parse_options({"delta_eye_open_n": "[30]"}).expression.delta_eye_open_n == (30,)
    assert parse_options({"use_d_keys": "none"}).stitch.use_d_keys is None


@pytest.mark.parametrize("name", ["ctrl_info", "emo"])
def test_json_beyond_reason_is_refused(name: str) -> None:
    with pytest.raises(BadOption, match="nested too deeply"):
        parse_options({name: "[" * 100_000})


def test_what_goes_before_what() -> None:
    """The caller's values, then the preset's, then what an engine brings, then the table's."""
    brought = {"overlap_v2": 70, "sampling_timesteps": 10, "seed": 5}
    options = parse_options({"sampling_timesteps": 7}, "fast", brought)
    assert (options.motion.sampling_timesteps, options.motion.overlap_v2) == (7, 5)
    assert (options.motion.seed, options.crop.crop_scale) == (5, 2.3)
    assert parse_options({}, "default", brought) == parse_options({}, defaults=brought)
    assert parse_options({}, "default", brought).motion.overlap_v2 == 70
    balanced = parse_options({}, "balanced", brought).motion
    assert (balanced.overlap_v2, balanced.sampling_timesteps, balanced.seed) == (10, 50, 5)


@pytest.mark.parametrize(
    ("given", "group", "value"),
    [
        ({"emo": np.eye(8)[:2]}, "expression", tuple(tuple(row) for row in np.eye(8)[:2].tolist())),
        ({"emo": "[[0,0,0,1,0,0,0,0]]"}, "expression", ((0, 0, 0, 1, 0, 0, 0, 0),)),
        ({"emo": np.int64(3)}, "expression", ((3,),)),
        ({"emo": [np.int64(3), 4]}, "expression", ((3, 4),)),
        ({"emo": "[4]"}, "expression", ((4,),)),
        ({"emo": '["happy","sad"]'}, "expression", ((3, 5),)),
        ({"emo": "[happy, sad]"}, "expression", ((3, 5),)),
        ({"use_d_keys": '["exp", "yaw"]'}, "stitch", {"exp": 1.0, "yaw": 1.0}),
        ({"fade_out_keys": '["exp"]'}, "stitch", ("exp",)),
        ({"delta_eye_open_n": [np.int64(30), 40]}, "expression", (30, 40)),
        ({"chunksize": "2,5,1"}, "motion", (2, 5, 1)),
        ({"chunksize": [5, 5, 3]}, "motion", (5, 5, 3)),
        ({"fix_kp_cond_dim": np.array([0, 202])}, "motion", (0, 202)),
        ({"fix_kp_cond_dim": "none"}, "motion", None),
        ({"delta_eye_arr": np.zeros((2, 63), np.float32)}, "expression", ((0.0,) * 63,) * 2),
        ({"v_min_max_for_clip": np.zeros((4, 265))}, "motion", ((0.0,) * 265,) * 2),
    ],
    ids=str,
)  # fmt: skip
def test_arrays_come_as_arrays_lists_and_text(given: dict, group: str, value: object) -> None:
    made = getattr(parse_options(given), group)
    assert getattr(made, next(iter(given))) == value
    again = parse_options(flat(parse_options(given)))
    assert again == parse_options(given), "what is told as JSON means the same"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"emo": list(range(8))}, "1 to 7 emotions, not 8"),
        ({"emo": [[0.5] * 8, [0.5] * 7]}, "array of weights"),
        ({"emo": np.zeros((2, 9))}, r"shape \(2, 9\)"),
        ({"emo": [[0.5] * 8 + [float("nan")]]}, "shape"),
        ({"emo": [[0.5] * 7 + [float("nan")]]}, "not finite"),
        ({"emo": "x" * 3000}, "'x{60}' is no emotion"),
        ({"ctrl_info": {2: {"delta_yaw": 99}}}, r"2\.delta_yaw.*Allowed: -30 \.\. 30"),
        ({"chunksize": "3,5"}, "not 3 numbers"),
        ({"chunksize": (3, 5, 0)}, "greater than or equal to 1"),
        ({"chunksize": (1, 1, 1)}, "sum is 3 frames, not 5 to 20"),
        ({"fix_kp_cond_dim": (5, 5)}, "no stretch"),
        ({"fix_kp_cond_dim": (0, 266)}, "less than or equal to 265"),
        ({"delta_eye_arr": np.zeros((2, 62))}, r"shape \(2, 62\)"),
        ({"v_min_max_for_clip": [[1] * 265, [0] * 265]}, "above the greatest"),
        ({"v_min_max_for_clip": [[0] * 265] * 3}, "3 rows, not 2 or 4"),
        ({"ch_info": {"scale": [[1]]}}, "lacks pitch"),
        ({"ch_info": 3}, "no character"),
        ({"ch_info": {"x_s_info_lst": 3}}, "x_s_info_lst"),
        ({"low_latency": True}, "set online_mode"),
        ({"overall_ctrl_info": {"nod": 1}}, "nod"),
        ({"overlap_v2": 80}, "less than or equal to 79"),
        ({"N_d": -2}, "N_d"),
    ],
    ids=str,
)  # fmt: skip
def test_wrong_arrays_are_told(given: dict, says: str) -> None:
    with pytest.raises(BadOption, match=says):
        parse_options(given)


def test_controls_of_frames_that_there_are_not() -> None:
    check_frames(parse_options({"ctrl_info": {9: {}}}), 10)
    with pytest.raises(BadOption, match=r"no frame 10; the clip has 10\. Allowed: frames 0 \.\. 9"):
        check_frames(parse_options({"ctrl_info": [{}] * 12}), 10)
