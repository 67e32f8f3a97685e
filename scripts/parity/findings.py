"""What was computed, set against what a kit holds."""

import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.contracts import Network
from core.errors import BadPath, InputError
from scripts.parity.kit import Arrays, Golden, open_golden

log = logging.getLogger(__name__)


class Limit(NamedTuple):
    """How far a result may be off: the largest difference, absolute or of the stored peak, and the share of
    the values that may differ at all."""

    largest: float
    of_peak: bool = False
    share: float = 1.0


EXACT = Limit(0.0)
STEP = Limit(1e-5)  # stages in numpy
MATRIX = Limit(5e-4)  # of a crop
BLOB = Limit(1.01 / 128, share=0.01)  # one grey level of a picture that was made smaller
CROPPED = Limit(8, share=0.01)  # grey levels
COMPOSITE = Limit(1, share=0.01)
NETWORK = Limit(1e-4, of_peak=True)
DEFORMATION = Limit(1e-4)
DDIM = Limit(1e-3)
MOTION = Limit(1e-4)  # keypoints of a whole run
FRAME = Limit(0.5)  # of 255, before rounding
FRAME_ROWS = Limit(0.02)  # the same, means of its rows


class Result(NamedTuple):
    """One array under the key that it has in the kit's file; `rows` of what is stored there, if not all.

    `theirs` is what to compare with where the kit tells it with its cases and not as an array.
    """

    key: str
    value: np.ndarray
    limit: Limit
    rows: slice = slice(None)
    theirs: np.ndarray | None = None


class Finding(NamedTuple):
    """One comparison; `difference` and `limit` in the same unit, `share` of the values that differ."""

    file: str
    key: str
    difference: float
    limit: float
    share: float
    ok: bool


@dataclass(frozen=True)
class Kit:
    """The numbers of a kit, in the folder `golden`, and the networks made of its weights."""

    salt: str
    golden_folder: Path
    media: Path | None
    networks: Callable[[str], Network]  # by name; made when first asked for
    insides: Callable[[str, Arrays], Arrays] = (
        lambda name, arrays: {}
    )  # what lies between, where it can be seen

    def golden(self, stem: str) -> Golden:
        return open_golden(self.golden_folder / f"{stem}.npz")

    def table(self, stem: str) -> Any:
        return json.loads((self.golden_folder / f"{stem}.json").read_text("utf-8"))


Check = Callable[[Kit], Iterator[Result]]
"""Computes what one npz of a kit holds, key by key."""


def read_manifest(folder: Path) -> dict[str, Any]:
    """Raises BadPath or InputError where the folder is no kit."""
    try:
        manifest = json.loads((folder / "manifest.json").read_text("utf-8"))
        manifest["salt"], manifest["networks"]
    except OSError as error:
        raise BadPath(f"'{folder}' has no manifest.json.", "Give the folder of a parity kit.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"'{folder}/manifest.json' is not a kit's manifest.") from error
    return dict(manifest)


def compare(file: str, golden: Golden, result: Result) -> Finding:
    """One result against the stored array, or its stored slice and statistics."""
    if result.theirs is not None:
        golden = Golden(golden.meta, {result.key: result.theirs})
    elif result.rows != slice(None):
        golden = Golden(golden.meta, {result.key: golden.arrays[result.key][result.rows]})
    difference = golden.difference(result.key, result.value)
    limit = result.limit.largest * (golden.peak(result.key) if result.limit.of_peak else 1.0)
    share = golden.share(result.key, result.value) if np.isfinite(difference) else 1.0
    ok = difference <= limit and share <= result.limit.share
    return Finding(file, result.key, difference, limit, share, ok)


def run(kit: Kit, stem: str, check: Check, dump: Path | None) -> Iterator[Finding]:
    """Compute and compare one file of the kit; with `dump`, write what was computed to the same name."""
    golden = kit.golden(stem)
    computed: dict[str, np.ndarray] = {}
    for result in check(kit):
        yield compare(f"{stem}.npz", golden, result)
        if result.theirs is None:
            computed |= golden.as_stored(result.key, result.value)
    if dump:
        dump.mkdir(parents=True, exist_ok=True)
        np.savez(dump / f"{stem}.npz", **computed)
