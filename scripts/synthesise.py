"""Speak a text with a synthesiser whose phone timing is known.

    python scripts/synthesise.py --engine flite --voice slt --text "Move over." --out x.wav --phones x.json

Engines: espeak (libespeak-ng's phoneme events), flite and festival, as Debian packages them.
Test material for scripts/measure_sync.py and training data for scripts/train_lite.py.
"""

import argparse
import ctypes
import functools
import itertools
import re
import subprocess
import sys
import tempfile
import wave
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soxr

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.errors import BadOption, EngineUnavailable, TalkerError
from core.types import SAMPLE_RATE
from scripts import phones as phone_table
from scripts.phones import Phone

_PACKAGES = {"espeak": "libespeak-ng1", "flite": "flite", "festival": "festival"}


class Speech(NamedTuple):
    """samples float32 (n,) at 16 kHz, and the phones spoken in them."""

    samples: np.ndarray
    phones: list[Phone]


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int), ("identifier", ctypes.c_uint), ("text_position", ctypes.c_int),
        ("length", ctypes.c_int), ("audio_ms", ctypes.c_int), ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p), ("name", ctypes.c_char * 8),
    )  # fmt: skip


_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event)
)
_SYNCHRONOUS, _IPA_EVENTS, _UTF8 = 2, 0x8003, 1
_END_OF_LIST, _PHONEME = 0, 7  # espeak_EVENT_TYPE
_VOICELESS_STOPS = frozenset("ptkcqʈ")
_RATE, _PITCH, _RANGE = 1, 3, 4  # espeak_PARAMETER


@functools.cache
def _espeak_library() -> tuple[ctypes.CDLL, int]:
    try:
        library = ctypes.CDLL("libespeak-ng.so.1")
    except OSError as error:
        raise _missing("espeak") from error
    rate = library.espeak_Initialize(_SYNCHRONOUS, 0, None, _IPA_EVENTS)
    if rate <= 0:
        raise _missing("espeak")
    return library, rate


def espeak(
    text: str, voice: str = "en-us", rate: int = 165, pitch: int = 50, pitch_range: int = 50
) -> Speech:
    """Voice with an optional variant, as in "de+f2"; rate in words a minute, pitches 0..100."""
    library, sample_rate = _espeak_library()
    if library.espeak_SetVoiceByName(voice.encode()) != 0:
        raise BadOption(f"espeak-ng has no voice '{voice}'.", "List them: espeak-ng --voices")
    for parameter, value in ((_RATE, rate), (_PITCH, pitch), (_RANGE, pitch_range)):
        library.espeak_SetParameter(parameter, value, 0)
    pieces: list[np.ndarray] = []
    marks: list[tuple[str, float]] = []

    def take(
        samples: "ctypes._Pointer[ctypes.c_short]", count: int, events: "ctypes._Pointer[_Event]"
    ) -> int:
        if count > 0:
            pieces.append(np.ctypeslib.as_array(samples, (count,)).copy())
        for event in (events[index] for index in itertools.count()):
            if event.type == _END_OF_LIST:
                break
            if event.type == _PHONEME:
                marks.append((event.name.decode("utf-8", "ignore"), event.audio_ms / 1000))
        return 0

    callback = _Callback(take)
    library.espeak_SetSynthCallback(callback)
    data = text.encode()
    library.espeak_Synth(data, len(data) + 1, 0, 1, 0, _UTF8, None, None)
    samples = np.concatenate([np.zeros(0, np.int16), *pieces]).astype(np.float32) / 32768
    ends = [start for _, start in marks[1:]] + [len(samples) / sample_rate]
    timed = [Phone(name, start, end) for (name, start), end in zip(marks, ends, strict=True)]
    return Speech(soxr.resample(samples, sample_rate, SAMPLE_RATE), _with_closures(timed))


def _with_closures(timed: list[Phone]) -> list[Phone]:
    """espeak reports a voiceless stop at its burst; the lips have met 45 ms before, in the phone ahead."""
    out = timed[:1]
    for phone in timed[1:]:
        if phone.phone[:1] in _VOICELESS_STOPS:
            before = out[-1]
            start = max(before.start + 0.4 * (before.end - before.start), phone.start - 0.045)
            out[-1] = before._replace(end=start)
            phone = phone._replace(start=start)
        out.append(phone)
    return out


