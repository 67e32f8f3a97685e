"""Video in: frame times, rotation, odd sizes, limits, damage."""

import math
import os
import struct
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from core.errors import BadImage, BadPath, TalkerError, TooLong
from core.media.video import VideoFile, VideoLimits, open_video
from core.media.writer import VideoWriter
from core.types import AvatarSource
from tests.sounds import speech_like, write_covered, write_encoded, write_wav

LIMITS = VideoLimits()


def numbered(path: Path, count: int, fps: int = 25, size: tuple[int, int] = (32, 48)) -> Path:
    """A video whose frame i is grey of level 2 i; its upper left quarter is 60 brighter."""
    with VideoWriter(path, size, fps=fps) as writer:
        for index in range(count):
            rgb = np.full((size[1], size[0], 3), 2 * index, np.uint8)
            rgb[: size[1] // 2, : size[0] // 2] += 60
            writer.write(rgb)
    return path


def opened(path: Path, limits: VideoLimits = LIMITS) -> VideoFile:
    return open_video(AvatarSource(path=path), limits)


def numbers(frames: Iterable[np.ndarray]) -> list[float]:
    return [float(rgb[-8:, -8:].mean()) / 2 for rgb in frames]


@pytest.mark.parametrize(
    ("fps", "count"), [(25, 50), (30, 60), (24, 48), (50, 90), (60, 61), (10, 20), (12, 1)]
)
def test_frames_are_those_shown_at_25_fps(tmp_path: Path, fps: int, count: int) -> None:
    video = opened(numbered(tmp_path / "a.mp4", count, fps))
    assert video.fps == fps
    assert video.duration_s == pytest.approx(count / fps, abs=1e-3)
    want = [k * fps // 25 for k in range(math.ceil(25 * count / fps))]
    assert numbers(video.frames()) == pytest.approx(want, abs=0.6)
    assert numbers(video.frames(7)) == pytest.approx(want[:7], abs=0.6)
    assert numbers(video.frames(retime=False)) == pytest.approx(range(count), abs=0.6)
    assert numbers(video.frames(3, retime=False)) == pytest.approx(range(min(3, count)), abs=0.6)


@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".webm"])
def test_other_containers_and_uneven_times(tmp_path: Path, suffix: str) -> None:
    """Frames at 0, 20, 100 and 300 ms (AVI keeps no times of its own: even there)."""
    path = tmp_path / f"a{suffix}"
    even = suffix == ".avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx" if suffix == ".webm" else "libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 32, 48, "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25 if even else 1000)
        for index, at in enumerate((0, 1, 2, 3) if even else (0, 20, 100, 300)):
            frame = av.VideoFrame.from_ndarray(np.full((48, 32, 3), 40 * index, np.uint8), "rgb24")
            frame.pts, frame.time_base = at, stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    got = [round(number / 20) for number in numbers(opened(path).frames())]
    assert got[:8] == ([0, 1, 2, 3] if even else [0, 1, 1, 2, 2, 2, 2, 2])
    assert even or got[8:] == [3] * len(got[8:])
    assert even or 1 <= len(got[8:]) <= 5


@pytest.mark.parametrize(
    ("matrix", "turns", "size"),
    [
        ((0, 1, -1, 0), 3, (48, 32)),  # a phone held upright
        ((-1, 0, 0, -1), 2, (32, 48)),
        ((0, -1, 1, 0), 1, (48, 32)),
    ],
)
def test_rotation_is_applied(tmp_path: Path, matrix: tuple[int, ...], turns: int, size: tuple) -> None:
    """`turns` quarter turns to the left; the matrix is written into the track header."""
    path = numbered(tmp_path / "a.mp4", 3)
    upright = list(opened(path).frames())
    content = path.read_bytes()
    at = content.index(b"tkhd") + 4 + 40  # version 0: the matrix follows 40 bytes of other fields
    a, b, c, d = (value << 16 for value in matrix)
    path.write_bytes(content[:at] + struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30) + content[at + 36 :])
    video = opened(path)
    assert video.size == size
    for got, want in zip(video.frames(), upright, strict=True):
        assert np.array_equal(got, np.rot90(want, turns))
        assert got.flags.c_contiguous


def test_pixels_that_are_not_square_are_widened(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 36, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(4, 3)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((36, 48, 3), np.uint8), "rgb24")))
        container.mux(stream.encode(None))
    assert opened(path).size == (64, 36)


def test_colours_do_not_shift(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (12, 3), np.uint8)
    with VideoWriter(tmp_path / "a.mp4", (32, 32)) as writer:
        for colour in colours:
            writer.write(np.broadcast_to(colour, (32, 32, 3)))
    means = np.array([rgb[8:24, 8:24].mean((0, 1)) for rgb in opened(tmp_path / "a.mp4").frames()])
    assert np.abs(means - colours).max() <= 2
    assert np.abs((means - colours).mean(0)).max() < 0.5


