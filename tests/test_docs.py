"""The generated documentation tells the truth about the code and the engine of today."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from core.engines.lite.engine import LiteEngine
from core.option_table import OPTIONS
from core.settings import Settings
from scripts import make_docs
from scripts.effects import OF_ONE, OF_TWO, TRIALS, measure

ROOT = Path(__file__).parent.parent
EFFECTS = json.loads(make_docs.EFFECTS.read_text(encoding="utf-8"))


def test_the_generated_files_are_up_to_date() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "make_docs.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_stale_file_is_noticed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    old = tmp_path / "parameters.md"
    old.write_text(make_docs.PARAMETERS.read_text(encoding="utf-8").replace("crop_scale", "crop_size"))
    monkeypatch.setattr(make_docs, "PARAMETERS", old)
    monkeypatch.setattr(sys, "argv", ["make_docs.py", "--check"])
    assert make_docs.main() == 1
    monkeypatch.setattr(sys, "argv", ["make_docs.py"])
    assert make_docs.main() == 0
    assert old.read_text(encoding="utf-8") == make_docs.parameters(EFFECTS)


def test_every_option_that_acts_has_a_measured_effect() -> None:
    assert set(EFFECTS) == LiteEngine.capabilities.acts_on == {trial.option for trial in TRIALS}
    assert {trial.measure for trial in TRIALS} == {*OF_ONE, *OF_TWO}
    for name, found in EFFECTS.items():
        assert found["before"] != found["after"], f"{name} has no effect"


def test_the_numbers_are_those_of_todays_engine() -> None:
    names = ("emo", "delta_yaw", "delta_eye_open_n", "use_d_keys", "resolution", "max_size")
    for name, found in measure(names).items():
        assert found["after"] == pytest.approx(EFFECTS[name]["after"], abs=0.05), name


def test_the_tables_name_every_option_setting_and_error() -> None:
    parameters = make_docs.PARAMETERS.read_text(encoding="utf-8")
    readme = make_docs.README.read_text(encoding="utf-8")
    assert all(f"| `{name}` |" in parameters for name in OPTIONS)
    assert all(f"| `VISAVIS_{name.upper()}` |" in readme for name in Settings.model_fields)
    assert "| `no_face` | 2 | no usable face in the portrait |" in readme


def test_cells_with_bars_stay_in_their_column() -> None:
    assert make_docs.table(("a",), [("x | y",)]).splitlines()[2] == "| x \\| y |"


def test_values_are_shown_as_they_are_typed() -> None:
    shown = make_docs.shown
    assert [shown(v) for v in ([[4]], ["exp"], None, True, "", 2.5, {})] == [
        "4",
        "exp",
        "none",
        "true",
        '""',
        "2.5",
        "{}",
    ]
