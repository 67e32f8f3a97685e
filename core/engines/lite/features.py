"""Sound -> what the lip network looks at: one row per video frame, causal, free of loudness.

A row holds four log-mel spectra (every 10 ms) measured from the speaker's own running level, and
the noise floor beneath them. Level and floor are followed in time: no statistic of the whole file.
"""

from dataclasses import dataclass

import numpy as np

from core.types import SAMPLE_RATE, SAMPLES_PER_FRAME

HOP = 160  # samples between spectra: 10 ms
WINDOW = 400  # samples a spectrum looks at, all of them past: 25 ms
BANDS = 40
SPECTRA = SAMPLES_PER_FRAME // HOP  # a row
WIDTH = SPECTRA * BANDS + BANDS

_FFT = 512
_EPSILON = 1e-9  # power of a full-scale square is 1: -90 dB
_VOICED = slice(3, 34)  # bands that carry speech, about 170 to 5200 Hz: hum must not set the level
_QUIETEST = -65.0  # dB, the lowest level that counts as somebody speaking
_ATTACK, _DECAY = 0.6, 0.12  # a frame: share of the gap upwards, dB downwards (3 dB/s)
_SPEAKING = 30.0  # dB below the level where speech ends and the level rests
_FALL, _RISE = 0.5, 0.04 / 3.0  # a frame: shares of the gap; the floor rises in about 3 s
_SCALE = 20.0  # dB that make 1
_GATE = (-80.0, -70.0)  # dB: no mouth moves below the first, every one above the second


def mel_filters(warp: float = 1.0) -> np.ndarray:
    """Triangles (257, BANDS) float32 from 60 to 7600 Hz, even on the mel scale (O'Shaughnessy 1987).

    `warp` scales the frequencies, as a shorter (above 1) or longer vocal tract would.
    """
    low, high = 2595 * np.log10(1 + np.array([60.0, 7600.0]) / 700)
    mel = np.linspace(low, high, BANDS + 2)
    edges = warp * 700 * (10 ** (mel / 2595) - 1)
    bins = np.arange(_FFT // 2 + 1) * SAMPLE_RATE / _FFT
    rising = (bins[:, None] - edges[:-2]) / np.diff(edges[:-1])
    falling = (edges[2:] - bins[:, None]) / np.diff(edges[1:])
    return np.minimum(rising, falling).clip(0).astype(np.float32)


_HANN = np.hanning(WINDOW + 1)[:-1].astype(np.float32)
_NORM = np.float32(2 / (_FFT * np.sum(_HANN**2)))  # the bins of a signal add up to its mean square


def mel_power(samples: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """Band powers (..., rows, SPECTRA, BANDS) of samples (..., WINDOW - HOP + rows * 640)."""
    windows = np.lib.stride_tricks.sliding_window_view(samples, WINDOW, -1)[..., ::HOP, :]
    spectrum = np.fft.rfft(windows * _HANN, _FFT)
    power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) * _NORM
    bands = power @ filters
    return bands.reshape(*bands.shape[:-2], -1, SPECTRA, BANDS)


@dataclass
class Hearing:
    """What is remembered of a voice and its room; leading axes are independent streams."""

    level: np.ndarray  # (...) dB
    floor: np.ndarray  # (..., BANDS) dB

    @classmethod
    def silent(cls, *streams: int) -> "Hearing":
        """As after a long silence."""
        return cls(np.full(streams, _QUIETEST), np.full((*streams, BANDS), 10 * np.log10(_EPSILON)))

    def follow(self, bands: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Band powers (..., rows, SPECTRA, BANDS) -> rows (..., rows, WIDTH) and loudness (..., rows, 2).

        Loudness is, 0..1, how near to the voice's usual level, and whether there is any sound at all.
        """
        spectra = 10 * np.log10(bands.astype(np.float64) + _EPSILON)
        means = bands.mean(-2, dtype=np.float64)
        now = 10 * np.log10(means + _EPSILON)
        loud = 10 * np.log10(means[..., _VOICED].sum(-1) + _EPSILON)
        levels, floors = np.empty(loud.shape), np.empty(now.shape)
        for row in range(loud.shape[-1]):
            self._step(now[..., row, :], loud[..., row])
            levels[..., row], floors[..., row, :] = self.level, self.floor
        seen = np.concatenate([spectra, floors[..., None, :]], -2) - levels[..., None, None]
        rows = (seen / _SCALE).clip(-2.5, 1.0).reshape(*loud.shape, WIDTH).astype(np.float32)
        usual = (1 + (loud - levels) / _SPEAKING).clip(0, 1)
        any_sound = ((loud - _GATE[0]) / (_GATE[1] - _GATE[0])).clip(0, 1)
        return rows, np.stack([usual, any_sound], -1).astype(np.float32)

    def _step(self, now: np.ndarray, loud: np.ndarray) -> None:
        below = now < self.floor
        self.floor = self.floor + np.where(below, _FALL, _RISE) * (now - self.floor)
        gap = loud - self.level
        speaking = gap > -_SPEAKING
        step = np.where(gap > 0, _ATTACK * gap, np.where(speaking, -_DECAY, 0.0))
        self.level = np.maximum(self.level + step, _QUIETEST)
