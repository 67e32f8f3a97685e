"""Sound -> lips: streams equal files, nothing looks too far ahead, and lips do what speech asks."""

import hashlib
import json
import math
import shutil
import wave
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from core.engines.lite import speech as lite_speech
from core.engines.lite.speech import LOOKAHEAD, SPEECH_WIDTH, SpeechNet
from core.errors import CorruptCheckpoint, MissingCheckpoint
from core.types import SAMPLE_RATE, SAMPLES_PER_FRAME
from scripts.phones import Phone, letters_of, lips, load, visemes
from scripts.synthesise import Speech, espeak, flite
from scripts.synthesise import main as synthesise

OPEN, SPREAD, ROUND, PRESS, TUCK, VOICE = range(SPEECH_WIDTH)
WEIGHTS = Path(lite_speech.__file__).with_name("mouth.safetensors")
needs_flite = pytest.mark.skipif(shutil.which("flite") is None, reason="flite is not installed")
needs_espeak = pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")


@pytest.fixture(scope="module")
def net() -> SpeechNet:
    return SpeechNet.load()


def rows_of(net: SpeechNet, samples: np.ndarray) -> np.ndarray:
    stream = net.stream()
    return np.concatenate([stream.push(samples), stream.finish()])


def babble(seconds: float, seed: int = 0) -> np.ndarray:
    """Syllables of a buzzing source through two drifting resonances: near enough to speech to move lips."""
    rng = np.random.default_rng(seed)
    count = int(seconds * SAMPLE_RATE)
    time = np.arange(count) / SAMPLE_RATE
    out = np.zeros(count)
    for harmonic in range(1, 30):
        frequency = harmonic * 120
        shape = sum(
            np.exp(-0.5 * ((frequency - centre * (1 + 0.4 * np.sin(time * rate))) / 150) ** 2)
            for centre, rate in ((500, 7), (1500, 5))
        )
        out += shape * np.sin(2 * np.pi * frequency * time)
    out *= np.clip(np.sin(2 * np.pi * 2.5 * time), 0, 1)
    return (0.1 * out + rng.normal(0, 1e-3, count)).astype(np.float32)


def test_any_chunking_gives_the_rows_of_the_whole(net: SpeechNet) -> None:
    samples, rng = babble(6.0), np.random.default_rng(1)
    whole = rows_of(net, samples)
    assert whole[:, OPEN].std() > 0.05  # lips move, so equality says something
    for sizes in ((1, 7, 159), (160, 640, 641), (3000, 32_000), (SAMPLE_RATE * 6,)):
        stream, at, parts = net.stream(), 0, []
        while at < len(samples):
            size = int(rng.choice(sizes))
            parts.append(stream.push(samples[at : at + size]))
            at += size
        rows = np.concatenate([*parts, stream.finish()])
        assert rows.shape == whole.shape and np.abs(rows - whole).max() < 1e-5


@pytest.mark.parametrize("count", [0, 1, 639, 640, 641, 1600, 4480, 8960, 16_000, 16_001, 252_075])
def test_row_count_is_that_of_the_frames(net: SpeechNet, count: int) -> None:
    rows = rows_of(net, np.full(count, 0.1, np.float32))
    assert rows.shape == (math.ceil(count / 16000 * 25), SPEECH_WIDTH) and rows.dtype == np.float32


def test_a_row_comes_as_soon_as_its_look_ahead_is_in_and_sees_no_further(net: SpeechNet) -> None:
    samples = babble(2.0)
    row = 20
    needed = (row + 1) * SAMPLES_PER_FRAME + LOOKAHEAD
    assert LOOKAHEAD <= 1920
    assert len(net.stream().push(samples[: needed - 1])) == row
    early = net.stream().push(samples[:needed])
    assert len(early) == row + 1
    other = samples.copy()
    other[needed:] = np.random.default_rng(2).normal(0, 0.5, len(other) - needed)
    np.testing.assert_array_equal(net.stream().push(other)[: row + 1], net.stream().push(samples)[: row + 1])


def test_digital_silence_is_a_closed_still_mouth(net: SpeechNet) -> None:
    assert not rows_of(net, np.zeros(3 * SAMPLE_RATE, np.float32)).any()
    after = rows_of(net, np.concatenate([babble(2.0), np.zeros(2 * SAMPLE_RATE, np.float32)]))
    assert not after[54:].any()  # one row further than the ear looks back is enough


