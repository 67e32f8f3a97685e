"""Phones, and what lips do on them: the one table behind training data and lip-sync references.

Every notation is first turned into IPA letters ("ay" -> "aɪ"); a letter has a viseme, lip targets and
a strength. `lips` blends the targets over time in the manner of Cohen & Massaro (1993): each phone
pulls by its dominance, so that a consonant that leaves the lips free takes the shape of its vowels.
"""

import json
import re
import unicodedata
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import BadPath, InputError

VISEMES = ("sil", "PP", "FF", "TH", "DD", "kk", "CH", "SS", "nn", "RR", "aa", "E", "ih", "oh", "ou")
GRID = 200  # Hz, the time grid on which lip targets are blended
SHORT_PAUSE = 0.11  # s; a shorter silence is a stop or a word boundary, and the lips talk through it


# How far a phone reaches, for opening, spreading and rounding: corners start early and linger.
_AWAY = np.abs(np.arange(-60, 61)) / GRID
_KERNELS = (np.hanning(29), np.exp(-_AWAY / 0.035), np.exp(-_AWAY / 0.040))


class Phone(NamedTuple):
    """One phone of an utterance; times in seconds."""

    phone: str
    start: float
    end: float


class Lips(NamedTuple):
    """Targets 0..1 of a letter, and how strongly it pulls the opening and the corners."""

    viseme: str
    open: float
    spread: float = 0.0
    round: float = 0.0
    pull_open: float = 1.0
    pull_corners: float = 1.0


_VOWELS = {
    "i": Lips("ih", 0.32, 0.85), "ɪ": Lips("ih", 0.42, 0.60), "ᵻ": Lips("ih", 0.36, 0.50),
    "y": Lips("ou", 0.24, 0.0, 0.80),
    "ʏ": Lips("ou", 0.32, 0.0, 0.65), "ɨ": Lips("ih", 0.34, 0.45), "ʉ": Lips("ou", 0.24, 0.0, 0.80),
    "ɯ": Lips("ou", 0.30, 0.25, 0.20), "u": Lips("ou", 0.22, 0.0, 1.0), "ʊ": Lips("ou", 0.36, 0.0, 0.75),
    "e": Lips("E", 0.52, 0.65), "ø": Lips("oh", 0.42, 0.0, 0.65), "ɘ": Lips("E", 0.45, 0.30),
    "ɵ": Lips("oh", 0.40, 0.0, 0.50), "ɤ": Lips("E", 0.48, 0.25), "o": Lips("oh", 0.48, 0.0, 0.85),
    "ə": Lips("aa", 0.42, 0.12, 0.0, 0.6, 0.5), "ɛ": Lips("E", 0.65, 0.50),
    "œ": Lips("oh", 0.56, 0.0, 0.50),
    "ɜ": Lips("E", 0.52, 0.10, 0.10), "ʌ": Lips("aa", 0.66, 0.12), "ɔ": Lips("oh", 0.68, 0.0, 0.60),
    "æ": Lips("aa", 0.80, 0.40), "ɐ": Lips("aa", 0.72, 0.12), "a": Lips("aa", 0.92, 0.15),
    "ɑ": Lips("aa", 0.95, 0.0, 0.05), "ɒ": Lips("oh", 0.78, 0.0, 0.40), "ɚ": Lips("RR", 0.42, 0.0, 0.35),
    "ɝ": Lips("RR", 0.44, 0.0, 0.35),
}  # fmt: skip
_CONSONANTS = (
    ("pbmɓ", Lips("PP", 0.0, 0.0, 0.0, 1.0, 0.15)),
    ("fvɱ", Lips("FF", 0.08, 0.0, 0.0, 1.0, 0.15)),
    ("θð", Lips("TH", 0.25, 0.10, 0.0, 0.9, 0.25)),
    ("tdʈɖɗ", Lips("DD", 0.24, 0.10, 0.0, 0.7, 0.2)),
    ("kgɡcɟqxχɣʁɰ", Lips("kk", 0.30, 0.0, 0.0, 0.4, 0.1)),
    ("ʃʒʂʐ", Lips("CH", 0.20, 0.0, 0.55, 1.1, 0.9)),
    ("sz", Lips("SS", 0.15, 0.45, 0.0, 1.1, 0.5)),
    ("nŋɲɳɴ", Lips("nn", 0.26, 0.10, 0.0, 0.6, 0.2)),
    ("lɭɫʎ", Lips("nn", 0.30, 0.10, 0.0, 0.4, 0.2)),
    ("ɹɻɽ", Lips("RR", 0.33, 0.0, 0.40, 0.5, 0.6)),
)
_SINGLES = {
    "ɸ": Lips("FF", 0.14, 0.15, 0.25), "β": Lips("PP", 0.10, 0.0, 0.0, 1.0, 0.2),
    "ʋ": Lips("FF", 0.16, 0.0, 0.10, 1.0, 0.3), "ɕ": Lips("CH", 0.20, 0.35, 0.10, 1.1, 0.6),
    "ʑ": Lips("CH", 0.20, 0.35, 0.10, 1.1, 0.6), "ç": Lips("SS", 0.22, 0.45, 0.0, 1.0, 0.4),
    "r": Lips("RR", 0.30, 0.05, 0.05, 0.7, 0.2), "ɾ": Lips("DD", 0.30, 0.05, 0.0, 0.6, 0.15),
    "ʀ": Lips("kk", 0.34, 0.0, 0.0, 0.5, 0.1), "j": Lips("ih", 0.30, 0.70, 0.0, 0.9, 0.7),
    "ʝ": Lips("ih", 0.28, 0.60, 0.0, 0.9, 0.7),
    "ɥ": Lips("ou", 0.22, 0.0, 0.80), "w": Lips("ou", 0.16, 0.0, 0.95, 1.1, 1.1),
    "ʍ": Lips("ou", 0.16, 0.0, 0.95, 1.1, 1.1), "h": Lips("kk", 0.40), "ɦ": Lips("kk", 0.40),
    "ħ": Lips("kk", 0.40), "ʔ": Lips("kk", 0.40),
}  # fmt: skip
LIPS = {
    **_VOWELS,
    **_SINGLES,
    **{letter: lips for letters, lips in _CONSONANTS for letter in letters},
}
SILENCE = Lips("sil", 0.0, 0.0, 0.0, 1.2, 0.4)
PRESSED = {"p": 1.0, "b": 1.0, "m": 1.0, "ɓ": 1.0, "β": 0.35}  # how firmly the lips meet
TUCKED = {"f": 1.0, "v": 1.0, "ɱ": 1.0, "ʋ": 0.5, "ɸ": 0.3}
_FREE = frozenset("hɦħʔ")  # made in the throat: the lips are already at the next letter
OPEN_VOWELS = frozenset("aɑæɐʌɒɔ")

