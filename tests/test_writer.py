"""Video out: what is in the file, that it appears whole or not at all, and what is refused."""

import errno
import os
import resource
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from core.errors import BadAudio, BadOption, BadPath, Cancelled, EncodeFailed
from core.media.audio import AudioLimits, read_audio
from core.media.writer import VideoWriter
from core.types import AudioChunk
from tests.sounds import speech_like, write_encoded, write_wav


def pictures(count: int, size: tuple[int, int] = (64, 48)) -> Iterator[np.ndarray]:
    """A bright square that moves over a gradient."""
    width, height = size
    ground = np.linspace(0, 200, width, dtype=np.uint8)[None, :, None].repeat(height, 0).repeat(3, 2)
    for index in range(count):
        rgb = ground.copy()
        rgb[5:20, (at := 2 * index % (width - 15)) : at + 15] = (230, 60, 90)
        yield rgb


def make(path: Path, count: int, audio: Path | Iterator[AudioChunk] | None = None) -> Path:
    with VideoWriter(path, (64, 48), audio=audio) as writer:
        for rgb in pictures(count):
            writer.write(rgb)
    return path


def decoded(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def lengths(path: Path) -> tuple[float, float]:
    """Seconds of video and of sound."""
    with av.open(str(path)) as container:
        streams = container.streams.video[0], container.streams.audio[0]
        video, sound = (float(stream.duration * stream.time_base) for stream in streams)
    return video, sound


@pytest.mark.parametrize("count", [1, 2, 25, 63])
@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 37_800, 44_100, 96_000])
def test_sound_is_as_long_as_the_video(tmp_path: Path, count: int, rate: int) -> None:
    """One second of sound: longer and shorter than the video."""
    sound = write_wav(tmp_path / "a.wav", speech_like(1.0, rate, 2), rate)
    path = make(tmp_path / "a.mp4", count, sound)
    assert len(decoded(path)) == count
    assert lengths(path) == pytest.approx((count / 25, count / 25), abs=1e-3)


@pytest.mark.parametrize("rate", [16_000, 24_000, 44_100, 96_000])
def test_sound_is_in_time_and_keeps_its_rate(tmp_path: Path, rate: int) -> None:
    sound = write_wav(tmp_path / "a.wav", speech_like(2.0, rate), rate)
    path = make(tmp_path / "a.mp4", 50, sound)
    got = read_audio(path, AudioLimits())[:32_000]
    want = read_audio(sound, AudioLimits())
    shifts = [np.corrcoef(got[100:-100], np.roll(want, shift)[100:-100])[0, 1] for shift in range(-60, 61)]
    assert abs(int(np.argmax(shifts)) - 60) <= 1
    assert max(shifts) > 0.98
    with av.open(str(path)) as container:
        assert container.streams.audio[0].rate == min(rate, 48_000)
        assert container.streams.audio[0].codec_context.name == "aac"


def test_stereo_stays_stereo_and_5_1_becomes_stereo(tmp_path: Path) -> None:
    for channels in (2, 6):
        silent_right = speech_like(1.0, 48_000, channels)
        silent_right[1:] = 0
        sound = write_wav(tmp_path / "a.wav", silent_right, 48_000)
        with av.open(str(make(tmp_path / "a.mp4", 25, sound))) as container:
            both = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
        assert both.shape[0] == 2
        power = (both**2).mean(1)
        assert power[0] > 1e-4
        assert (power[1] < 1e-2 * power[0]) == (channels == 2)  # a WAV of six names no speakers: averaged


@pytest.mark.parametrize(
    ("speaker", "left", "right"), [(0, 1, 0), (1, 0, 1), (2, 0.707, 0.707), (3, 0, 0), (4, 0.707, 0)]
)
def test_5_1_is_folded_by_its_speakers(tmp_path: Path, speaker: int, left: float, right: float) -> None:
    """Front left, front right, centre, low frequencies, back left."""
    sound = np.zeros((6, 48_000))
    sound[speaker] = 0.3 * np.sin(np.arange(48_000) * 0.05)
    path = make(tmp_path / "a.mp4", 25, write_encoded(tmp_path / "a.m4a", sound, 48_000))
    with av.open(str(path)) as container:
        both = np.concatenate([frame.to_ndarray() for frame in container.decode(audio=0)], axis=1)
    level = np.sqrt(2 * (both[:, 5_000:40_000] ** 2).mean(1)) / 0.3 * (1 + 2 * 0.707)
    assert level == pytest.approx([left, right], abs=0.03)


