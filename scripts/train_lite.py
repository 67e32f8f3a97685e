"""Train the lip network of the embedded engine, test it on voices it never heard, and write it down.

    python scripts/train_lite.py --out core/engines/lite/mouth.safetensors --seed 1

Needs torch, espeak-ng, flite and (for the test only) festival. One thread, one core; the same seed
speaks the same corpus. Writes the weights (int8) and, beside them, a .json with checksum and scores.
"""

import argparse
import copy
import hashlib
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save
from torch import nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.engines.lite.features import BANDS, HOP, SPECTRA, WINDOW, Hearing, mel_filters, mel_power
from core.engines.lite.speech import (
    AHEAD,
    BACK_SHAPES,
    FRONT_SHAPES,
    HIDDEN,
    SCALE,
    SPEECH_WIDTH,
    SpeechNet,
    unpacked,
)
from core.types import SAMPLE_RATE, SAMPLES_PER_FRAME
from scripts import lite_corpus
from scripts.lite_augment import stream
from scripts.lite_corpus import Utterance, held_out, training
from scripts.phones import VISEMES, lips, visemes

log = logging.getLogger("train_lite")

ROWS, STREAMS = 180, 16  # a batch: 16 recordings of 7.2 s
STEPS = 10  # of half as many recordings each, for every new batch
KEPT = 100  # batches from which they are drawn
PEAK = 3e-3  # learning rate
WARP = (-0.30, 0.06)  # log; the recorded voices are men's, so mostly towards shorter vocal tracts
SHAPES = (*FRONT_SHAPES, *BACK_SHAPES)
CHANNELS = ("open", "spread", "round", "press", "tuck")
WEIGHTS = torch.tensor([3.0, 1.5, 2.0, 1.5, 1.5])