def flite(
    text: str, voice: str = "slt", stretch: float = 1.0, pitch: float | None = None, phones: bool = False
) -> Speech:
    """`stretch` slows down; pitch in Hz; with `phones` the text is ARPAbet, divided by spaces."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "x.wav")
        settings = ["--setf", f"duration_stretch={stretch}"]
        if pitch is not None:
            settings += ["--setf", f"int_f0_target_mean={pitch}"]
        said = _run(
            ["flite", "-voice", voice, "-psdur", *settings, "-p" if phones else "-t", text, "-o", str(out)]
        )
        samples = _read(out, "flite", voice)
    timed, start = [], 0.0
    for name, end in re.findall(r"(\S+):([\d.]+)", said):
        timed.append(Phone(name, start, float(end)))
        start = float(end)
    return Speech(samples, timed)


def festival(text: str, voice: str = "kal_diphone") -> Speech:
    """Festival's voices, with the segment times of the utterance."""
    if not re.fullmatch(r"\w+", voice):
        raise BadOption(f"'{voice}' is not a festival voice.", "For example: kal_diphone")
    with tempfile.TemporaryDirectory() as folder:
        out, segments, program = Path(folder, "x.wav"), Path(folder, "x.lab"), Path(folder, "x.scm")
        quoted = text.replace("\\", " ").replace('"', " ")
        scheme = (
            f'(voice_{voice})\n(set! utt (utt.synth (Utterance Text "{quoted}")))\n'
            f'(utt.save.wave utt "{out}")\n(utt.save.segs utt "{segments}")\n'
        )
        program.write_text(scheme, "latin-1" if max(scheme) < "\u0100" else "utf-8")  # as its voices read
        _run(["festival", "--batch", str(program)])
        samples = _read(out, "festival", voice)
        lines = segments.read_text("latin-1").split("#\n", 1)[1].splitlines()
    timed, start = [], 0.0
    for line in lines:
        end, _, name = line.split()[:3]
        timed.append(Phone(name, start, float(end)))
        start = float(end)
    return Speech(samples, timed)


def _run(command: Sequence[str]) -> str:
    try:
        done = subprocess.run(command, check=False, capture_output=True, timeout=300)  # noqa: S603
    except FileNotFoundError as error:
        raise _missing(command[0]) from error
    return done.stdout.decode("utf-8", "replace")


def _read(path: Path, engine: str, voice: str) -> np.ndarray:
    if not path.exists():
        raise BadOption(f"{engine} could not speak with the voice '{voice}'.", "Is the voice installed?")
    with wave.open(str(path)) as file:
        samples = np.frombuffer(file.readframes(file.getnframes()), np.int16).astype(np.float32) / 32768
        return soxr.resample(samples, file.getframerate(), SAMPLE_RATE)


def _missing(engine: str) -> EngineUnavailable:
    return EngineUnavailable(f"{engine} is not installed.", f"Run: apt-get install {_PACKAGES[engine]}")


def write_wav(samples: np.ndarray, path: Path) -> None:
    """16-bit mono WAV at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(SAMPLE_RATE)
        file.writeframes((samples.clip(-1, 1) * 32767).astype("<i2").tobytes())


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--engine", choices=("espeak", "flite", "festival"), required=True)
    parser.add_argument("--voice", help="as the engine names it")
    parser.add_argument("--text", required=True)
    parser.add_argument("--out", type=Path, required=True, help="WAV, 16 kHz mono")
    parser.add_argument("--phones", type=Path, help="JSON list of phone, start, end in seconds")
    options = parser.parse_args(arguments)
    engine = {"espeak": espeak, "flite": flite, "festival": festival}[options.engine]
    try:
        speech = engine(options.text, options.voice) if options.voice else engine(options.text)
        write_wav(speech.samples, options.out)
        if options.phones:
            phone_table.save(speech.phones, options.phones)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(f"{options.out}: {len(speech.samples) / SAMPLE_RATE:.2f} s, {len(speech.phones)} phones")
    return 0


if __name__ == "__main__":
    sys.exit(main())