@pytest.mark.parametrize("kind", ["hiss", "hum", "rumble"])
@pytest.mark.parametrize("level", [-60, -40, -20])
def test_steady_noise_does_not_flap_the_mouth(net: SpeechNet, kind: str, level: int) -> None:
    time = np.arange(5 * SAMPLE_RATE) / SAMPLE_RATE
    noise = np.random.default_rng(3).normal(0, 1, len(time))
    if kind == "hum":
        noise = 0.01 * noise + sum(np.sin(2 * np.pi * 50 * k * time) / k for k in (1, 2, 3, 5, 7))
    elif kind == "rumble":
        noise = np.convolve(noise, np.hanning(64), "same")
    rows = rows_of(net, (noise / noise.std() * 10 ** (level / 20)).astype(np.float32))[25:]
    assert np.percentile(rows[:, OPEN], 95) < 0.05 and rows[:, OPEN].max() < 0.15
    assert rows[:, VOICE].mean() < 0.1


@needs_flite
@pytest.mark.parametrize("below", [20, 30])
def test_pauses_in_a_noisy_recording_stay_closed(net: SpeechNet, below: int) -> None:
    speech = flite("Open the door for my father. Happy people bake apple pie.", "slt").samples
    clean = np.concatenate([speech, np.zeros(2 * SAMPLE_RATE, np.float32), speech])
    hiss = np.random.default_rng(4).normal(0, speech.std() * 10 ** (-below / 20), len(clean))
    rows = rows_of(net, clean + hiss.astype(np.float32))
    start = len(speech) // SAMPLES_PER_FRAME + 4
    assert rows[start : start + 42, OPEN].max() < 0.1 and rows[start : start + 42, VOICE].max() < 0.3
    assert correlation(rows[:, OPEN], rows_of(net, clean)[:, OPEN]) > 0.75


def test_the_state_of_a_stream_stays_small(net: SpeechNet) -> None:
    stream, sizes = net.stream(), []
    for seconds in (1, 15, 1):
        stream.push(babble(seconds))
        layers = [*stream._front._kept, *stream._back._kept]
        arrays = [*layers, stream._samples, stream._loudness, stream._hearing.floor]
        # what an array holds on to counts, not what it shows
        sizes.append(sum((a if a.base is None else a.base).nbytes for a in arrays))
    assert sizes[1] <= sizes[0] and max(sizes) < 100_000


def test_streams_share_weights_and_nothing_else(net: SpeechNet) -> None:
    samples = babble(1.0)
    first, second = net.stream(), net.stream()
    first.push(babble(1.0, 9) * 5)
    np.testing.assert_array_equal(second.push(samples), net.stream().push(samples))
    with pytest.raises(ValueError, match="read-only"):
        net.head[0] = 1


def test_the_weights_are_small_and_checked(tmp_path: Path) -> None:
    assert WEIGHTS.stat().st_size < 1_000_000
    copy, sidecar = tmp_path / "mouth.safetensors", tmp_path / "mouth.json"
    with pytest.raises(MissingCheckpoint):
        SpeechNet.load(copy)
    data = bytearray(WEIGHTS.read_bytes())
    data[-5] ^= 1
    copy.write_bytes(data)
    shutil.copy(WEIGHTS.with_suffix(".json"), sidecar)
    with pytest.raises(CorruptCheckpoint, match="damaged"):
        SpeechNet.load(copy)
    arrays = load_file(WEIGHTS)
    save_file({**arrays, "head.bias": arrays["head.bias"][:3]}, copy)
    sidecar.write_text(json.dumps({"sha256": hashlib.sha256(copy.read_bytes()).hexdigest()}))
    with pytest.raises(CorruptCheckpoint, match="other weights"):
        SpeechNet.load(copy)
    sidecar.write_text("[]")
    with pytest.raises(CorruptCheckpoint, match="checksum"):
        SpeechNet.load(copy)


