"""The rules of the parity kit: how its made-up weights and inputs are drawn, and how its files are read.

A kit is a manifest and a folder of npz files made by the published code. All it needs besides is drawn
from its salt, a string in every key. Numbers to compare with are in the kit's files alone.
"""

import json
import math
import re
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Arrays = dict[str, np.ndarray]
MOTION, CLIP = 265, 80  # width and frames of the motion model
_WRAPPINGS = {"stitch_network": ("retarget_shoulder", "module."), "lmdm": ("model_state_dict", "")}


def draw(key: str, shape: Sequence[int]) -> np.ndarray:
    """Standard normal numbers, float32, the same for the same key everywhere."""
    return np.random.Generator(np.random.PCG64(zlib.crc32(key.encode()))).standard_normal(
        tuple(shape), dtype=np.float32
    )


def audio(key: str, n: int) -> np.ndarray:
    """n samples that swell and fall, float32."""
    swell = 0.6 + 0.4 * np.sin(np.arange(n) / 1500)
    return (0.3 * draw(key, (n,)) * swell).astype(np.float32)


def x_info(key: str, logit: float = 2.0, exp: float = 0.05, kp: float = 0.3, with_kp: bool = True) -> Arrays:
    """What the motion extractor might say of a picture; a driving one has no kp."""
    sizes = {"pitch": (logit, 66), "yaw": (logit, 66), "roll": (logit, 66), "t": (0.1, 3), "exp": (exp, 63)}
    if with_kp:
        sizes["kp"] = (kp, 63)
    info = {name: factor * draw(f"{key}/{name}", (1, size)) for name, (factor, size) in sizes.items()}
    return {"scale": 1.2 + 0.1 * draw(f"{key}/scale", (1, 1)), **info}


def stub_hubert(samples: np.ndarray) -> np.ndarray:
    """Features (T, 1024) float32 of a chunk (L,): mean and loudness of every 400 samples, hop 320."""
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), 400)[::320]
    mean, loud = frames.mean(1), np.sqrt((frames**2).mean(1))
    j = np.arange(1024)
    return (10 * mean[:, None] * np.cos(0.01 * j) + loud[:, None] * np.sin(0.01 * j)).astype(np.float32)


def stub_lmdm(call: int, cond: np.ndarray, kp_cond: np.ndarray) -> np.ndarray:
    """The motion (80, 265) float32 of call number `call` since setup; cond (80, C), kp_cond (265,)."""
    t, d = np.arange(CLIP)[:, None], np.arange(MOTION)
    wave = 0.3 * np.sin(0.11 * t + 0.07 * d + 0.5 * call)
    heard = 0.2 * cond.astype(np.float64)[:, (37 * d) % cond.shape[1]]
    return (wave + heard + 0.25 * kp_cond.astype(np.float64)).astype(np.float32)


def weights(net: str, record: Mapping[str, Any], salt: str) -> Arrays:
    """The made-up state dict of a network, from its record in a kit's manifest.

    Where the manifest says what an entry's length and first value are, raises ValueError if they differ.
    """
    made: Arrays = {}
    for entry in record["state_dict"]:
        name = entry["name"]
        made[name] = _weight(f"{salt}/{net}/{name}", entry, record["gain"], made)
        if "l2" in entry:
            _check(net, entry, made[name])
    return made


def _weight(key: str, entry: Mapping[str, Any], gain: float, made: Arrays) -> np.ndarray:
    kind, shape = entry["kind"], tuple(entry["shape"])
    if kind == "zero_int":
        return np.zeros(shape, np.int64)
    if kind == "computed":  # the frequencies of the rotation by positions
        return (1 / 10000 ** (np.arange(0, 512, 2) / 512)).astype(np.float32)
    follows = kind == "sn_v"
    value = _spectral_v(made, entry["name"]) if follows else _drawn(kind, draw(key, shape), gain)
    mul, add = np.float32(entry.get("mul", 1)), np.float32(entry.get("add", 0))
    return mul * value.astype(np.float32) + add


def _drawn(kind: str, n: np.ndarray, gain: float) -> np.ndarray:
    match kind:
        case "weight":
            return gain * n / np.sqrt(np.float32(math.prod(n.shape[1:])))
        case "norm_weight":
            return 1 + 0.1 * n
        case "bias":
            return 0.05 * n
        case "grn_gamma" | "embed":
            return 0.5 * n
        case "running_mean":
            return 0.1 * n
        case "running_var":
            return 0.5 + np.abs(n)
        case "sn_u":
            u = n.astype(np.float64)
            return u / np.linalg.norm(u)
    raise ValueError(f"the kit has no rule for entries of kind {kind!r}")


