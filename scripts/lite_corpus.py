"""The speech that the lip network learns from and is tested on, spoken by synthesisers, by seed.

Trained on: espeak-ng in eleven languages and many voices, and flite's recorded voices speaking English,
made-up words, and the phones of the other languages. Held out: flite's slt; per language two espeak
variants on sentences of their own; and festival, a synthesiser that is never trained on.
"""

import functools
import json
from pathlib import Path
from typing import NamedTuple

import numpy as np

from core.errors import BadOption
from core.types import SAMPLE_RATE
from scripts.phones import Phone, letters_of
from scripts.synthesise import Speech, espeak, festival, flite

LANGUAGES = {
    "en": ("en-us", "en", "en-gb-scotland", "en-gb-x-rp"), "zh": ("cmn-latn-pinyin",), "ja": ("ja",),
    "ko": ("ko",), "es": ("es", "es-419"), "de": ("de",), "hi": ("hi",), "fr": ("fr",), "it": ("it",),
    "pt": ("pt", "pt-br"), "ru": ("ru",),
}  # fmt: skip
VARIANTS = (
    *(
        "",
        "+whisper",
        "+klatt",
        "+klatt2",
        "+f1",
        "+f2",
        "+f4",
        "+f5",
        "+Annie",
        "+anika",
        "+linda",
        "+steph",
    ),
    *(
        "+m1",
        "+m2",
        "+m3",
        "+m4",
        "+m6",
        "+m7",
        "+m8",
        "+Andy",
        "+edward",
        "+max",
        "+michel",
        "+john",
        "+paul",
    ),
    *("+belinda", "+Alicia"),
)
HELD_VARIANTS = ("+f3", "+m5")
HELD_SENTENCES = 4  # the last of each language
FLITE_VOICES = ("rms", "awb", "kal16", "kal")
_NEAREST = {
    "aa": "ɑa", "ae": "æ", "ah": "ɐʌɤ", "ao": "ɔɒ", "ax": "ə", "b": "b", "d": "dɾɖ", "dh": "ð", "eh": "ɛ",
    "er": "ɜɚɝøœ", "ey": "e", "f": "fɸ", "g": "gɡ", "hh": "hɦxχ", "ih": "ɪɨ", "iy": "i", "k": "k", "l": "lʎɭ",
    "m": "m", "n": "nɲɳ", "ng": "ŋ", "ow": "o", "p": "p", "r": "ɹrɻʁ", "s": "s", "sh": "ʃʂɕç", "t": "tʈ",
    "th": "θ", "uh": "ʊ", "uw": "uyɯʉ", "v": "vβʋ", "w": "wɥ", "y": "j", "z": "z", "zh": "ʒʐʑ",
}  # fmt: skip
_FLITE_OF = {letter: name for name, letters in _NEAREST.items() for letter in letters}
_ONSETS = ("p b m f v w " * 2 + "t d n s z l r k g sh ch jh th dh y hh").split()
_NUCLEI = ("aa iy uw ow " * 2 + "ae ah ao aw ay eh er ey ih oy uh").split()
_CODAS = (*[""] * 3, *"m p b f v n s t d k l r ng sh z".split())  # noqa: SIM905


class Utterance(NamedTuple):
    """`group` is what scores are reported by, such as "en" or "flite slt"."""

    speech: Speech
    group: str


@functools.cache
def sentences(language: str) -> tuple[str, ...]:
    table = json.loads(Path(__file__).with_name("sentences.json").read_text("utf-8"))
    return tuple(table[language])


def _text(language: str, rng: np.random.Generator) -> str:
    """A sentence of the training part, or the words of three of them in disorder."""
    known = sentences(language)[:-HELD_SENTENCES]
    if rng.random() < 0.4:
        return str(rng.choice(known))
    words = " ".join(rng.choice(known, 3)).split()
    return " ".join(rng.permutation(words)[: rng.integers(4, 12)])


def _espeak(language: str, rng: np.random.Generator) -> Speech:
    voice = str(rng.choice(LANGUAGES[language])) + str(rng.choice(VARIANTS))
    rate, pitch, spread = rng.integers((120, 10, 20), (235, 95, 95))
    return espeak(_text(language, rng), voice, int(rate), int(pitch), int(spread))


def _invented(rng: np.random.Generator) -> str:
    syllables = rng.integers(5, 14)
    return " ".join(
        f"{rng.choice(_ONSETS)} {rng.choice(_NUCLEI)} {rng.choice(_CODAS)}" + " pau" * (rng.random() < 0.12)
        for _ in range(syllables)
    )


def _foreign(language: str, rng: np.random.Generator) -> str:
    """The phones of another language, as near as flite's voices come to them."""
    voice = LANGUAGES[language][0]
    letters = [p.phone for p in letters_of(espeak(_text(language, rng), voice).phones)]
    return " ".join(_FLITE_OF.get(letter, "pau") for letter in letters)


def _flite(voice: str, rng: np.random.Generator) -> Speech:
    stretch, pitch = float(rng.uniform(0.9, 1.5)), float(rng.uniform(80, 200))
    kind = rng.random()
    if kind < 0.45:
        return flite(_text("en", rng), voice, stretch, pitch)
    words = _invented(rng) if kind < 0.7 else _foreign(str(rng.choice([*LANGUAGES][1:])), rng)
    return flite(f"pau {words} pau", voice, stretch, pitch, phones=True)


def training(seed: int, espeak_each: int, flite_each: int) -> list[Utterance]:
    """`espeak_each` utterances a language (English twice as many), `flite_each` a voice."""
    rng = np.random.default_rng(seed)
    out = [
        Utterance(_espeak(language, rng), language)
        for language in LANGUAGES
        for _ in range(espeak_each * (2 if language == "en" else 1))
    ]
    out += [
        Utterance(_flite(voice, rng), f"flite {voice}") for voice in FLITE_VOICES for _ in range(flite_each)
    ]
    return [one for one in out if _usable(one.speech)]


def held_out() -> list[Utterance]:
    """Voices and sentences that training never sees."""
    out = [
        Utterance(espeak(text, LANGUAGES[language][0] + variant), f"espeak {language}")
        for language in LANGUAGES
        for variant in HELD_VARIANTS
        for text in sentences(language)[-HELD_SENTENCES:]
    ]
    out += [Utterance(flite(text, "slt"), "flite slt") for text in sentences("en")]
    for voice, language in (("kal_diphone", "en"), ("ked_diphone", "en"), ("lp_diphone", "it")):
        try:
            out += [
                Utterance(festival(text, voice), f"festival {voice[:3]}")
                for text in sentences(language)[-16:]
            ]
        except BadOption:  # only kal_diphone comes with festival; the others are packages of their own
            continue
    return out


def _usable(speech: Speech) -> bool:
    return len(speech.samples) > SAMPLE_RATE // 2 and len(speech.phones) > 3


def changed_speed(speech: Speech, factor: float) -> Speech:
    """Played faster (above 1): higher voice, shorter vocal tract, quicker speech."""
    count = int(len(speech.samples) / factor)
    samples = np.interp(np.arange(count) * factor, np.arange(len(speech.samples)), speech.samples)
    timed = [Phone(name, start / factor, end / factor) for name, start, end in speech.phones]
    return Speech(samples.astype(np.float32), timed)