class Mouth(nn.Module):
    """core.engines.lite.speech.SpeechNet in torch, with a viseme head that only training uses."""

    def __init__(self) -> None:
        super().__init__()
        self.convs = nn.ModuleList(nn.Linear(len(s.taps) * s.inputs, s.width, bias=False) for s in SHAPES)
        self.norms = nn.ModuleList(nn.BatchNorm1d(s.width) for s in SHAPES)
        self.mixes = nn.ModuleDict(
            {str(i): nn.Linear(s.width, s.width, bias=False) for i, s in enumerate(SHAPES) if s.adds}
        )
        self.head = nn.Linear(HIDDEN, SPEECH_WIDTH)
        self.visemes = nn.Linear(HIDDEN, len(VISEMES))
        self.dropout = nn.Dropout(0.05)

    def forward(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """rows (B, T, WIDTH) -> raw lips and voice (B, T, 6), viseme logits (B, T, 15)."""
        floor = rows[..., -BANDS:]
        rows = rows[..., :-BANDS].unflatten(2, (SPECTRA, BANDS)).flatten(1, 2)
        for index in range(len(FRONT_SHAPES)):
            rows = self._layer(index, rows)
        rows = torch.cat([rows.unflatten(1, (-1, SPECTRA)).flatten(2), floor], 2)
        for index in range(len(FRONT_SHAPES), len(SHAPES)):
            rows = self._layer(index, rows)
        return self.head(rows), self.visemes(rows)

    def _layer(self, index: int, rows: torch.Tensor) -> torch.Tensor:
        taps = SHAPES[index].taps
        early, late = rows[:, :1].expand(-1, -taps[0], -1), rows[:, -1:].expand(-1, taps[-1], -1)
        padded = torch.cat([early, rows, late], 1)
        seen = torch.cat([padded[:, tap - taps[0] :][:, : rows.shape[1]] for tap in taps], 2)
        normal = self.norms[index](self.convs[index](seen).flatten(0, 1)).unflatten(0, rows.shape[:2])
        out = self.dropout(F.relu(normal))
        return rows + self.mixes[str(index)](out) if SHAPES[index].adds else out

    def arrays(self) -> dict[str, np.ndarray]:
        """As SpeechNet.of takes them, each normalisation folded into the weights before it."""
        state, out = self.state_dict(), {}
        for index, shape in enumerate(SHAPES):
            norm = {
                name: state[f"norms.{index}.{name}"]
                for name in ("weight", "bias", "running_mean", "running_var")
            }
            scale = norm["weight"] / torch.sqrt(norm["running_var"] + 1e-5)
            out[f"{index}.weight"] = (state[f"convs.{index}.weight"] * scale[:, None]).T
            out[f"{index}.bias"] = norm["bias"] - norm["running_mean"] * scale
            if shape.adds:
                out[f"{index}.mix"] = state[f"mixes.{index}.weight"].T
        out["head.weight"], out["head.bias"] = state["head.weight"].T, state["head.bias"]
        return {name: np.ascontiguousarray(value.numpy()) for name, value in out.items()}


def features(samples: np.ndarray, filters: np.ndarray) -> np.ndarray:
    """(B, n) -> (B, n // 640, WIDTH) as a stream would see it from its beginning."""
    whole = samples[:, : samples.shape[1] // SAMPLES_PER_FRAME * SAMPLES_PER_FRAME]
    padded = np.pad(whole, ((0, 0), (WINDOW - HOP, 0)))
    return Hearing.silent(len(samples)).follow(mel_power(padded, filters))[0]


def batch(pool: list[Utterance], rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Features, targets and visemes of fresh recordings, AHEAD + 1 rows of silence before each."""
    made = [stream(pool, ROWS, rng) for _ in range(STREAMS)]
    filters = np.stack([mel_filters(float(np.exp(rng.uniform(*WARP)))) for _ in made])
    quiet = AHEAD + 1
    rows = features(np.pad(np.stack([m[0] for m in made]), ((0, 0), (quiet * SAMPLES_PER_FRAME, 0))), filters)
    spectra = rows[..., : SPECTRA * BANDS].reshape(STREAMS, -1, SPECTRA, BANDS)
    for one in spectra:  # a hole in the spectrum now and then: no single band may be trusted
        if rng.random() < 0.2:
            low = rng.integers(0, BANDS)
            one[quiet:, :, low : low + rng.integers(1, 7)] = -1.5
    targets = np.pad(np.stack([m[1] for m in made]), ((0, 0), (quiet, 0), (0, 0)))
    kinds = np.pad(np.stack([m[2] for m in made]), ((0, 0), (quiet, 0)))
    return torch.from_numpy(rows), torch.from_numpy(targets), torch.from_numpy(kinds)


def loss_of(model: Mouth, streams: Sequence[tuple[torch.Tensor, ...]]) -> torch.Tensor:
    """Squared error, more where lips meet and where they should be at rest, plus what is being said."""
    rows, targets, kinds = (torch.stack(part) for part in zip(*streams, strict=True))
    raw, logits = (out[:, :-AHEAD] for out in model(rows))
    targets, kinds = targets[:, :-AHEAD], kinds[:, :-AHEAD]
    shut = (targets[..., 3] > 0.5).float() + (kinds == 0).float()
    error = (torch.sigmoid(raw[..., :5]) - targets[..., :5]).square() * WEIGHTS
    error = error.sum(-1) * (1 + 0.4 * shut)
    voice = F.binary_cross_entropy_with_logits(raw[..., 5], targets[..., 5])
    said = F.cross_entropy(logits.flatten(0, 1), kinds.flatten(), label_smoothing=0.05)
    return error.mean() + 0.1 * voice + 0.3 * said


def train(pool: list[Utterance], cycles: Sequence[int], seed: int) -> Mouth:
    """One cycle after the other, each of so many batches and gentler than the one before."""
    torch.manual_seed(seed)
    model = Mouth()
    for number, batches in enumerate(cycles):
        model = one_cycle(model, pool, batches, PEAK / 2**number, seed + number)
    return model


def one_cycle(model: Mouth, pool: list[Utterance], batches: int, peak: float, seed: int) -> Mouth:
    """Train with a learning rate that rises to `peak` and falls; returns the running mean of the weights.

    Making a recording costs more than learning from it, so each is learnt from a few times.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed + 1)
    mean = copy.deepcopy(model)
    optimiser = torch.optim.AdamW(model.train().parameters(), peak, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, peak, batches * STEPS, pct_start=0.05)
    kept: list[tuple[torch.Tensor, ...]] = []
    for made in range(batches):
        kept = [*kept[-KEPT * STREAMS :], *zip(*batch(pool, rng), strict=True)]
        for _ in range(STEPS):
            loss = loss_of(model, [kept[one] for one in rng.integers(len(kept), size=STREAMS // 2)])
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            decay = min(0.998, schedule.last_epoch / (schedule.last_epoch + 10))
            with torch.no_grad():
                for slow, fast in zip(mean.parameters(), model.parameters(), strict=True):
                    slow.lerp_(fast, 1 - decay)
        if made % 25 == 24:
            log.info("%d %%, loss %.4f", 100 * made / batches, loss.item())
    return _settled(mean, kept)


def _settled(model: Mouth, kept: list[tuple[torch.Tensor, ...]]) -> Mouth:
    """Ready for use: its normalisations measured anew, since mean weights have statistics of their own."""
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm1d):
            norm.reset_running_stats()
            norm.momentum = None  # a plain mean over all that follows
    model.train()
    with torch.no_grad():
        for first in range(0, len(kept), STREAMS):
            model(torch.stack([rows for rows, *_ in kept[first : first + STREAMS]]))
    return model.eval()


def scores(model: Mouth, net: SpeechNet, tests: list[Utterance]) -> dict[str, dict[str, float]]:
    """Per group: correlation of each channel, viseme accuracy, opening on bilabials and in silence."""
    groups: dict[str, list[np.ndarray]] = {}
    for speech, group in tests:
        got = np.concatenate([(mouth := net.stream()).push(speech.samples), mouth.finish()])
        times = (np.arange(len(got)) + 0.5) * SAMPLES_PER_FRAME / SAMPLE_RATE
        kinds = visemes(speech.phones, times)
        ahead = np.pad(speech.samples, (0, (AHEAD + 2) * SAMPLES_PER_FRAME))[None]
        with torch.no_grad():
            logits = model(torch.from_numpy(features(ahead, mel_filters())))[1][0, : len(got)].numpy()
        guess = logits.argmax(-1)
        table = np.column_stack([got[:, :5], lips(speech.phones, times), kinds, guess])
        groups.setdefault(group, []).append(table)
    return {group: _score(np.concatenate(tables)) for group, tables in groups.items()}


def _score(table: np.ndarray) -> dict[str, float]:
    got, wanted, kinds, guess = table[:, :5], table[:, 5:10], table[:, 10], table[:, 11]
    out = {"viseme": float((kinds == guess).mean())}
    for channel, name in enumerate(CHANNELS):
        if wanted[:, channel].std() > 0.05:  # Japanese and Korean have no f that tucks the lip
            out[name] = float(np.corrcoef(got[:, channel], wanted[:, channel])[0, 1])
    silent = np.convolve(kinds == 0, np.ones(5), "same") == 5
    for name, rows in (("bilabial_open", wanted[:, 3] > 0.9), ("silence_open", silent)):
        if rows.any():
            out[name] = float(got[rows, 0].mean())
    vowels = wanted[:, 0] > 0.6
    out["open_reached"] = float(got[vowels, 0].mean() / wanted[vowels, 0].mean())
    return {name: round(value, 3) for name, value in out.items()}


def packed(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Weights as they lie in the file: matrices as int8 with a scale for every column, the rest float32."""
    out: dict[str, np.ndarray] = {}
    for name, array in arrays.items():
        if array.ndim < 2:
            out[name] = array.astype(np.float32)
            continue
        scale = np.maximum(np.abs(array).max(0), 1e-12).astype(np.float32) / 127
        out[name], out[name + SCALE] = np.rint(array / scale).astype(np.int8), scale
    return out


def write(model: Mouth, recipe: dict[str, object], out: Path) -> None:
    """Weights as int8, and their checksum, recipe and scores as they will sound in use."""
    arrays = packed(model.arrays())
    net = SpeechNet.of(unpacked(arrays))
    data, scored = save(arrays), scores(model, net, held_out())
    report = {
        "sha256": hashlib.sha256(data).hexdigest(),
        "recipe": {"script": "scripts/train_lite.py", **recipe},
        "data": " ".join(str(lite_corpus.__doc__).split()),
        "meaning": "viseme: share of frames with the right one of 15; open .. tuck: correlation; "
        "open_reached: share on wide vowels; bilabial_open, silence_open: mean opening where there is none",
        "scores": scored,
    }
    out.write_bytes(data)
    out.with_suffix(".json").write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", "utf-8")
    for group, score in scored.items():
        log.info("%-14s %s", group, score)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="safetensors; the scores go beside it")
    parser.add_argument(
        "--cycles", type=int, nargs="+", default=[1000, 500, 300], help="batches each; these take an hour"
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--espeak-each", type=int, default=80, help="utterances a language")
    parser.add_argument("--flite-each", type=int, default=400, help="utterances a voice")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    torch.set_num_threads(1)
    pool = training(options.seed, options.espeak_each, options.flite_each)
    seconds = sum(len(one.speech.samples) for one in pool) / SAMPLE_RATE
    log.info("%d utterances, %.0f s", len(pool), seconds)
    recipe = {name: getattr(options, name) for name in ("seed", "cycles", "espeak_each", "flite_each")}
    recipe |= {"utterances": len(pool), "seconds": round(seconds)}
    write(train(pool, options.cycles, options.seed), recipe, options.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
