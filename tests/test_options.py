"""One table, strict: wrong values are named with their range."""

import pytest

from core.errors import BadOption
from core.option_table import OPTIONS, PRESETS, flat, parse_options
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
    with pytest.raises(BadOption, match="fast, balanced, quality"):
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
