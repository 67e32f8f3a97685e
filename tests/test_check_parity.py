"""The parity checker itself: it reads a kit, tells what is beyond its limit, and writes what it computed."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from scripts import check_parity
from tests.ditto import GOLDEN, manifest


@pytest.fixture
def kit(tmp_path: Path) -> Path:
    """The numbers that the tests have, laid out as a kit."""
    (tmp_path / "golden").mkdir()
    for file in ("steps_keypoint.npz", "steps_condition.npz", "steps_putback.npz", "steps_loader.json"):
        shutil.copy(GOLDEN / file, tmp_path / "golden")
    (tmp_path / "manifest.json").write_text(json.dumps(manifest()))
    return tmp_path


def checked(kit: Path, capsys: pytest.CaptureFixture[str], *more: str) -> tuple[int, dict]:
    code = check_parity.main(["--kit", str(kit), "--only", "steps", "--json", *more])
    return code, json.loads(capsys.readouterr().out.splitlines()[-1])


def test_equal_numbers_pass_and_can_be_dumped(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, report = checked(kit, capsys, "--dump", str(kit / "ours"))
    assert code == 0
    assert report["ok"]
    assert {one["file"] for one in report["findings"]} == {path.name for path in (kit / "golden").iterdir()}
    with (
        np.load(kit / "ours" / "steps_keypoint.npz") as ours,
        np.load(GOLDEN / "steps_keypoint.npz") as theirs,
    ):
        np.testing.assert_allclose(ours["tk0.out"], theirs["tk0.out"], atol=1e-5)
    assert json.loads((kit / "ours" / "steps_loader.json").read_text())["640 samples"] == 1


def test_one_wrong_number_fails(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with np.load(GOLDEN / "steps_keypoint.npz") as file:
        arrays = dict(file)
    arrays["rot.matrix"] = arrays["rot.matrix"] + np.float32(2e-5)
    np.savez(kit / "golden" / "steps_keypoint.npz", **arrays)
    code, report = checked(kit, capsys)
    assert code == 1
    assert [one["key"] for one in report["findings"] if not one["ok"]] == ["rot.matrix"]


def test_one_wrong_table_entry_fails(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = json.loads((kit / "golden" / "steps_loader.json").read_text())
    table["num_frames(len_samples)"]["640"] = 2
    (kit / "golden" / "steps_loader.json").write_text(json.dumps(table))
    code, report = checked(kit, capsys)
    assert code == 1
    assert [one["key"] for one in report["findings"] if not one["ok"]] == ["640 samples"]


def test_another_salt_is_another_kit(kit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Made-up inputs follow the salt: with these numbers no other one can be right."""
    (kit / "manifest.json").write_text(json.dumps({**manifest(), "salt": "other"}))
    code, report = checked(kit, capsys)
    assert code == 1
    assert report["salt"] == "other"
    assert any(not one["ok"] and one["file"] == "steps_condition.npz" for one in report["findings"])


@pytest.mark.parametrize("content", [None, "no json", "[]", "{}"])
def test_what_is_no_kit_is_refused(
    content: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    assert check_parity.main(["--kit", str(tmp_path)]) == 2
    assert "manifest.json" in capsys.readouterr().err