def compare(net: SpeechNet, speech: Speech) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows got, rows wanted, visemes."""
    got = rows_of(net, speech.samples)
    times = (np.arange(len(got)) + 0.5) / 25
    return got, lips(speech.phones, times), visemes(speech.phones, times)


def correlation(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.corrcoef(a, b)[0, 1])


SENTENCES = (
    "Mum bought five purple plums from a farm above the bay, and we map the bubble pipes. "
    "Who would have thought the old boat could move so very smoothly? Father parked his large dark car."
)


@needs_flite
def test_lips_follow_a_voice_that_was_never_trained_on(net: SpeechNet) -> None:
    got, wanted, kinds = compare(net, flite(SENTENCES, "slt"))
    for channel, least in ((OPEN, 0.88), (SPREAD, 0.85), (ROUND, 0.72), (PRESS, 0.75), (TUCK, 0.75)):
        assert correlation(got[:, channel], wanted[:, channel]) > least
    assert got[wanted[:, PRESS] > 0.95, OPEN].mean() < 0.06  # lips meet
    assert got[wanted[:, OPEN] > 0.7, OPEN].mean() > 0.6  # and part
    assert correlation(got[:, OPEN], np.roll(wanted[:, OPEN], 25)) < 0.5
    silent = np.convolve(kinds == 0, np.ones(5), "same") == 5
    assert got[silent, OPEN].max() < 0.05 and got[silent, VOICE].max() < 0.2
    assert got[kinds > 0, VOICE].mean() > 0.5


@needs_espeak
@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("en-us+f3", SENTENCES),
        (
            "cmn-latn-pinyin+m5",
            "ba4 ba5 ma1 ma5 mai3 le5 ba1 ben3 hao3 shu1, wo3 men5 fei1 chang2 ming2 bai2.",
        ),
        ("ja+f3", "ももも すももも もものうち、ふゆの ふじさんは とても うつくしい です。"),
        ("ko+m5", "바람이 부는 바다에 배가 보입니다, 봄비가 내리면 나비가 날아요."),
        ("es+f3", "Mi mamá compró pan, uvas y un poco de jamón, y fue una fiesta fantástica."),
        ("de+m5", "Fünf schöne Pferde laufen über die Wiese, meine Mutter backt Pflaumenkuchen."),
        ("hi+f3", "बहुत बहुत धन्यवाद, मम्मी और पापा बाज़ार से फल लाए।"),
    ],
)
def test_lips_follow_other_languages(net: SpeechNet, voice: str, text: str) -> None:
    got, wanted, _ = compare(net, espeak(text, voice))
    assert correlation(got[:, OPEN], wanted[:, OPEN]) > 0.8
    assert correlation(got[:, PRESS], wanted[:, PRESS]) > 0.7


@needs_flite
@pytest.mark.parametrize("decibel", [-45, -20, 8])
def test_whispering_far_and_clipping_near_move_the_lips_alike(net: SpeechNet, decibel: int) -> None:
    speech = flite("My mother wants to move above the farm by Monday.", "slt")
    usual = rows_of(net, speech.samples)
    other = rows_of(net, (speech.samples * 10 ** (decibel / 20)).clip(-1, 1).astype(np.float32))
    assert correlation(usual[:, OPEN], other[:, OPEN]) > 0.83
    assert abs(usual[:, OPEN].mean() - other[:, OPEN].mean()) < 0.08


def test_short_closures_are_not_smoothed_away() -> None:
    """A 30 ms p between wide vowels closes the lips in at least one video frame, wherever frames fall."""
    for shift in np.arange(0, 0.04, 0.005):
        phones = [
            Phone("a", 0.0, 0.3 + shift),
            Phone("p", 0.3 + shift, 0.33 + shift),
            Phone("a", 0.33 + shift, 0.8),
        ]
        rows = lips(phones, (np.arange(20) + 0.5) / 25)
        assert rows[:, 0].min() < 0.01 and rows[:, 3].max() > 0.99 and rows[:, 0].max() > 0.85


def test_silence_closes_and_short_pauses_do_not_press() -> None:
    phones = [Phone("pau", 0, 0.4), Phone("aa", 0.4, 0.8), Phone("pau", 0.8, 1.4)]
    assert not lips([], np.array([0.2, 0.6])).any()
    rows = lips(phones, np.array([0.2, 0.6, 1.2]))
    assert rows[0, 0] < 0.01 and rows[1, 0] > 0.9 and rows[2, 0] < 0.01 and not rows[:, 3].any()


@needs_espeak
def test_test_material_is_made_from_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound, timed = tmp_path / "x.wav", tmp_path / "x.json"
    said = ("--engine", "espeak", "--text", "Mama, papa.", "--out", str(sound), "--phones", str(timed))
    assert synthesise((*said, "--voice", "es")) == 0
    with wave.open(str(sound)) as file:
        seconds = file.getnframes() / file.getframerate()
        assert file.getframerate() == SAMPLE_RATE
    phones = load(timed)
    assert 0.5 < seconds < 3 and abs(phones[-1].end - seconds) < 0.01
    assert all(a.end == b.start for a, b in pairwise(phones))  # stops begin with their closure
    assert [p.phone for p in letters_of(phones) if p.phone] == list("mamapapa")
    assert synthesise((*said, "--voice", "martian")) == 2
    assert "no voice 'martian'" in capsys.readouterr().err
