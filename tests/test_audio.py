"""Sound in: every depth, rate, channel count and format; limits; what must be refused."""

import subprocess
import sys
from pathlib import Path

import librosa
import numpy as np
import pytest

from core.errors import BadAudio, BadPath, TalkerError, TooLong
from core.media.audio import AudioLimits, open_audio, read_audio
from core.media.writer import VideoWriter
from core.types import SAMPLE_RATE
from tests.sounds import (
    DEPTHS,
    ENCODERS,
    broken_sounds,
    header_at,
    speech_like,
    wav,
    write_covered,
    write_encoded,
    write_wav,
)

LIMITS = AudioLimits()


def lag(sound: np.ndarray, reference: np.ndarray) -> int:
    """Samples by which `sound` comes after `reference`."""
    n = min(len(sound), len(reference))
    spectrum = np.fft.rfft(sound[:n], 2 * n) * np.conj(np.fft.rfft(reference[:n], 2 * n))
    best = int(np.fft.irfft(spectrum).argmax())
    return best if best < n else best - 2 * n


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # librosa's own imports
@pytest.mark.parametrize("rate", [8_000, 16_000, 24_000, 44_100, 48_000, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_equals_librosa(tmp_path: Path, rate: int, channels: int) -> None:
    path = write_wav(tmp_path / "a.wav", speech_like(0.737, rate, channels), rate)
    want, _ = librosa.load(path, sr=SAMPLE_RATE)
    got = read_audio(path, LIMITS)
    assert got.dtype == np.float32
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-6


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_has_the_same_full_scale(tmp_path: Path, depth: str) -> None:
    sound = speech_like(0.3, 16_000, 2)
    path = write_wav(tmp_path / "a.wav", sound, 16_000, depth)
    step = 1 / 128 if depth == "u8" else 1 / 32768
    assert np.abs(read_audio(path, LIMITS) - sound.mean(0)).max() <= step
    file = open_audio(path, LIMITS)
    assert (file.sample_rate, file.channels, file.duration_s, file.notes) == (16_000, 2, 0.3, ())


@pytest.mark.parametrize("suffix", ENCODERS)
@pytest.mark.parametrize("channels", [1, 2])
def test_every_format_keeps_time_and_shape(tmp_path: Path, suffix: str, channels: int) -> None:
    path = write_encoded(tmp_path / f"a{suffix}", speech_like(1.2, 48_000, channels), 48_000)
    reference = speech_like(1.2, 16_000, channels).mean(0)
    got = read_audio(path, LIMITS)
    assert abs(len(got) - len(reference)) <= 0.05 * SAMPLE_RATE  # AAC ends with a full block
    assert abs(lag(got, reference)) <= 1
    assert np.corrcoef(got[: len(reference)], reference[: len(got)])[0, 1] > 0.99


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 37_800, 44_100, 48_000])
def test_chunks_are_one_stream_however_cut(tmp_path: Path, rate: int) -> None:
    path = write_wav(tmp_path / "a.wav", speech_like(0.4, rate)[:, :-3], rate)
    file = open_audio(path, LIMITS)
    whole = read_audio(path, LIMITS)
    frames = len(speech_like(0.4, rate)[0]) - 3
    assert len(whole) == -(-frames * SAMPLE_RATE // rate)
    for size in (1, 640, 641, 6_000, 10**6):
        chunks = list(file.chunks(size))
        assert [chunk.start for chunk in chunks] == list(range(0, len(whole), size))
        assert {len(chunk.samples) for chunk in chunks[:-1]} <= {size}
        assert np.array_equal(np.concatenate([chunk.samples for chunk in chunks]), whole)


def test_file_of_24_khz_gives_the_known_number_of_samples(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", np.zeros((1, 378_112)), 24_000)
    assert len(read_audio(path, LIMITS)) == 252_075


def test_beyond_full_scale_is_clipped_and_said(tmp_path: Path) -> None:
    file = open_audio(write_wav(tmp_path / "a.wav", 5 * speech_like(0.5), 16_000, "f32"), LIMITS)
    sound = np.concatenate([chunk.samples for chunk in file.chunks()])
    assert (sound.min(), sound.max()) == (-1, 1)
    assert "clipped" in file.notes[0]


def test_silence_is_not_an_error(tmp_path: Path) -> None:
    assert not read_audio(write_wav(tmp_path / "a.wav", np.zeros((1, 1_600)), 16_000), LIMITS).any()


def test_what_cannot_be_used_is_refused_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture) -> None:
    for name, path in broken_sounds(tmp_path).items():
        with pytest.raises(BadAudio) as caught:
            read_audio(path, LIMITS)
        assert path.name in str(caught.value), name
        assert "\n" not in str(caught.value), name
    assert capfd.readouterr() == ("", "")


def test_nothing_but_the_given_file_is_read(tmp_path: Path) -> None:
    write_wav(tmp_path / "good.wav", speech_like(1), 16_000)
    playlist = tmp_path / "list.m3u8"
    playlist.write_text("#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\ngood.wav\n#EXT-X-ENDLIST\n")
    with pytest.raises(BadAudio):
        open_audio(playlist, LIMITS)


def test_paths(tmp_path: Path) -> None:
    for missing in (tmp_path / "missing.wav", tmp_path / "a\0b.wav", tmp_path / ("x" * 300)):
        with pytest.raises(BadPath):
            open_audio(missing, LIMITS)
    for not_a_file in (tmp_path, Path("/dev/zero")):
        with pytest.raises(BadAudio):
            open_audio(not_a_file, LIMITS)


def test_video_without_sound_and_picture_are_refused(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "silent.mp4", (16, 16)) as writer:
        writer.write(np.zeros((16, 16, 3), np.uint8))
    with pytest.raises(BadAudio, match="no sound"):
        open_audio(tmp_path / "silent.mp4", LIMITS)
    picture = tmp_path / "picture.wav"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    with pytest.raises(BadAudio):
        open_audio(picture, LIMITS)


def test_a_cover_picture_is_no_hindrance(tmp_path: Path) -> None:
    path = write_covered(tmp_path / "a.mp3", speech_like(0.5), 16_000)
    assert len(read_audio(path, LIMITS)) == 8_000


def test_a_videos_sound_is_read(tmp_path: Path) -> None:
    sound = write_wav(tmp_path / "a.wav", speech_like(1.0), 16_000)
    with VideoWriter(tmp_path / "talk.mp4", (16, 16), audio=sound) as writer:
        for _ in range(25):
            writer.write(np.zeros((16, 16, 3), np.uint8))
    assert np.corrcoef(read_audio(tmp_path / "talk.mp4", LIMITS)[:16_000], speech_like(1.0)[0])[0, 1] > 0.99


@pytest.mark.parametrize("promise", [2**31, 40_000])
def test_sound_shorter_than_its_header_says_is_used_with_a_note(tmp_path: Path, promise: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header_at(wav(speech_like(1.0), 16_000), promise))
    file = open_audio(path, LIMITS)
    assert file.duration_s == 1.0
    assert "ends early: 1.0 of" in file.notes[0]
    assert sum(len(chunk.samples) for chunk in file.chunks()) == 16_000


@pytest.mark.parametrize("promise", [0, 2**32 - 1])
def test_streamed_wav_without_length_is_whole(tmp_path: Path, promise: int) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(header_at(wav(speech_like(1.0), 16_000), promise))
    assert len(read_audio(path, LIMITS)) == 16_000
    assert open_audio(path, LIMITS).notes == ()


def test_damaged_file_is_used_with_a_note(tmp_path: Path) -> None:
    path = write_encoded(tmp_path / "a.mp3", speech_like(2.0, 48_000), 48_000)
    content = bytearray(path.read_bytes())
    content[6_000:6_700] = bytes(700)
    path.write_bytes(content)
    file = open_audio(path, LIMITS)
    assert sum(len(chunk.samples) for chunk in file.chunks()) > 1.5 * SAMPLE_RATE
    assert "damaged" in file.notes[0]


def test_limits_hold_before_the_work_is_done(tmp_path: Path) -> None:
    path = write_wav(tmp_path / "a.wav", speech_like(2.0), 16_000)
    with pytest.raises(TooLong, match="MiB"):
        open_audio(path, AudioLimits(max_bytes=1_000))
    with pytest.raises(TooLong, match="2 s"):
        open_audio(path, AudioLimits(max_seconds=1.5))


def test_seconds_are_counted_where_the_header_understates_them(tmp_path: Path) -> None:
    path = write_encoded(tmp_path / "a.flac", speech_like(3.0, 48_000), 48_000)
    content = bytearray(path.read_bytes())
    content[21] &= 0xF0  # STREAMINFO: 36 bits of total samples become 0, unknown
    content[22:26] = bytes(4)
    path.write_bytes(content)
    chunks = open_audio(path, AudioLimits(max_seconds=1.0)).chunks(1_600)
    heard = 0
    with pytest.raises(TooLong):
        for chunk in chunks:
            heard += len(chunk.samples)
    assert heard <= 1.0 * SAMPLE_RATE


def test_random_damage_is_served_or_refused_by_type(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    files = [write_encoded(tmp_path / f"a{suffix}", speech_like(0.6, 48_000), 48_000) for suffix in ENCODERS]
    files.append(write_wav(tmp_path / "a.wav", speech_like(0.6, 24_000), 24_000))
    for path in files:
        good = path.read_bytes()
        for trial in range(20):
            content = bytearray(good)
            most = len(content) if trial % 2 else 200  # the header, or anywhere
            for at in rng.integers(0, most, rng.integers(1, 20)):
                content[at] = rng.integers(256)
            path.write_bytes(content)
            try:
                sound = read_audio(path, LIMITS)
            except TalkerError:
                continue
            assert np.isfinite(sound).all()


def test_memory_does_not_grow_with_length(tmp_path: Path) -> None:
    path = tmp_path / "long.wav"
    path.write_bytes(header_at(wav(np.zeros((1, 0)), 24_000), 600 * 48_000))
    with path.open("r+b") as file:
        file.truncate(44 + 600 * 48_000)  # sparse
    program = (
        "import sys, resource, pathlib\n"
        "from core.media.audio import *\n"
        "chunks = open_audio(pathlib.Path(sys.argv[1]), AudioLimits()).chunks()\n"
        "next(chunks)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "count = 1 + sum(1 for _ in chunks)\n"
        "print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
    chunks, grown_kib = map(int, done.stdout.split())
    assert chunks == 300
    assert grown_kib < 8_000  # the sound is 38,000 KiB
