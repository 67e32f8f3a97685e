"""The report that a user can send."""

import json
import zipfile
from pathlib import Path

import pytest

from core.doctor import write_report
from core.errors import StoreFailed
from core.settings import Settings


def test_report_has_a_clip_and_says_what_could_not_be_checked(tmp_path: Path) -> None:
    said: list[str] = []
    made = tmp_path / "report.zip"
    settings = Settings(home=tmp_path / "home", models=tmp_path / "models")
    write_report(made, settings, said.append)
    assert said == ["lite: a clip", "ditto: a clip"]
    with zipfile.ZipFile(made) as archive:
        report = json.loads(archive.read("report.json"))
        assert archive.read("lite.mp4")[4:8] == b"ftyp"
    lite = report["engines"]["lite"]
    assert lite["frames"] == 200
    assert len(lite["ffd_ms"]) == len(lite["rtf"]) == 2
    assert "not run" in report["engines"]["ditto"]
    assert "not checked" in report["parity"]
    assert len(report["checkpoints"]["ditto-onnx"]["missing"]) > 10
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["report.zip"]


def test_a_report_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(StoreFailed, match="Cannot write"):
        write_report(tmp_path / "no" / "report.zip", Settings(), lambda text: None)
