"""The generated documentation tells the truth about the code and the engines of today."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.engines.lite.engine import LiteEngine
from core.option_table import OPTIONS, PRESETS
from core.option_values import FrameControl
from core.settings import Settings
from scripts import docs_parameters, effects_ditto, effects_lite, make_docs
from scripts.effects import Measures, Record, Trial
from scripts.effects_bench import Bench
from tests.ditto import manifest

ROOT = Path(__file__).parent.parent
EFFECTS = json.loads(make_docs.EFFECTS.read_text(encoding="utf-8"))
FIELDS = set(FrameControl.model_fields)
HEARD = "sound before the first frame, s"


def named(trials: tuple[Trial, ...]) -> set[str]:
    return {trial.name for trial in trials}


def acting(effects: dict[str, list[Record]]) -> Iterator[str]:
    """The names, each of whose trials has an effect."""
    for name, records in effects.items():
        assert records
        for record in records:
            assert record["before"] != record["after"], f"{name}: no effect on {record['measure']}"
        yield name


def check_measures(measures: Measures[Any], trials: tuple[Trial, ...]) -> None:
    assert {trial.measure for trial in trials} == {*measures.of_one, *measures.of_two}


def same_numbers(found: dict[str, list[Record]], stored: dict[str, list[Record]]) -> None:
    for name, records in found.items():
        for record, expected in zip(records, stored[name], strict=True):
            for when in ("before", "after"):
                assert record[when] == pytest.approx(expected[when], abs=0.05), name


# --- pages


def test_the_generated_files_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("page", "was", "now"),
    [("PARAMETERS", "crop_scale", "crop_size"), ("DITTO", "warp network", "wrap network")],
)
def test_a_stale_file_is_noticed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str, was: str, now: str
) -> None:
    right = getattr(make_docs, page).read_text(encoding="utf-8")
    old = tmp_path / "old.md"
    old.write_text(right.replace(was, now))
    monkeypatch.setattr(make_docs, page, old)
    monkeypatch.setattr(sys, "argv", ["make_docs.py", "--check"])
    assert make_docs.main() == 1
    monkeypatch.setattr(sys, "argv", ["make_docs.py"])
    assert make_docs.main() == 0
    assert old.read_text(encoding="utf-8") == right


def test_a_page_without_its_marks_is_left_alone() -> None:
    assert make_docs.marked("a\n<!-- x -->\nold\n<!-- end of x -->\nb", {"x": "new\n"}) == (
        "a\n<!-- x -->\nnew\n<!-- end of x -->\nb"
    )
    with pytest.raises(ValueError, match="no table between <!-- x -->"):
        make_docs.marked("nothing", {"x": "new\n"})


def test_the_tables_name_every_option_setting_and_error() -> None:
    parameters = make_docs.PARAMETERS.read_text(encoding="utf-8")
    readme = make_docs.README.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in parameters for name in {*OPTIONS, *FIELDS})
    assert all(f"| `VISAVIS_{name.upper()}` |" in readme for name in Settings.model_fields)
    assert "| `no_face` | 2 | no usable face in the portrait |" in readme


def test_presets_are_shown_as_they_act() -> None:
    parameters = make_docs.PARAMETERS.read_text(encoding="utf-8")
    assert "| option | " + " | ".join(f"`{name}`" for name in PRESETS) + " |" in parameters
    assert "| `sampling_timesteps` | 50 | **25** | **50** | **100** | **30** | **10** |" in parameters
    assert "| `overlap_v2` | 10 | **5** | **10** | **20** | **70** | 10 |" in parameters


def test_cells_with_bars_stay_in_their_column() -> None:
    assert docs_parameters.table(("a",), [("x | y",)]).splitlines()[2] == "| x \\| y |"


def test_values_are_shown_as_they_are_typed() -> None:
    shown = docs_parameters.shown
    assert [shown(v) for v in ([[4]], ["exp"], None, True, "", 2.5, {})] == [
        "4",
        "exp",
        "none",
        "true",
        '""',
        "2.5",
        "{}",
    ]


# --- lite


def test_every_option_that_acts_has_a_measured_effect() -> None:
    effects, able = EFFECTS["lite"], LiteEngine.capabilities
    assert set(acting(effects["options"])) == able.acts_on == named(effects_lite.TRIALS)
    assert set(acting(effects["controls"])) == FIELDS - able.idle_controls == named(effects_lite.CONTROLS)
    check_measures(effects_lite.MEASURES, effects_lite.TRIALS + effects_lite.CONTROLS)


def test_the_numbers_are_those_of_todays_engine() -> None:
    names = ("emo", "delta_yaw", "delta_eye_open_n", "use_d_keys", "resolution", "max_size", "N_d")
    with effects_lite.Bench() as bench:
        same_numbers(effects_lite.measure(bench, names), EFFECTS["lite"]["options"])
        same_numbers(effects_lite.measure_controls(bench, FIELDS), EFFECTS["lite"]["controls"])


# --- Ditto


def test_every_option_of_ditto_is_measured_or_told_to_be_unseen() -> None:
    tried, unseen = named(effects_ditto.TRIALS), effects_ditto.UNSEEN
    assert tried | unseen | effects_ditto.NO_MOTION.keys() == set(OPTIONS)
    assert not tried & unseen and not (tried | unseen) & effects_ditto.NO_MOTION.keys()
    assert set(acting(EFFECTS["ditto"]["options"])) == tried
    check_measures(effects_ditto.MEASURES, effects_ditto.TRIALS + effects_ditto.CONTROLS)
    parameters = make_docs.PARAMETERS.read_text(encoding="utf-8")
    assert parameters.count("| unseen |") == len(unseen)


def test_every_control_of_ditto_is_measured_both_ways() -> None:
    upstream, corrected = EFFECTS["ditto"]["controls"], EFFECTS["ditto"]["corrected"]
    assert set(acting(upstream)) == set(acting(corrected)) == FIELDS
    different = {name for name in FIELDS if upstream[name][0]["after"] != corrected[name][0]["after"]}
    assert different == {"alpha_pitch", "alpha_yaw", "alpha_roll", "vad_alpha"}
    for angle in ("pitch", "yaw", "roll"):
        (halved,) = corrected[f"alpha_{angle}"]
        assert halved["after"] == pytest.approx(halved["before"] / 2, abs=0.01), angle


def test_the_numbers_are_those_of_todays_ditto() -> None:
    names = ("drive_eye", "delta_yaw", "fade_out", "low_latency")
    with Bench() as bench:
        same_numbers(effects_ditto.measure(bench, names), EFFECTS["ditto"]["options"])
        controls = ("alpha_pitch",)
        found = effects_ditto.measure_controls(bench, controls, corrected=True)
        same_numbers(found, EFFECTS["ditto"]["corrected"])


def test_low_latency_needs_half_a_second_of_sound() -> None:
    sound = {
        (mode["values"]["overlap_v2"], mode["values"].get("low_latency", False)): mode["sound"]
        for mode in EFFECTS["ditto"]["latency"]
        if "chunksize" not in mode["values"]
    }
    assert sound[70, True] <= 0.5 < sound[70, False] < 1
    assert {record["measure"] for record in EFFECTS["ditto"]["options"]["low_latency"]} == {HEARD}


def test_memory_is_that_of_the_published_networks() -> None:
    for name, network in manifest()["networks"].items():
        entries = network["state_dict"]
        bytes_ = sum(
            math.prod(entry["shape"]) * (8 if entry["kind"] == "zero_int" else 4) for entry in entries
        )
        assert EFFECTS["memory"][name]["weights"] == bytes_, name
        assert EFFECTS["memory"][name]["activations"] > 0