_ARPABET = {
    "aa": "ɑ", "ae": "æ", "ah": "ʌ", "ao": "ɔ", "aw": "aʊ", "ax": "ə", "axr": "ɚ", "ay": "aɪ", "b": "b",
    "ch": "tʃ", "d": "d", "dh": "ð", "dx": "ɾ", "eh": "ɛ", "el": "əl", "em": "m", "en": "n", "er": "ɝ",
    "ey": "eɪ", "f": "f", "g": "ɡ", "hh": "h", "hv": "h", "ih": "ɪ", "ix": "ɨ", "iy": "i", "jh": "dʒ",
    "k": "k", "l": "l", "m": "m", "n": "n", "ng": "ŋ", "nx": "n", "ow": "oʊ", "oy": "ɔɪ", "p": "p", "q": "ʔ",
    "r": "ɹ", "s": "s", "sh": "ʃ", "t": "t", "th": "θ", "uh": "ʊ", "uw": "u", "ux": "ʉ", "v": "v", "w": "w",
    "y": "j", "z": "z", "zh": "ʒ",
}  # fmt: skip
_ALIASES = {"o-": "ɤ", "s.": "ʂ", "ts.": "tʂ", "ts.h": "tʂ", "??": "ʔ"}  # as espeak writes them
_SAMPA = str.maketrans("OELJSZNTDBG@", "ɔɛʎɲʃʒŋθðβɣə")  # capitals are never IPA
_PAUSES = frozenset(("", "pau", "sil", "sp", "spn", "ssil", "brth", "h#", "#", "_", "_:", "|"))


def load(path: Path) -> list[Phone]:
    """Phones of a JSON list of {"phone", "start", "end"}. Raises BadPath or InputError."""
    try:
        entries = json.loads(path.read_text("utf-8"))
        return [Phone(str(e["phone"]), float(e["start"]), float(e["end"])) for e in entries]
    except OSError as error:
        raise BadPath(f"Cannot read the phones '{path.name}': {error.strerror}.") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"'{path.name}' is not a list of phones.",
            'Each entry is {"phone": "m", "start": 0.1, "end": 0.2}.',
        ) from error


def save(phones: Sequence[Phone], path: Path) -> None:
    """Write what `load` reads."""
    path.write_text(json.dumps([phone._asdict() for phone in phones], ensure_ascii=False), "utf-8")