@pytest.mark.parametrize("size", [(31, 47), (2, 2), (101, 33)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    """Lossless VP9 keeps odd sides, H.264 as written here does not."""
    path = tmp_path / "a.webm"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libvpx-vp9", rate=25, options={"lossless": "1"})
        stream.width, stream.height, stream.pix_fmt = *size, "yuv444p"
        frame = av.VideoFrame.from_ndarray(np.full((size[1], size[0], 3), 90, np.uint8), "rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    (rgb,) = opened(path).frames()
    assert rgb.shape == (size[1], size[0], 3)
    assert np.abs(rgb.astype(int) - 90).max() <= 2


def test_bytes_are_as_good_as_a_path(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 5)
    video = open_video(AvatarSource(data=path.read_bytes()), LIMITS)
    assert numbers(video.frames()) == numbers(opened(path).frames())


def test_limits(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 50)
    with pytest.raises(TooLong, match="MiB"):
        opened(path, VideoLimits(max_bytes=500))
    with pytest.raises(TooLong, match="32x48"):
        opened(path, VideoLimits(max_pixels=1_000))
    video = opened(path, VideoLimits(max_seconds=1.0))
    assert len(list(video.frames(25))) == 25  # the first second may be asked for
    with pytest.raises(TooLong, match="1 s"):
        list(video.frames())


def test_what_is_no_video_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    good = numbered(tmp_path / "good.mp4", 5).read_bytes()
    contents = {
        "empty.mp4": b"",
        "text.mp4": b"no video " * 99,
        "noise.mp4": np.random.default_rng(0).bytes(9_000),
        "head.mp4": good[:40],
        "index.mp4": good[: good.index(b"mdat") + 4],
        "playlist.mp4": b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.mp4\n#EXT-X-ENDLIST\n",
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name in ("picture.gif", "picture.png"):
        Image.new("RGB", (32, 32)).save(tmp_path / name)
    write_wav(tmp_path / "sound.wav", speech_like(0.2), 16_000)
    write_encoded(tmp_path / "sound.m4a", speech_like(0.2), 16_000)
    write_covered(tmp_path / "cover.mp3", speech_like(0.2), 16_000)
    (tmp_path / "folder.mp4").mkdir()
    for name in (
        *contents,
        "picture.gif",
        "picture.png",
        "sound.wav",
        "sound.m4a",
        "cover.mp3",
        "folder.mp4",
    ):
        with pytest.raises(BadImage) as caught:
            opened(tmp_path / name)
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(BadPath):
        opened(tmp_path / "missing.mp4")
    with pytest.raises(BadPath):
        open_video(AvatarSource(), LIMITS)
    assert capfd.readouterr() == ("", "")


def test_video_in_an_unknown_format_is_refused(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 3)
    path.write_bytes(path.read_bytes().replace(b"avc1", b"zzz1"))
    with pytest.raises(BadImage):
        opened(path)


def test_picture_that_grows_midway_stays_within_the_limit(tmp_path: Path) -> None:
    """Two H.264 streams one after the other, the second one larger."""
    path = tmp_path / "a.h264"
    for side in (32, 128):
        with av.open(str(tmp_path / "part.h264"), "w", format="h264") as container:
            stream = container.add_stream("libx264", rate=25)
            stream.width, stream.height, stream.pix_fmt = side, side, "yuv420p"
            for _ in range(5):
                container.mux(stream.encode(av.VideoFrame(side, side, "rgb24")))
            container.mux(stream.encode(None))
        with path.open("ab") as file:
            file.write((tmp_path / "part.h264").read_bytes())
    small = opened(path, VideoLimits(max_pixels=5_000))
    assert len(list(small.frames(retime=False))) == 5
    assert "damaged" in small.notes[0]
    with pytest.raises(BadImage, match="changes its picture size"):
        list(opened(path).frames(retime=False))


def test_truncated_video_gives_what_decodes(tmp_path: Path) -> None:
    path = numbered(tmp_path / "a.mp4", 80, size=(64, 64))
    content = path.read_bytes()
    at = content.index(b"mdat")
    path.write_bytes(content[: at + (len(content) - at) * 6 // 10])
    video = opened(path)
    got = numbers(video.frames())
    assert 20 < len(got) < 80
    assert got == pytest.approx(range(len(got)), abs=1.1)  # a lost frame is bridged by the one before
    assert "damaged" in video.notes[0]


def test_random_damage_is_served_or_refused_by_type(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    path = numbered(tmp_path / "a.mp4", 30)
    good = path.read_bytes()
    for trial in range(60):
        content = bytearray(good)
        for at in rng.integers(0, len(content) if trial % 2 else 1_500, rng.integers(1, 12)):
            content[at] = rng.integers(256)
        path.write_bytes(content)
        try:
            video = opened(path)
            assert all(rgb.shape == (*video.size[::-1], 3) for rgb in video.frames(100))
        except TalkerError:
            continue


def test_stopping_early_closes_the_file(tmp_path: Path) -> None:
    handles, tasks = len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task"))
    frames = opened(numbered(tmp_path / "a.mp4", 30)).frames()
    next(frames)
    frames.close()
    assert len(os.listdir("/proc/self/fd")) == handles
    assert len(os.listdir("/proc/self/task")) <= tasks