def test_chunks_as_sound(tmp_path: Path) -> None:
    sound = speech_like(1.0)[0].astype(np.float32)
    chunks = (AudioChunk(sound[at : at + 1_000], at) for at in range(0, 16_000, 1_000))
    path = make(tmp_path / "a.mp4", 25, chunks)
    assert np.corrcoef(read_audio(path, AudioLimits())[:16_000], sound)[0, 1] > 0.98


def test_encoded_sound(tmp_path: Path) -> None:
    sound = write_encoded(tmp_path / "a.mp3", speech_like(1.0, 44_100, 2), 44_100)
    assert lengths(make(tmp_path / "a.mp4", 20, sound)) == pytest.approx((0.8, 0.8), abs=1e-3)


def test_without_sound(tmp_path: Path) -> None:
    with av.open(str(make(tmp_path / "a.mp4", 3))) as container:
        assert not container.streams.audio


def test_colours_do_not_shift(tmp_path: Path) -> None:
    """By readers that mind the tags and by those that do not."""
    colours = np.random.default_rng(0).integers(0, 256, (24, 3), np.uint8)
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (64, 64)) as writer:
        for colour in colours:
            writer.write(np.broadcast_to(colour, (64, 64, 3)))
    capture = cv2.VideoCapture(str(path))
    naive = [capture.read()[1][..., ::-1] for _ in colours]
    capture.release()
    for read in (decoded(path), naive):
        means = np.array([rgb[16:48, 16:48].mean((0, 1)) for rgb in read])
        assert np.abs(means - colours).max() <= 4
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
    assert (frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc) == (6, 1, 1, 1)


@pytest.mark.parametrize("size", [(64, 48), (63, 48), (64, 47), (33, 35)])
def test_picture_survives_and_odd_sides_repeat_the_edge(tmp_path: Path, size: tuple[int, int]) -> None:
    with VideoWriter(tmp_path / "a.mp4", size) as writer:
        for rgb in pictures(5, size):
            writer.write(rgb)
    for want, got in zip(pictures(5, size), decoded(tmp_path / "a.mp4"), strict=True):
        width, height = size
        assert got.shape == (height + height % 2, width + width % 2, 3)
        assert np.abs(got[:height, :width].astype(int) - want).mean() < 5
        assert np.abs(got[:, -1].astype(int) - got[:, width - 1]).mean() < 6


def test_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "a.wav", speech_like(0.5), 16_000)
    first, second = (make(tmp_path / name, 12, sound).read_bytes() for name in ("a.mp4", "b.mp4"))
    assert first == second


def test_index_comes_first_and_tags_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, (64, 48), metadata={"comment": "AI-generated"}) as writer:
        for rgb in pictures(3):
            writer.write(rgb)
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with av.open(str(path)) as container:
        assert container.metadata["comment"] == "AI-generated"
        assert "encoder" not in container.metadata


def test_file_mode_follows_the_umask(tmp_path: Path) -> None:
    previous = os.umask(0o027)
    try:
        assert make(tmp_path / "a.mp4", 1).stat().st_mode & 0o777 == 0o640
    finally:
        os.umask(previous)


def test_name_appears_only_when_the_file_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    with VideoWriter(path, (64, 48)) as writer:
        for rgb in pictures(40):
            writer.write(rgb)
            assert path.read_bytes() == b"old"
        assert all(name.startswith(".") for name in os.listdir(tmp_path) if name != "a.mp4")
    assert os.listdir(tmp_path) == ["a.mp4"]
    assert len(decoded(path)) == 40


@pytest.mark.parametrize("error", [KeyboardInterrupt, Cancelled, GeneratorExit, ValueError])
@pytest.mark.parametrize("count", [0, 1, 60])
def test_interrupted_leaves_nothing(tmp_path: Path, error: type[BaseException], count: int) -> None:
    sound = write_wav(tmp_path / "a.wav", speech_like(3.0), 16_000)
    threads = threading.active_count()
    tasks, handles = len(os.listdir("/proc/self/task")), len(os.listdir("/proc/self/fd"))
    with pytest.raises(error), VideoWriter(tmp_path / "a.mp4", (64, 48), audio=sound) as writer:
        for rgb in pictures(count):
            writer.write(rgb)
        raise error("stop")
    assert os.listdir(tmp_path) == ["a.wav"]
    assert threading.active_count() == threads
    assert len(os.listdir("/proc/self/task")) <= tasks
    assert len(os.listdir("/proc/self/fd")) == handles


def test_closing_twice_is_harmless_and_no_frame_is_an_error(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (64, 48)) as writer:
        writer.write(next(pictures(1)))
        writer.close()
        assert len(decoded(tmp_path / "a.mp4")) == 1
    with pytest.raises(EncodeFailed, match="no frames"), VideoWriter(tmp_path / "b.mp4", (64, 48)):
        pass
    assert os.listdir(tmp_path) == ["a.mp4"]


