"""Lip-sync of a real clip: synthesised speech with known phones, rendered, measured on the pictures."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from inference import main
from scripts.measure_sync import compare, from_phones, lip_gaps
from scripts.phones import load
from scripts.synthesise import main as synthesise
from tests.faces import astronaut_portrait

TEXT = (
    "Bob's blue boat moved past the old mill. Papa may buy a big brown map. "
    "We found five very warm coffees for you, and two new shoes."
)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A clip of the sample portrait, and the phones it speaks."""
    assert shutil.which("flite"), "apt-get install flite"
    folder = tmp_path_factory.mktemp("sync")
    wav, phones, portrait, out = (folder / n for n in ("s.wav", "s.json", "p.png", "o.mp4"))
    synthesise(
        ["--engine", "flite", "--voice", "slt", "--text", TEXT, "--out", str(wav), "--phones", str(phones)]
    )
    Image.fromarray(astronaut_portrait()).save(portrait)
    arguments = ["--source_path", str(portrait), "--audio_path", str(wav), "--output_path", str(out)]
    assert main([*arguments, "--resolution", "320"]) == 0
    return out, phones


@pytest.fixture(scope="module")
def measured(clip: tuple[Path, Path]) -> tuple[np.ndarray, np.ndarray]:
    gap, times, _ = lip_gaps(clip[0])
    return gap, times


def test_lips_follow_the_phones(clip: tuple[Path, Path], measured: tuple[np.ndarray, np.ndarray]) -> None:
    gap, times = measured
    sync = compare(gap, from_phones(load(clip[1]), times), times)
    assert sync.r > 0.82
    assert abs(sync.lag_frames) <= 1
    assert sync.bilabial_gap is not None and sync.bilabial_gap < 0.03
    assert sync.open_gap is not None and sync.open_gap > 0.12
    assert sync.silence_gap is not None and sync.silence_gap < 0.025
    assert sync.control["p95"] < 0.35


def test_a_rolled_track_fails_the_same_check(
    clip: tuple[Path, Path], measured: tuple[np.ndarray, np.ndarray]
) -> None:
    gap, times = measured
    reference = from_phones(load(clip[1]), times)
    for roll in (25, 60, 110):
        assert compare(np.roll(gap, roll), reference, times).r < 0.4
    assert abs(compare(np.roll(gap, 5), reference, times).lag_frames - 5) <= 1


def test_phones_are_plain_json(clip: tuple[Path, Path]) -> None:
    row = json.loads(clip[1].read_text())[3]
    assert set(row) >= {"phone", "start", "end"}
