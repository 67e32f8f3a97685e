"""The composition with a fake engine: N frames, back-pressure, cancelling, errors, timing."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from core.atomic_components.windows import frame_count
from core.errors import BadAudio, BadOption, BadPath
from core.option_table import parse_options
from core.options import Crop, GenerationOptions
from core.settings import Settings
from core.talker import ClipInfo, Session, audio_limits, clip
from core.types import AvatarSource
from tests.fakes import FakeEngine, chunks_of

OPTIONS = GenerationOptions()
SOURCE = AvatarSource(data=b"portrait")
LIMITS = audio_limits(Settings())


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).uniform(-0.3, 0.3, n).astype(np.float32)


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    path = tmp_path / "speech.wav"
    soundfile.write(path, noise(16_000 * 2 + 100), 16_000)
    return path


def finish(work) -> ClipInfo:
    while True:
        try:
            next(work)
        except StopIteration as stop:
            return stop.value


@pytest.mark.parametrize("prefetch", [0, 3])
@pytest.mark.parametrize("size", [1, 639, 640, 6400, 32_000])
def test_a_session_gives_exactly_n_frames(size: int, prefetch: int) -> None:
    engine = FakeEngine(prefetch)
    avatar = engine.register(SOURCE, Crop())
    for n in (1, 640, 641, 4480) if size == 1 else (1, 639, 640, 641, 4480, 8960, 33_333):
        frames = list(Session(engine, avatar, OPTIONS).frames(chunks_of(noise(n), size)))
        assert [frame.index for frame in frames] == list(range(frame_count(n)))


def test_nothing_is_pulled_ahead_of_need() -> None:
    pulled = 0

    def sound() -> Iterator:
        nonlocal pulled
        for chunk in chunks_of(noise(64_000), 640):
            pulled += 1
            yield chunk

    engine = FakeEngine()
    frames = Session(engine, engine.register(SOURCE, Crop()), OPTIONS).frames(sound())
    next(frames)
    assert pulled == 1
    frames.close()
    assert engine.closed_streams == 1


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_clip_is_written_whole(prefetch: int, wav: Path, tmp_path: Path) -> None:
    engine = FakeEngine(prefetch)
    out = tmp_path / "talk.mp4"
    info = finish(clip(engine, engine.register(SOURCE, Crop()), wav, out, OPTIONS, LIMITS))
    assert info.frames == 51 == len(info.opening) == len(info.loudness)
    assert info.loudness[0] == pytest.approx(0.3 / np.sqrt(3), rel=0.1)
    assert info.ffd_ms > 0 and info.rtf > 0
    assert {"audio", "render", "encode"} <= set(info.stages_ms)
    with av.open(str(out)) as video:
        assert sum(1 for _ in video.decode(video=0)) == 51
    assert sorted(path.name for path in tmp_path.iterdir()) == ["speech.wav", "talk.mp4"]


def test_progress_rises_to_one(wav: Path, tmp_path: Path) -> None:
    engine = FakeEngine()
    avatar = engine.register(SOURCE, Crop())
    steps = [step.fraction for step in clip(engine, avatar, wav, tmp_path / "a.mp4", OPTIONS, LIMITS)]
    assert steps == sorted(steps)
    assert steps[-1] == 1


@pytest.mark.parametrize("prefetch", [0, 3])
def test_cancelling_leaves_nothing(prefetch: int, wav: Path, tmp_path: Path) -> None:
    engine = FakeEngine(prefetch)
    threads = threading.active_count()
    work = clip(engine, engine.register(SOURCE, Crop()), wav, tmp_path / "a.mp4", OPTIONS, LIMITS)
    for _ in range(5):
        next(work)
    work.close()
    assert engine.closed_streams == 1
    assert [path.name for path in tmp_path.iterdir()] == ["speech.wav"]
    assert threading.active_count() == threads


@pytest.mark.parametrize("prefetch", [0, 3])
def test_a_broken_engine_leaves_nothing(prefetch: int, wav: Path, tmp_path: Path) -> None:
    engine = FakeEngine(prefetch, fail_at=7)
    out = tmp_path / "a.mp4"
    out.write_bytes(b"an older result")
    with pytest.raises(RuntimeError, match="the renderer broke"):
        finish(clip(engine, engine.register(SOURCE, Crop()), wav, out, OPTIONS, LIMITS))
    assert out.read_bytes() == b"an older result"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.mp4", "speech.wav"]


def test_missing_parts_are_named(wav: Path, tmp_path: Path) -> None:
    engine = FakeEngine()
    avatar = engine.register(SOURCE, Crop())
    with pytest.raises(BadPath, match=r"nothing\.wav"):
        finish(clip(engine, avatar, tmp_path / "nothing.wav", tmp_path / "a.mp4", OPTIONS, LIMITS))
    with pytest.raises(BadPath):
        finish(clip(engine, avatar, wav, tmp_path / "no folder" / "a.mp4", OPTIONS, LIMITS))
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(BadAudio):
        finish(clip(engine, avatar, tmp_path / "text.wav", tmp_path / "a.mp4", OPTIONS, LIMITS))
    assert not (tmp_path / "a.mp4").exists()


@pytest.mark.parametrize("prefetch", [0, 3])
def test_the_sound_is_closed_when_the_engine_breaks(prefetch: int, wav: Path, tmp_path: Path) -> None:
    closed = []

    def sound() -> Iterator:
        try:
            yield from chunks_of(noise(64_000), 640)
        finally:
            closed.append(True)

    engine = FakeEngine(prefetch, fail_at=7)
    avatar = engine.register(SOURCE, Crop())
    with pytest.raises(RuntimeError) as kept:  # its traceback keeps every frame of the pipeline alive
        list(Session(engine, avatar, OPTIONS).frames(sound()))
    assert closed, kept
    with pytest.raises(RuntimeError) as kept:
        finish(clip(engine, avatar, wav, tmp_path / "a.mp4", OPTIONS, LIMITS))
    assert str(wav) not in [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")], (
        kept
    )


def test_controls_of_frames_that_the_clip_does_not_have(wav: Path, tmp_path: Path) -> None:
    """Refused before the work; just behind the end, where a file's own word may be off, told after it."""
    engine = FakeEngine()
    avatar = engine.register(SOURCE, Crop())
    lossy = tmp_path / "speech.ogg"
    soundfile.write(lossy, noise(16_000 * 2 + 100), 16_000)
    for sound, frame in ((wav, 51), (lossy, 60)):
        options = parse_options({"ctrl_info": {frame: {}}})
        with pytest.raises(BadOption, match=f"no frame {frame}"):
            finish(clip(engine, avatar, sound, tmp_path / "a.mp4", options, LIMITS))
    assert not (tmp_path / "a.mp4").exists()
    made = finish(
        clip(engine, avatar, lossy, tmp_path / "a.mp4", parse_options({"ctrl_info": {51: {}}}), LIMITS)
    )
    assert made.frames == 51 and "no frame 51" in made.notes[-1]
