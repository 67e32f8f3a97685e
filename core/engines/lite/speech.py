"""Sound -> lip shapes: a small network in plain numpy, at home in streams.

The same rows come out however the sound is cut. A stream lies in endless silence: what comes before
the first sample and after the last is zeros. Trained by scripts/train_lite.py; scores in mouth.json.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as parse_safetensors

from core.atomic_components.windows import frame_count
from core.engines.lite.features import BANDS, HOP, SPECTRA, WINDOW, Hearing, mel_filters, mel_power
from core.errors import CorruptCheckpoint, MissingCheckpoint
from core.types import SAMPLES_PER_FRAME

SPEECH_WIDTH = 6  # open, spread, round, press, tuck, voice; 0..1
AHEAD = 3  # frames the network sees beyond the one it describes
LOOKAHEAD = AHEAD * SAMPLES_PER_FRAME  # samples: 120 ms
FRONT, HIDDEN = 64, 192


class Shape(NamedTuple):
    """The rows that a layer looks at, and its widths; one that keeps its width adds to its input."""

    taps: tuple[int, ...]
    inputs: int
    width: int = HIDDEN

    @property
    def adds(self) -> bool:
        return self.inputs == self.width


FRONT_SHAPES = (Shape((-4, -3, -2, -1, 0), BANDS, FRONT), Shape((-2, -1, 0), FRONT, FRONT))  # on spectra
BACK_SHAPES = (  # on frames, each the front's four outputs and the noise floor
    Shape((-1, 0, 1), SPECTRA * FRONT + BANDS),
    *(Shape(taps, HIDDEN) for taps in ((-1, 0, 1), (-4, -2, 0), (-1, 0, 1), (-8, -4, 0), (-16, -8, 0))),
)

WEIGHTS = Path(__file__).with_name("mouth.safetensors")
_REINSTALL = "Get the file again: git checkout core/engines/lite, or reinstall the package."
SCALE = ".scale"  # ends the name of the factors for the columns of an int8 matrix
_BLOCK = 250  # rows worked on at once: bounds the memory of one long push


@dataclass(frozen=True)
class Layer:
    """weight (len(taps) * inputs, width), bias (width,); mix (width, width) where it adds to its input."""

    taps: tuple[int, ...]
    weight: np.ndarray
    bias: np.ndarray
    mix: np.ndarray | None

    @property
    def memory(self) -> int:
        """Earlier rows that must be kept between two blocks."""
        return self.taps[-1] - self.taps[0]

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """rows (memory + n, inputs) -> (n, width)."""
        count = len(rows) - self.memory
        seen = np.concatenate([rows[tap - self.taps[0] :][:count] for tap in self.taps], axis=1)
        out = np.maximum(seen @ self.weight + self.bias, 0)
        if self.mix is None:
            return out
        here = rows[-self.taps[0] :][:count]
        return here + out @ self.mix


@dataclass(frozen=True)
class SpeechNet:
    """The weights, read-only, shared by any number of streams."""

    front: tuple[Layer, ...]
    back: tuple[Layer, ...]
    head: np.ndarray  # (HIDDEN, SPEECH_WIDTH)
    head_bias: np.ndarray

    @classmethod
    def load(cls, path: Path | None = None) -> "SpeechNet":
        """Read weights and check them against the SHA-256 in the .json beside them.

        Raises MissingCheckpoint or CorruptCheckpoint.
        """
        path = path or WEIGHTS
        try:
            data = path.read_bytes()
            expected = json.loads(path.with_suffix(".json").read_text("utf-8"))["sha256"]
        except OSError as error:
            raise MissingCheckpoint(
                f"Cannot read the lip weights '{path.name}': {error.strerror}.", _REINSTALL
            ) from error
        except (ValueError, KeyError, TypeError) as error:
            raise CorruptCheckpoint(
                f"'{path.stem}.json' holds no checksum of the lip weights.", _REINSTALL
            ) from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise CorruptCheckpoint(f"The lip weights '{path.name}' are damaged.", _REINSTALL)
        try:
            return cls.of(unpacked(parse_safetensors(data)))
        except (SafetensorError, KeyError, ValueError) as error:
            raise CorruptCheckpoint(
                f"'{path.name}' holds other weights than this version uses.", _REINSTALL
            ) from error

    @classmethod
    def of(cls, arrays: dict[str, np.ndarray]) -> "SpeechNet":
        """Build from named float32 arrays. Raises KeyError or ValueError when they do not fit."""
        layers = [
            Layer(
                shape.taps,
                _shaped(arrays, f"{index}.weight", len(shape.taps) * shape.inputs, shape.width),
                _shaped(arrays, f"{index}.bias", shape.width),
                _shaped(arrays, f"{index}.mix", shape.width, shape.width) if shape.adds else None,
            )
            for index, shape in enumerate((*FRONT_SHAPES, *BACK_SHAPES))
        ]
        front, back = tuple(layers[: len(FRONT_SHAPES)]), tuple(layers[len(FRONT_SHAPES) :])
        head = _shaped(arrays, "head.weight", HIDDEN, SPEECH_WIDTH)
        return cls(front, back, head, _shaped(arrays, "head.bias", SPEECH_WIDTH))

    def stream(self) -> "MouthStream":
        return MouthStream(self)


class _Run:
    """Layers in a row at work on a stream, with the rows that each must remember."""

    def __init__(self, layers: tuple[Layer, ...], kept: list[np.ndarray]) -> None:
        self._layers, self._kept = layers, kept

    @classmethod
    def after_silence(cls, layers: tuple[Layer, ...], row: np.ndarray) -> tuple["_Run", np.ndarray]:
        """As if `row` (1, inputs) had come for ever; also what comes out of it, (1, width)."""
        kept = []
        for layer in layers:
            kept.append(np.repeat(row, layer.memory, 0))
            row = layer(np.repeat(row, layer.memory + 1, 0))
        return cls(layers, kept), row

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        for index, layer in enumerate(self._layers):
            seen = np.concatenate([self._kept[index], rows])
            self._kept[index] = seen[len(rows) :].copy()
            rows = layer(seen)
        return rows


class MouthStream:
    """One session's ear. Its state is a second of features, whatever the length of the sound."""

    def __init__(self, net: SpeechNet) -> None:
        self._net = net
        self._filters = mel_filters()
        self._hearing = Hearing.silent()
        self._samples = np.zeros(WINDOW - HOP, np.float32)  # heard, not yet in a row (and the overlap)
        self._heard = 0  # samples
        self._given = 0  # rows
        silence = np.zeros(WINDOW - HOP + SAMPLES_PER_FRAME, np.float32)
        rows, loudness = Hearing.silent().follow(mel_power(silence, self._filters))
        self._loudness = np.repeat(loudness, AHEAD + 1, 0)
        self._front, spectra = _Run.after_silence(net.front, rows[:, :BANDS])
        still = np.concatenate([np.tile(spectra, SPECTRA), rows[:, -BANDS:]], 1)
        self._back, _ = _Run.after_silence(net.back, still)
        self._late = AHEAD  # rows still to be swallowed: they describe the silence before the start

    def push(self, samples: np.ndarray) -> np.ndarray:
        """float32 (n,), 16 kHz mono -> float32 (m, SPEECH_WIDTH): the rows finished by now.

        Row i describes the middle of frame i and comes once LOOKAHEAD samples beyond it are in.
        """
        self._heard += len(samples)
        return self._advance(samples)

    def finish(self) -> np.ndarray:
        """The rows that remain; in all there are ceil(samples / 16000 * 25). Push nothing afterwards."""
        missing = frame_count(self._heard) - self._given
        rows = self._advance(np.zeros((AHEAD + 2) * SAMPLES_PER_FRAME, np.float32))
        return rows[:missing]

    def _advance(self, samples: np.ndarray) -> np.ndarray:
        done = [np.zeros((0, SPEECH_WIDTH), np.float32)]
        block = _BLOCK * SAMPLES_PER_FRAME
        for start in range(0, len(samples), block):
            self._samples = np.concatenate([self._samples, samples[start : start + block]])
            rows = (len(self._samples) - (WINDOW - HOP)) // SAMPLES_PER_FRAME
            if rows:
                used = rows * SAMPLES_PER_FRAME
                done.append(self._rows(self._samples[: used + WINDOW - HOP]))
                self._samples = self._samples[used:].copy()
        out = np.concatenate(done)
        self._given += len(out)
        return out

    def _rows(self, samples: np.ndarray) -> np.ndarray:
        rows, loudness = self._hearing.follow(mel_power(samples, self._filters))
        spectra = self._front(rows[:, :-BANDS].reshape(-1, BANDS)).reshape(len(rows), -1)
        rows = self._back(np.concatenate([spectra, rows[:, -BANDS:]], 1))
        seen = np.concatenate([self._loudness, loudness])
        self._loudness = seen[len(rows) :].copy()
        out = _shape(rows @ self._net.head + self._net.head_bias, seen)
        skipped = min(self._late, len(out))
        self._late -= skipped
        return out[skipped:]