def test_wrong_frames_are_a_programmers_error(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "a.mp4", (64, 48)) as writer:
        for wrong in (np.zeros((64, 48, 3), np.uint8), np.zeros((48, 64, 3), np.float32)):
            with pytest.raises(ValueError, match="expected uint8"):
                writer.write(wrong)
        writer.write(next(pictures(1)))
    with pytest.raises(ValueError, match="closed"):
        writer.write(next(pictures(1)))


def test_bad_sound_is_found_before_and_while_writing(tmp_path: Path) -> None:
    with pytest.raises(BadAudio):
        VideoWriter(
            tmp_path / "a.mp4", (64, 48), audio=write_wav(tmp_path / "a.wav", np.zeros((1, 0)), 8_000)
        )
    late = np.full((1, 16_000), 0.1)
    late[0, 12_000] = np.nan
    with pytest.raises(BadAudio):
        make(tmp_path / "a.mp4", 25, write_wav(tmp_path / "a.wav", late, 16_000, "f32"))
    assert os.listdir(tmp_path) == ["a.wav"]


def test_places_that_cannot_be_used(tmp_path: Path) -> None:
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "file").write_bytes(b"")
    for place in ("missing/a.mp4", "folder.mp4", "file/a.mp4", "x" * 300 + ".mp4", "a\0b.mp4"):
        with pytest.raises(BadPath) as caught:
            VideoWriter(tmp_path / place, (64, 48))
        assert "\n" not in str(caught.value)
    for place in ("a.avi", "a", "mp4"):
        with pytest.raises(BadOption, match=r"\.mp4"):
            VideoWriter(tmp_path / place, (64, 48))
    assert sorted(os.listdir(tmp_path)) == ["file", "folder.mp4"]


def test_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Root may write everywhere, so the system's answer is given by hand."""

    def refuse(*_: object) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("core.media.mp4.os.open", refuse)
    with pytest.raises(BadPath, match="not writable"):
        VideoWriter(tmp_path / "a.mp4", (64, 48))


def test_full_disk_at_any_point_leaves_nothing(tmp_path: Path) -> None:
    """A limit on the file's size stands in for the disk; noise makes the file grow from the start."""
    noise = np.random.default_rng(0).integers(0, 256, (12, 48, 64, 3), np.uint8)
    sound = write_wav(tmp_path / "a.wav", speech_like(1.0), 16_000)

    def attempt() -> None:
        with VideoWriter(tmp_path / "a.mp4", (64, 48), audio=sound) as writer:
            for rgb in noise:
                writer.write(rgb)

    attempt()
    whole = (tmp_path / "a.mp4").stat().st_size
    (tmp_path / "a.mp4").unlink()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in np.linspace(0, whole - 1, 20).astype(int):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), hard))
        try:
            with pytest.raises(EncodeFailed, match="File too large"):
                attempt()
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert os.listdir(tmp_path) == ["a.wav"]


def test_full_disk_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("core.media.mp4.os.fsync", full)
    with pytest.raises(EncodeFailed, match=r"disk is full: \d+ MiB are free .* no file was written"):
        make(tmp_path / "a.mp4", 3)
    assert os.listdir(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB, where the system lets one be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)]
    try:
        subprocess.run(mount, capture_output=True, check=True)
    except (FileNotFoundError, subprocess.CalledProcessError):
        pytest.skip("a small disk cannot be mounted here")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_full_disk_of_its_own(small_disk: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 48, 64, 3), np.uint8)
    with (
        pytest.raises(EncodeFailed, match="disk is full: 0 MiB"),
        VideoWriter(small_disk / "a.mp4", (64, 48)) as writer,
    ):
        for rgb in noise:
            writer.write(rgb)
    assert os.listdir(small_disk) == []
    assert len(decoded(make(small_disk / "a.mp4", 5))) == 5  # the space is free again


def test_nothing_reaches_stderr(tmp_path: Path) -> None:
    program = (
        "import sys, pathlib, numpy as np\n"
        "from core.media.writer import VideoWriter\n"
        "with VideoWriter(pathlib.Path(sys.argv[1]), (64, 48), audio=pathlib.Path(sys.argv[2])) as writer:\n"
        "    [writer.write(np.zeros((48, 64, 3), np.uint8)) for _ in range(5)]\n"
    )
    sound = write_wav(tmp_path / "a.wav", speech_like(0.2), 16_000)
    run = [sys.executable, "-c", program, tmp_path / "a.mp4", sound]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
