"""Many clips of one avatar: which files are meant and where they go, and batches as a user runs them."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import av
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import inference
from core import batch
from core.batch import Clip, Outcome, check_inputs_stay, find_sounds, output_folder, plan, table
from core.errors import BadAudio, BadPath
from core.media.mp4 import folder_made
from core.option_values import EMOTIONS
from core.talker import Progress
from tests.faces import astronaut_portrait, no_face
from tests.signals import heeded
from tests.sounds import speech_like

ROOT = Path(__file__).parent.parent


# --- which files are meant


@pytest.fixture
def sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("b.wav", "a.wav", "deep/c.wav", "x[1].wav", "note.txt"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"-")
    (tmp_path / "folder.wav").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        (["b.wav", "a.wav"], ["b.wav", "a.wav"]),  # in the order given
        (["*.wav"], ["a.wav", "b.wav", "x[1].wav"]),  # files alone, by name
        (["**/*.wav"], ["a.wav", "b.wav", "deep/c.wav", "x[1].wav"]),
        (["b.wav", "*.wav", "./b.wav"], ["b.wav", "a.wav", "x[1].wav"]),  # each once
        (["x[1].wav"], ["x[1].wav"]),  # a name, though it looks like a pattern
        (["[ab].wav"], ["a.wav", "b.wav"]),
        (["none.wav"], ["none.wav"]),  # told when it is opened
    ],
)
def test_names_and_patterns(asked: list[str], found: list[str], sounds: Path) -> None:
    assert [str(path) for path in find_sounds(asked)] == found


def test_a_pattern_without_a_file_is_told(sounds: Path) -> None:
    with pytest.raises(BadPath, match=r"'\*\.mp3'"):
        find_sounds(["a.wav", "*.mp3"])


@pytest.mark.parametrize(
    ("output", "several", "folder"),
    [
        ("out.mp4", False, None), ("out", False, None), ("", False, None), ("out/", False, "out"),
        ("out.d/", True, "out.d"), ("out", True, "out"), ("deep", False, "deep"),
        ("folder.wav", True, "folder.wav"),
    ],
)  # fmt: skip
def test_when_the_output_is_a_folder(output: str, several: bool, folder: str | None, sounds: Path) -> None:
    assert output_folder(output, several) == (Path(folder) if folder else None)


@pytest.mark.parametrize("output", ["out.mp4", ""])
def test_several_clips_need_a_folder(output: str) -> None:
    with pytest.raises(BadPath, match="need a folder"):
        output_folder(output, True)


def test_clips_are_named_after_sound_and_emotion() -> None:
    out, x = Path("out"), Path("a/x.wav")
    assert plan([x], [], out) == [Clip(x, out / "x.mp4")]
    assert plan([x], ["sad", "fear"], out) == [
        Clip(x, out / "x_sad.mp4", "sad"),
        Clip(x, out / "x_fear.mp4", "fear"),
    ]
    same = [x, Path("b/X.mp3"), Path("x-2.wav"), Path("b/y.wav")]
    assert [clip.output.name for clip in plan(same, [], out)] == ["x.mp4", "X-2.mp4", "x-2-2.mp4", "y.mp4"]


NAMES = st.text("xX-2_sad", min_size=1, max_size=6)


@given(st.lists(st.tuples(NAMES, st.sampled_from((".wav", ".mp3"))), unique=True), st.booleans())
def test_no_clip_replaces_another(names: list[tuple[str, str]], all_emotions: bool) -> None:
    paths = [Path("in") / f"{stem}{suffix}" for stem, suffix in names]
    emotions = EMOTIONS if all_emotions else ()
    clips = plan(paths, emotions, Path("out"))
    assert [(clip.sound, clip.emotion) for clip in clips] == [
        (path, emotion) for path in paths for emotion in emotions or ("",)
    ]
    assert len({str(clip.output).casefold() for clip in clips}) == len(clips)
    assert all(clip.output.parent == Path("out") and clip.output.suffix == ".mp4" for clip in clips)


def test_an_output_that_is_a_source_is_refused(sounds: Path) -> None:
    os.link("a.wav", "same.mp4")
    check_inputs_stay([Path("new.mp4"), Path("b.wav")], [Path("a.wav"), Path("none.wav")])
    with pytest.raises(BadPath, match=r"same\.mp4"):
        check_inputs_stay([Path("new.mp4"), Path("same.mp4")], [Path("b.wav"), Path("a.wav")])


def test_a_folder_that_stays_empty_goes_again(sounds: Path) -> None:
    with pytest.raises(BadAudio), folder_made(Path("deep/new/er")):
        assert Path("deep/new/er").is_dir()
        raise BadAudio("No.")
    assert not Path("deep/new").exists()
    with folder_made(Path("deep/new/er")):
        Path("deep/new/er/clip").touch()
    assert Path("deep/new/er/clip").exists()
    with folder_made(Path("folder.wav")):
        pass
    assert Path("folder.wav").is_dir()
    with pytest.raises(BadPath, match="cannot be made"), folder_made(Path("a.wav/sub")):
        pass


def test_the_table_is_one_line_a_clip() -> None:
    bad = Outcome(Clip(Path("x.wav"), Path("a\nb\x1b.mp4")), error=BadAudio("'x.wav' is empty.")).figures()
    good = {"output": "out/long_name.mp4", "frames": 25, "duration_s": 1.0, "rtf": 0.314}
    assert table([good, bad]).splitlines() == [
        "file               frames  seconds    RTF",
        "out/long_name.mp4      25     1.00   0.31",
        "a b?.mp4           error: 'x.wav' is empty.",
    ]


def test_progress_names_the_clip_of_several() -> None:
    shown: list[tuple[float | None, str]] = []

    def show(fraction: float | None, stage: str) -> None:
        shown.append((fraction, stage))

    clips = [Clip(Path("a.wav"), Path("out/a.mp4")), Clip(Path("b.wav"), Path("out/b.mp4"))]
    failure = Outcome(clips[0], error=BadAudio("No."))

    def steps(*given: Progress | Outcome) -> Iterator[Progress | Outcome]:
        yield from given

    half = Progress("frames", 0.5, 1.0)
    inference._work(steps(half, failure, half), clips, show)
    inference._work(steps(half), clips[:1], show)
    assert shown == [(0.5, "a.mp4 (1/2) frames"), (0.5, "b.mp4 (2/2) frames"), (0.5, "frames")]


# --- batches from the command line


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    Image.fromarray(astronaut_portrait()).save(folder / "portrait.png")
    Image.fromarray(no_face()).save(folder / "cat.png")
    soundfile.write(folder / "a.wav", speech_like(0.4)[0], 16_000)
    (folder / "bad.wav").touch()
    soundfile.write(folder / "c.wav", speech_like(0.2)[0], 16_000)
    soundfile.write(folder / "long.wav", speech_like(40.0)[0], 16_000)
    return folder


def arguments(media: Path, out: Path | str, *audio: str, source: str = "portrait.png") -> list[str]:
    given = ["--engine", "lite", "--resolution", "320", "--source_path", str(media / source)]
    return [*given, "--audio_path", *(str(media / name) for name in audio), "--output_path", str(out)]


def frames(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_a_clip_that_fails_does_not_stop_the_others(
    media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "clips"
    code = inference.main([*arguments(media, out, "a.wav", "bad.wav", "c.wav"), "--overlap_v2", "20"])
    told = capsys.readouterr()
    assert code == BadAudio.exit_code
    head, first, second, third, summary = told.out.splitlines()
    assert head.split() == ["file", "frames", "seconds", "RTF"]
    assert first.split()[:3] == [str(out / "a.mp4"), "10", "0.40"]
    assert second.startswith(str(out / "bad.mp4")) and "error: 'bad.wav' is empty" in second
    assert third.split()[:3] == [str(out / "c.mp4"), "5", "0.20"]
    assert summary.startswith("clips: 2 made, 1 failed, engine lite")
    assert told.err == "note: Option 'overlap_v2' has no effect with engine 'lite'.\n"
    assert sorted(path.name for path in out.iterdir()) == ["a.mp4", "c.mp4"]
    assert (frames(out / "a.mp4"), frames(out / "c.mp4")) == (10, 5)


def test_all_emotions_in_one_json(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert inference.main([*arguments(media, tmp_path, "c.wav"), "--all_emotions", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["failed"] == 0 and result["engine"] == "lite" and "error" not in result
    assert {"register_ms", "load_ms", "resolution", "seed", "files", "warnings"} <= set(result)
    assert [clip["emotion"] for clip in result["clips"]] == list(EMOTIONS)
    for clip in result["clips"]:
        assert clip["output"] == str(tmp_path / f"c_{clip['emotion']}.mp4")
        assert (clip["sound"], clip["frames"]) == (str(media / "c.wav"), 5)
    happy, angry = (tmp_path / f"c_{emotion}.mp4" for emotion in ("happy", "angry"))
    assert happy.read_bytes() != angry.read_bytes()
    alone = tmp_path / "alone.mp4"
    assert inference.main([*arguments(media, alone, "c.wav"), "--emo", "happy"]) == 0
    assert alone.read_bytes() == happy.read_bytes()


def test_one_clip_into_a_folder(media: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new"
    assert inference.main(arguments(media, f"{out}/", "[c].wav")) == 0
    assert capsys.readouterr().out.startswith(f"{out / 'c.mp4'}: 5 frames, 0.20 s, 320x320, engine lite")


@pytest.mark.parametrize(
    ("out", "audio", "extra", "says"),
    [
        ("out.mp4", ("a.wav", "c.wav"), (), "Several clips need a folder, not 'out.mp4'"),
        ("out/", ("none*.wav",), (), "No file matches"),
        ("out/", ("bad.wav",), (), "empty"),
        ("out/", ("a.wav",), ("--all_emotions", "--emo", "sad"), "--all_emotions leaves no choice of 'emo'"),
        ("out/", ("a.wav", "c.wav"), ("--source_path", "{media}/cat.png"), "face"),
        ("taken.mp4/sub/", ("a.wav", "c.wav"), (), "cannot be made"),
        ("out/", ("a.wav", "{tmp}/out2/a.mp4"), ("--output_path", "{tmp}/out2/"), "made from"),
    ],
)
def test_what_is_wrong_with_a_batch(
    out: str,
    audio: tuple[str, ...],
    extra: tuple[str, ...],
    says: str,
    media: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken.mp4").touch()
    (tmp_path / "out2").mkdir()
    (tmp_path / "out2" / "a.mp4").touch()
    places = {"media": media, "tmp": tmp_path}
    given = arguments(media, f"{tmp_path}/{out}", *(name.format(**places) for name in audio))
    assert inference.main([*given, *(word.format(**places) for word in extra)]) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1 and says in told.err
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a.mp4", "out2", "taken.mp4"]


def test_an_interrupt_keeps_the_clips_so_far(media: Path, tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "inference.py", *arguments(media, tmp_path, "c.wav", "long.wav", "a.wav"), "--json"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heeded,
    )
    try:
        deadline = time.monotonic() + 60
        while (
            not ((tmp_path / "c.mp4").exists() and list(tmp_path.glob(".*"))) and time.monotonic() < deadline
        ):
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGINT)
        stdout, stderr = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert (process.returncode, stderr) == (130, "error: Stopped; nothing half-written is left.\n")
    result = json.loads(stdout)
    assert (result["error"], result["failed"]) == ("cancelled", 0)
    assert [clip["output"] for clip in result["clips"]] == [str(tmp_path / "c.mp4")]
    assert [path.name for path in tmp_path.iterdir()] == ["c.mp4"] and frames(tmp_path / "c.mp4") == 5


def test_what_nobody_foresaw_ends_its_own_clip_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The clips before and after it are made, and the table tells."""

    def broken(*given: object) -> Iterator[Progress]:
        if given[2] == Path("b.wav"):
            raise RuntimeError("surprise")
        yield Progress("mux", 1.0, 0.0)
        return None

    monkeypatch.setattr(batch, "clip", broken)
    clips = [Clip(Path(f"{name}.wav"), tmp_path / f"{name}.mp4") for name in "abc"]
    work = batch.make_clips(None, None, clips, {"": None}, None)
    outcomes = [step for step in work if isinstance(step, Outcome)]
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert "surprise" in str(outcomes[1].error)
