"""Make synthetic speech sound like recordings: rooms, noises, microphones, lines, levels."""

import numpy as np
from scipy import fft

from core.types import SAMPLE_RATE, SAMPLES_PER_FRAME
from scripts.lite_corpus import Utterance, changed_speed
from scripts.phones import Phone, letters_of, lips, visemes
from scripts.synthesise import Speech

Rng = np.random.Generator


def stream(pool: list[Utterance], rows: int, rng: Rng) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Utterances in a row, in one recording: samples (rows * 640,), lips and voice (rows, 6), visemes."""
    samples, phones = _conversation(pool, rows * SAMPLES_PER_FRAME, rng)
    if rng.random() < 0.08:  # a room where nobody speaks
        noise = _coloured(_noise(len(samples), rng), rng)
        samples, phones = noise * 10 ** (rng.uniform(-40, 10) / 20), []
    else:
        samples = recorded(samples, rng)
    if rng.random() < 0.3:  # the recording ends
        last = int(rng.integers(len(samples) // 4, len(samples)))
        samples[last:] = 0
        phones = _between(phones, 0.0, last / SAMPLE_RATE)
    times = (np.arange(rows) + 0.5) * SAMPLES_PER_FRAME / SAMPLE_RATE
    kinds = visemes(phones, times)
    targets = np.column_stack([lips(phones, times), kinds > 0])
    return samples.astype(np.float32), targets.astype(np.float32), kinds


def _conversation(pool: list[Utterance], count: int, rng: Rng) -> Speech:
    """Utterances of one group, all at one speed, with pauses; some begin in the middle of things."""
    samples = np.zeros(count, np.float32)
    phones: list[Phone] = []
    at = 0 if rng.random() < 0.3 else int(rng.exponential(0.4) * SAMPLE_RATE)
    speed, volume = float(np.exp(rng.uniform(-0.14, 0.28))), 1.0
    group = pool[rng.integers(len(pool))].group
    same = [one for one in pool if one.group == group]
    while at < count:
        speech = changed_speed(same[rng.integers(len(same))].speech, speed)
        if rng.random() < 0.2:
            skipped = int(rng.uniform(0, 0.4) * len(speech.samples))
            kept = _between(speech.phones, skipped / SAMPLE_RATE, np.inf)
            speech = Speech(speech.samples[skipped:], kept)
        piece = speech.samples[: count - at] * volume / max(_level(speech.samples), 1e-4)
        samples[at : at + len(piece)] = piece
        shift = at / SAMPLE_RATE
        phones += [Phone(p.phone, p.start + shift, p.end + shift) for p in letters_of(speech.phones)]
        at += len(speech.samples) + int(rng.exponential(0.35) * SAMPLE_RATE)
        volume *= 10 ** (rng.normal(0, 2) / 20)
    return Speech(samples, phones)


def _between(phones: list[Phone], start: float, end: float) -> list[Phone]:
    """What is spoken from start to end, seconds, counted from start."""
    return [
        Phone(p.phone, max(p.start, start) - start, min(p.end, end) - start)
        for p in phones
        if p.start < end and p.end > start
    ]


def recorded(samples: np.ndarray, rng: Rng) -> np.ndarray:
    """The same speech at a random microphone, in a random room, over a random line."""
    if rng.random() < 0.3:
        samples = _room(samples, rng)
    if rng.random() < 0.6:
        samples = _coloured(samples, rng)
    if rng.random() < 0.8:
        samples = samples + _noise(len(samples), rng) * _level(samples)
    samples = samples / max(float(np.abs(samples).max()), 1e-6)
    if rng.random() < 0.1:
        samples = (samples * rng.uniform(1.5, 6)).clip(-1, 1)
    if rng.random() < 0.1:
        samples = _mu_law(samples)
    return (samples * 10 ** (rng.uniform(-45, 0) / 20)).astype(np.float32)


def _level(samples: np.ndarray) -> float:
    """Root mean square of the louder half."""
    power = np.sort((samples[: len(samples) // 400 * 400].reshape(-1, 400) ** 2).mean(1))
    return float(np.sqrt(power[len(power) // 2 :].mean())) if len(power) else 0.0


def _room(samples: np.ndarray, rng: Rng) -> np.ndarray:
    """Exponentially dying noise behind the direct sound."""
    rt60 = rng.uniform(0.12, 0.5)
    time = np.arange(int(rt60 * SAMPLE_RATE)) / SAMPLE_RATE
    tail = rng.standard_normal(len(time), np.float32) * 10 ** (-3 * time / rt60)
    tail[: int(rng.uniform(0.001, 0.01) * SAMPLE_RATE)] = 0
    tail *= 10 ** (-rng.uniform(6, 22) / 20) / np.sqrt((tail**2).sum())
    tail[0] = 1
    size = len(samples) + int(0.8 * SAMPLE_RATE)  # a fixed room, so that the transform stays a fast one
    return fft.irfft(fft.rfft(samples, size) * fft.rfft(tail, size), size)[: len(samples)]


def _coloured(samples: np.ndarray, rng: Rng) -> np.ndarray:
    """Tilt, a few peaks and dips, and the limits of a narrow band."""
    spectrum = fft.rfft(samples)
    frequency = fft.rfftfreq(len(samples), 1 / SAMPLE_RATE).clip(20)
    octave = np.log2(frequency / 1000)
    gain = rng.uniform(-5, 5) * octave.clip(-3, 3)
    for _ in range(rng.integers(0, 4)):
        gain = gain + rng.normal(0, 6) * np.exp(
            -0.5 * ((octave - rng.uniform(-3, 3)) / rng.uniform(0.2, 0.8)) ** 2
        )
    if rng.random() < 0.35:
        gain = gain - 48 * (np.log2(frequency / rng.uniform(2800, 7500))).clip(0, 2)
    if rng.random() < 0.5:
        gain = gain - 24 * (np.log2(rng.uniform(60, 350) / frequency)).clip(0, 3)
    return fft.irfft(spectrum * 10 ** (gain / 20), len(samples))


def _noise(count: int, rng: Rng) -> np.ndarray:
    """Noise for speech of level 1: hiss of any colour, hum, slow or no change, 5 to 60 dB below."""
    frequency = fft.rfftfreq(count, 1 / SAMPLE_RATE).clip(20)
    spectrum = fft.rfft(rng.standard_normal(count, np.float32)) * frequency ** -rng.uniform(-0.3, 1.2)
    hiss = fft.irfft(spectrum, count)
    hiss /= np.sqrt((hiss**2).mean())
    time = np.arange(count) / SAMPLE_RATE
    if rng.random() < 0.3:
        mains = rng.choice([50, 60, 100, 120, 217]) * rng.uniform(0.99, 1.01)
        hum = sum(
            rng.normal() / k * np.sin(2 * np.pi * mains * k * time + rng.uniform(0, 6)) for k in range(1, 9)
        )
        hiss = hiss * 0.3 + hum
    if rng.random() < 0.3:
        hiss = hiss * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.1, 1.5) * time + rng.uniform(0, 6)))
    below = rng.uniform(5, 30) if rng.random() < 0.25 else rng.uniform(30, 60)
    return hiss * 10 ** (-below / 20)


def _mu_law(samples: np.ndarray) -> np.ndarray:
    """There and back through 8-bit telephony (ITU-T G.711's curve)."""
    code = np.sign(samples) * np.log1p(255 * np.abs(samples)) / np.log(256)
    code = np.round(code * 127) / 127
    return np.sign(code) * np.expm1(np.abs(code) * np.log(256)) / 255