def _spectral_v(made: Arrays, name: str) -> np.ndarray:
    """The vector that goes with weight_u: both are made before, as the manifest's order has them."""
    stem = name.removesuffix("v")
    weight = made[f"{stem}orig"].astype(np.float64)
    v = weight.reshape(len(weight), -1).T @ made[f"{stem}u"].astype(np.float64)
    return v / np.linalg.norm(v)


def _check(net: str, entry: Mapping[str, Any], made: np.ndarray) -> None:
    if entry["kind"] == "computed":
        return
    length, first = float(np.linalg.norm(made.astype(np.float64))), float(made.flat[0])
    if not np.allclose((length, first), (entry["l2"], entry["first"]), rtol=1e-5, atol=1e-6):
        raise ValueError(
            f"{net} {entry['name']}: drew length {length:.7g}, first {first:.7g}; "
            f"the manifest has {entry['l2']}, {entry['first']}"
        )


def write_checkpoint(net: str, arrays: Mapping[str, np.ndarray], path: Path, legacy: bool = False) -> None:
    """A .pth as published: wrapped as upstream wraps it; `legacy` is the format from before torch 1.6."""
    import torch

    key, prefix = _WRAPPINGS.get(net, ("", ""))
    content: dict[str, Any] = {prefix + name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({key: content} if key else content, path, _use_new_zipfile_serialization=not legacy)


@dataclass(frozen=True)
class Golden:
    """One npz of a kit: `meta`, and arrays in full or as a slice with the statistics of the whole.

    `name` is the array's own, without ".sub" or ".stats".
    """

    meta: Mapping[str, Any]
    arrays: Mapping[str, np.ndarray]

    def as_stored(self, name: str, whole: np.ndarray) -> Arrays:
        """What the file would hold of an array: itself, or its slice and its statistics."""
        if name in self.arrays:
            return {name: whole}
        made: Arrays = {}
        if f"{name}.sub" in self.arrays:
            made[f"{name}.sub"] = whole[indices(self.meta["slices"][name]["slice"])]
        w = whole.astype(np.float64)
        made[f"{name}.stats"] = np.array([w.mean(), w.std(), np.linalg.norm(w), w.min(), w.max()])
        return made

    def difference(self, name: str, whole: np.ndarray) -> float:
        """The largest difference from what is stored; infinite if a shape differs or something is NaN.

        Statistics count too, the length as root mean square: none can be off by more than the values are.
        """
        return max(
            _apart(*(_per_value(key, array, whole.size) for array in (ours, self.arrays[key])))
            for key, ours in self.as_stored(name, whole).items()
        )

    def share(self, name: str, whole: np.ndarray) -> float:
        """The share of the stored values that differ at all; the shapes must be the same."""
        key = name if name in self.arrays else f"{name}.sub"
        differ = self.as_stored(name, whole)[key] != self.arrays[key]
        return float(differ.mean()) if differ.size else 0.0

    def peak(self, name: str) -> float:
        """The largest magnitude in the whole array."""
        return float(np.abs(self._extremes(name)).max())

    def psnr(self, name: str, whole: np.ndarray) -> float:
        """In dB, over the values that are stored; the range is the whole array's, zero included."""
        key = name if name in self.arrays else f"{name}.sub"
        error = self.as_stored(name, whole)[key].astype(np.float64) - self.arrays[key]
        span = np.ptp([0.0, *self._extremes(name).flat])
        return float(20 * np.log10(span / np.sqrt(np.square(error).mean())))

    def _extremes(self, name: str) -> np.ndarray:
        return self.arrays[name] if name in self.arrays else self.arrays[f"{name}.stats"][3:]


def open_golden(path: Path) -> Golden:
    """Reads one npz of a kit; nothing in it is run."""
    with np.load(path, allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    return Golden(json.loads(str(arrays.pop("_meta"))), arrays)


def indices(text: str) -> tuple[slice, ...]:
    """The slices of a text such as "[:, ::4, 240:256]"; words after the bracket are for people."""
    brackets = re.match(r"\[([-\d:, ]*)\]", text)
    if brackets is None:
        raise ValueError(f"{text!r} is no slice")
    parts = [part.strip().split(":") for part in brackets[1].split(",")]
    return tuple(slice(*(int(n) if n else None for n in part)) for part in parts)


def _per_value(key: str, array: np.ndarray, size: int) -> np.ndarray:
    """Statistics in the unit of the values: the length of all of them becomes a root mean square."""
    return array / [1, 1, np.sqrt(size), 1, 1] if key.endswith(".stats") else array


def _apart(ours: np.ndarray, theirs: np.ndarray) -> float:
    if ours.shape != theirs.shape:
        return math.inf
    apart = np.abs(ours.astype(np.float64) - theirs).max(initial=0.0)
    return float(np.nan_to_num(apart, nan=math.inf))