def letters_of(phones: Sequence[Phone]) -> list[Phone]:
    """The same stretch of time in IPA letters, one known letter (or "" for silence) each.

    Names are ARPAbet (as flite and festival's radio set, stress digits allowed) if all of them are,
    else IPA as espeak writes it, or SAMPA. Affricates and diphthongs are divided; lips talk through
    short pauses.
    """
    names = [phone.phone.strip() for phone in phones]
    arpabet = all(_plain(name) in _ARPABET or name.lower() in _PAUSES for name in names)
    out: list[Phone] = []
    for name, (_, start, end) in zip(names, phones, strict=True):
        silent = name.lower() in _PAUSES or name.startswith("(")
        letters = "" if silent else _ARPABET[_plain(name)] if arpabet else _ipa(name)
        if not letters and out and (not silent or not out[-1].phone):  # a mark such as "ʲ" lengthens
            out[-1] = out[-1]._replace(end=end)
            continue
        each = (end - start) / max(1, len(letters))
        out += [Phone(c, start + i * each, start + (i + 1) * each) for i, c in enumerate(letters or ("",))]
    return _through_short_pauses(out)


def _through_short_pauses(letters: list[Phone]) -> list[Phone]:
    out: list[Phone] = []
    for letter in letters:
        if out and not letter.phone and letter.end - letter.start < SHORT_PAUSE:
            out[-1] = out[-1]._replace(end=letter.end)
        else:
            out.append(letter)
    return out


def lips(phones: Sequence[Phone], times: np.ndarray) -> np.ndarray:
    """Lip targets at `times` (n,) seconds: float32 (n, 5) open, spread, round, press, tuck, all 0..1."""
    letters = letters_of(phones)
    end = max([1.0, *(p.end for p in letters), *times[-1:].tolist()]) + 0.5
    grid = np.arange(-0.5, end, 1 / GRID)
    values = np.zeros((len(grid), 3))
    pulls = np.tile([SILENCE.pull_open, SILENCE.pull_corners, SILENCE.pull_corners], (len(grid), 1))
    for (letter, start, stop), (following, *_) in pairwise([*letters, Phone("", end, end)]):
        shape = LIPS.get(following if letter in _FREE else letter, SILENCE)
        if letter in _FREE:
            shape = shape._replace(open=0.7 * shape.open)
        inside = slice(*np.searchsorted(grid, (start, stop)))
        values[inside] = shape.open, shape.spread, shape.round
        pulls[inside] = shape.pull_open, shape.pull_corners, shape.pull_corners
    blended = np.empty_like(values)
    for column, kernel in enumerate(_KERNELS):
        pull = np.convolve(pulls[:, column], kernel, "same")
        blended[:, column] = np.convolve(values[:, column] * pulls[:, column], kernel, "same") / pull
    press, tuck = _contact(letters, grid, PRESSED), _contact(letters, grid, TUCKED)
    blended[:, 0] *= 1 - press
    blended[:, 0] += tuck * (LIPS["f"].open - blended[:, 0]).clip(max=0)
    curves = np.column_stack([blended, press, tuck])
    return np.column_stack([np.interp(times, grid, column) for column in curves.T]).astype(np.float32)


def visemes(phones: Sequence[Phone], times: np.ndarray) -> np.ndarray:
    """Index into VISEMES at `times` (n,) seconds; silence outside all phones."""
    out = np.zeros(len(times), np.int64)
    for letter, start, end in letters_of(phones):
        out[(times >= start) & (times < end)] = VISEMES.index(LIPS.get(letter, SILENCE).viseme)
    return out


def _contact(letters: list[Phone], grid: np.ndarray, firmness: dict[str, float]) -> np.ndarray:
    """How far lips (or lip and teeth) meet, 0..1: full for at least 50 ms, so that a frame shows it."""
    ramp = 0.065  # s
    out = np.zeros(len(grid))
    for letter, start, end in letters:
        if letter in firmness:
            spare = max(0.0, 0.05 - (end - start)) / 2
            away = np.maximum(start - spare - grid, grid - end - spare).clip(0, ramp)
            out = np.maximum(out, firmness[letter] * (0.5 + 0.5 * np.cos(np.pi * away / ramp)))
    return out


def _plain(name: str) -> str:
    return re.sub(r"[0-9]+$", "", name.lower())


def _ipa(name: str) -> str:
    name = _ALIASES.get(name, name).translate(_SAMPA)
    base = "".join(c if c in LIPS else unicodedata.normalize("NFD", c) for c in name)
    return "".join(letter for letter in base if letter in LIPS)