def unpacked(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights as they lie in the file -> float32: int8 ones have a scale for every column beside them."""
    out = {name: array.astype(np.float32) for name, array in arrays.items() if not name.endswith(SCALE)}
    for name, array in arrays.items():
        if name.endswith(SCALE):
            out[name.removesuffix(SCALE)] *= array
    return out


def _shape(raw: np.ndarray, loudness: np.ndarray) -> np.ndarray:
    """Raw outputs (n, 6) -> rows 0..1; loudness (AHEAD + 1 + n, 2) reaches one row back, AHEAD forward."""
    rows = 1 / (1 + np.exp(-raw.clip(-30, 30)))
    rows = ((rows - 0.02) / 0.96).clip(0, 1)  # a sigmoid never quite arrives; lips do
    count = len(rows)
    near = np.lib.stride_tricks.sliding_window_view(loudness[:, 1], 3)[:count].max(-1)
    rows[:, 5] *= loudness[1 : count + 1, 0]
    return (rows * near[:, None]).astype(np.float32)


def _shaped(arrays: dict[str, np.ndarray], name: str, *shape: int) -> np.ndarray:
    array = arrays[name]
    if array.shape != shape:
        raise ValueError(f"{name}: {array.shape} in place of {shape}")
    array.flags.writeable = False
    return array
