"""The lip-sync measure: it finds shifts exactly, refuses chance, and says what is wrong in one line."""

import json
from pathlib import Path

import av
import numpy as np
import pytest

from core.errors import BadImage, InputError
from scripts.measure_sync import MAX_LAG, compare, from_audio, from_phones, main
from scripts.phones import Phone, letters_of, load, save

FRAMES = 250
TIMES = (np.arange(FRAMES) + 0.5) / 25


def talk(seed: int = 0) -> list[Phone]:
    """Ten seconds of syllables, with a pause after every eighth phone."""
    rng = np.random.default_rng(seed)
    phones, at = [Phone("pau", 0.0, 0.3)], 0.3
    while at < 9.5:
        for name in (rng.choice(["m", "b", "p", "t", "s", "f"]), rng.choice(["aa", "iy", "uw", "eh"])):
            length = float(rng.uniform(0.07, 0.16))
            phones.append(Phone(str(name), at, at + length))
            at += length
        if len(phones) % 9 == 0:
            phones.append(Phone("pau", at, at + 0.4))
            at += 0.4
    return [*phones, Phone("pau", at, 10.0)]


def lips_of(phones: list[Phone], seed: int = 0) -> np.ndarray:
    """A measured gap in eye distances: the reference, softened, with some noise."""
    openness = np.convolve(from_phones(phones, TIMES).openness, [0.2, 0.6, 0.2], "same")
    return 0.24 * openness + np.random.default_rng(seed).normal(0, 0.006, FRAMES) + 0.01


def test_lips_in_time_are_told_from_chance() -> None:
    reference = from_phones(talk(), TIMES)
    sync = compare(lips_of(talk()), reference, TIMES)
    assert sync.r > 0.9 and sync.lag_frames == 0
    assert abs(sync.control["mean"]) < 0.15 and sync.control["p95"] < 0.35
    chance = compare(np.roll(lips_of(talk()), 60), reference, TIMES)
    assert chance.r < 0.35
    stranger = compare(lips_of(talk(5)), reference, TIMES)
    assert stranger.r < 0.5


@pytest.mark.parametrize("shift", [-5, -3, 0, 3, 5])
def test_a_shift_is_found_to_the_frame(shift: int) -> None:
    gap = np.roll(lips_of(talk()), shift)  # positive: the lips come late
    assert compare(gap, from_phones(talk(), TIMES), TIMES).lag_frames == shift


def test_gaps_are_those_of_the_phones() -> None:
    phones = [Phone("pau", 0, 2), Phone("m", 2, 2.2), Phone("aa", 2.2, 2.6), Phone("b", 2.6, 2.7),
              Phone("iy", 2.7, 3.0), Phone("pau", 3, 10)]  # fmt: skip
    gap = np.full(FRAMES, 0.004)
    gap[50:75] = [0.02] * 5 + [0.22] * 10 + [0.04] * 3 + [0.1] * 7
    sync = compare(gap, from_phones(phones, TIMES), TIMES)
    assert sync.bilabial_gap == pytest.approx(0.03) and sync.open_gap == pytest.approx(0.22)
    assert sync.silence_gap == pytest.approx(0.004)


def test_a_mouth_that_never_moves_follows_nothing() -> None:
    sync = compare(np.full(FRAMES, 0.1), from_phones(talk(), TIMES), TIMES)
    assert sync.r == 0 and sync.control == {"mean": 0, "p95": 0}


def test_sound_alone_gives_a_reference() -> None:
    time = np.arange(160_000) / 16_000
    spoken = (np.sin(2 * np.pi * 0.9 * time) > 0.1) * np.sin(2 * np.pi * 700 * time)
    hum = 0.3 * np.sin(2 * np.pi * 50 * time)  # below the speech band
    reference = from_audio((0.3 * spoken + hum).astype(np.float32), TIMES)
    wanted = np.sin(2 * np.pi * 0.9 * TIMES) > 0.1
    assert np.corrcoef(reference.openness, wanted)[0, 1] > 0.95
    sync = compare(0.2 * np.roll(wanted, 3).astype(float), reference, TIMES)
    assert sync.lag_frames == 3 and sync.bilabial_gap is None and sync.open_gap is None
    assert reference.silent.any() and not (reference.silent & wanted).any()


def test_the_same_word_in_three_notations() -> None:
    ends = np.linspace(0, 0.9, 4)
    arpabet, ipa, stressed = ["b", "ay", "ch"], ["b", "aɪ", "tʃ"], ["B", "AY1", "CH"]
    spoken = [
        [
            p.phone
            for p in letters_of([Phone(n, a, b) for n, a, b in zip(names, ends, ends[1:], strict=False)])
        ]
        for names in (arpabet, ipa, stressed)
    ]
    assert spoken[0] == spoken[1] == spoken[2] == ["b", "a", "ɪ", "t", "ʃ"]
    sampa = [Phone("tS", 0, 0.2), Phone("O1", 0.2, 0.4), Phone("#", 0.4, 0.9)]
    assert [p.phone for p in letters_of(sampa)] == ["t", "ʃ", "ɔ", ""]
    palatal = [Phone("y", 0, 0.2), Phone("a", 0.2, 0.4)]  # IPA, so y is a rounded vowel
    assert [p.phone for p in letters_of(palatal)] == ["y", "a"]


def test_too_short_a_clip_is_refused() -> None:
    few = 4 * MAX_LAG - 1
    with pytest.raises(BadImage, match=f"only {few} frames"):
        compare(np.zeros(few), from_phones(talk(), TIMES[:few]), TIMES[:few])


def test_phones_come_back_from_their_file(tmp_path: Path) -> None:
    save(talk(), tmp_path / "x.json")
    assert load(tmp_path / "x.json") == talk()
    (tmp_path / "x.json").write_text('[{"phone": "m"}]')
    with pytest.raises(InputError, match="not a list of phones"):
        load(tmp_path / "x.json")


def blank_video(path: Path) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width = stream.height = 128
        stream.pix_fmt = "yuv420p"
        for _ in range(60):
            frame = av.VideoFrame.from_ndarray(np.full((128, 128, 3), 90, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def complaint(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err.count("\n") == 1
    return said.err


def test_what_cannot_be_measured_is_one_line_and_exit_code_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "no video" in complaint(capsys, str(tmp_path / "none.mp4"))
    (tmp_path / "text.mp4").write_text("no pictures here")
    assert "text.mp4" in complaint(capsys, str(tmp_path / "text.mp4"))
    timed = str(phones_file(tmp_path))
    assert "cannot be decoded" in complaint(capsys, str(tmp_path / "text.mp4"), "--phones", timed)
    video = str(blank_video(tmp_path / "blank.mp4"))
    assert "no sound" in complaint(capsys, video)
    assert "shows a face in 0 of 60" in complaint(capsys, video, "--phones", timed)
    assert "Cannot read the phones" in complaint(capsys, video, "--phones", str(tmp_path / "none.json"))


def phones_file(folder: Path) -> Path:
    path = folder / "phones.json"
    path.write_text(json.dumps([{"phone": "m", "start": 0.1, "end": 0.2}]))
    return path
