"""The portrait and the speech that come with Visavis, and the small scripts around them."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from core.errors import BadOption
from core.media.writer import VideoWriter
from core.samples import PHONES, SPEECH, sample_portrait
from scripts import contact_sheet, demo
from tests.conftest import ROOT


def test_the_sample_portrait_is_a_fresh_square_picture() -> None:
    portrait = sample_portrait()
    assert portrait.shape == (512, 512, 3)
    assert portrait.dtype == np.uint8
    portrait[:] = 0
    assert sample_portrait().any()


def test_the_sample_speech_and_its_phones_agree() -> None:
    assert os.stat(SPEECH).st_size < 400_000
    with wave.open(str(SPEECH)) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (24_000, 1, 2)
        seconds = file.getnframes() / 24_000
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16)
    phones = json.loads(PHONES.read_text())
    assert 6 <= seconds <= 8 == phones[-1]["end"]
    assert all(one["end"] == two["start"] for one, two in pairwise(phones))
    loud = [np.abs(samples[int(p["start"] * 24_000) : int(p["end"] * 24_000)]).mean() for p in phones]
    silent = [p["phone"] == "pau" for p in phones]
    assert np.mean(np.array(loud)[silent]) < 0.1 * np.mean(np.array(loud)[np.invert(silent)])


def test_the_demo_tells_in_one_line_that_it_cannot_write(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "output").write_text("a file where the folder should be")
    monkeypatch.setattr(demo, "OUTPUT", tmp_path / "output")
    assert demo.main() == 2
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: Cannot write '.*portrait.png': .* Free some space or rights there.\n", said)


def test_an_interrupt_of_the_demos_imports_is_told_in_one_line() -> None:
    process = subprocess.Popen(
        [sys.executable, "scripts/demo.py"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a background shell switched it off
    )
    maps = Path(f"/proc/{process.pid}/maps")
    deadline = time.monotonic() + 30
    while "pydantic_core" not in maps.read_text() and time.monotonic() < deadline:
        time.sleep(0.002)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=30)
    assert (process.returncode, stdout) == (130, "")
    assert stderr == "error: Stopped; no file was written.\n"


def test_a_contact_sheet_shows_the_wanted_frames(tmp_path: Path) -> None:
    greys = (0, 60, 120, 180, 240)
    with VideoWriter(tmp_path / "greys.mp4", (64, 64), audio=None) as writer:
        for grey in greys:
            writer.write(np.full((64, 64, 3), grey, np.uint8))
    picture = np.asarray(contact_sheet.sheet(tmp_path / "greys.mp4", [4, 0, 1, 2, 3], 32))
    assert picture.shape == (64, 128, 3)
    seen = [
        picture[row, column].mean() for row, column in ((16, 16), (16, 48), (16, 80), (16, 112), (48, 16))
    ]
    assert np.abs(np.array(seen) - (240, 0, 60, 120, 180)).max() < 6
    with pytest.raises(BadOption, match="no frame 5"):
        contact_sheet.sheet(tmp_path / "greys.mp4", [5], 32)
