"""How well do the lips of a talking-head video follow the speech? Measured on the pictures themselves.

    python scripts/measure_sync.py clip.mp4 --phones clip.json --plot sync.png

The gap between the inner lips (FaceMesh, every frame for itself) is set against a reference: with
--phones, how far a mouth opens on them; else the loudness of the speech band of --audio or of the
video's own sound. The last line is one JSON object:

    r              correlation of gap and reference; lag_frames: where it is best (positive: lips late)
    control        r against the same reference rolled to random places: mean and 95th percentile
    bilabial_gap   smallest gap during each m, b, p, on average, in eye distances (null without phones)
    open_gap       largest gap during each open vowel, on average (null without phones)
    silence_gap    mean gap in silence (null without silence)
"""

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import av
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from core.engines.lite.lips import lip_gap
from core.errors import BadAudio, BadImage, BadPath, EngineUnavailable, NoFace, TalkerError
from core.media.audio import AudioLimits, read_audio
from core.types import SAMPLE_RATE
from scripts.phones import OPEN_VOWELS, PRESSED, Phone, letters_of, lips, load, visemes

MAX_LAG = 12  # frames
_ROLLS = 400
_SPEECH_BAND = (200.0, 4000.0)  # Hz
_RANGE = 35.0  # dB below the loud parts where silence begins


@dataclass(frozen=True)
class Reference:
    """openness (n,) 0..1 per frame; silent (n,) bool; phones in IPA letters, empty without timing."""

    openness: np.ndarray
    silent: np.ndarray
    phones: tuple[Phone, ...] = ()


@dataclass(frozen=True)
class Sync:
    """See the head of this file; gaps in eye distances."""

    r: float
    lag_frames: int
    control: dict[str, float]
    bilabial_gap: float | None
    open_gap: float | None
    silence_gap: float | None


def compare(gap: np.ndarray, reference: Reference, times: np.ndarray, seed: int = 0) -> Sync:
    """Measured gap (n,) against the reference, both at `times` (n,) seconds. Raises BadImage below 2 s."""
    if len(gap) < 4 * MAX_LAG:
        raise BadImage(
            f"The video has only {len(gap)} frames.", f"At least {4 * MAX_LAG} are needed to compare."
        )
    wanted = reference.openness
    lags = list(range(-MAX_LAG, MAX_LAG + 1))
    best = lags[int(np.argmax([_at_lag(gap, wanted, lag) for lag in lags]))]
    rng = np.random.default_rng(seed)
    rolls = rng.integers(2 * MAX_LAG, len(gap) - 2 * MAX_LAG + 1, _ROLLS)
    control = [_correlation(gap, np.roll(wanted, roll)) for roll in rolls]
    return Sync(
        r=round(_correlation(gap, wanted), 4),
        lag_frames=best,
        control={
            "mean": round(float(np.mean(control)), 4),
            "p95": round(float(np.percentile(control, 95)), 4),
        },
        bilabial_gap=_during(gap, times, [p for p in reference.phones if PRESSED.get(p.phone) == 1], np.min),
        open_gap=_during(gap, times, [p for p in reference.phones if p.phone in OPEN_VOWELS], np.max),
        silence_gap=round(float(gap[reference.silent].mean()), 4) if reference.silent.any() else None,
    )


def _at_lag(gap: np.ndarray, wanted: np.ndarray, lag: int) -> float:
    if lag < 0:
        return _correlation(gap[:lag], wanted[-lag:])
    return _correlation(gap[lag:], wanted[: len(wanted) - lag])


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    size = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / size if size > 1e-12 else 0.0  # a mouth that never moves follows nothing


def _during(
    gap: np.ndarray, times: np.ndarray, phones: Sequence[Phone], pick: Callable[[np.ndarray], float]
) -> float | None:
    """Mean over the phones of the picked gap among the frames that show them; short ones may have none."""
    shown = [gap[(times >= p.start) & (times < p.end)] for p in phones]
    picked = [float(pick(values)) for values in shown if len(values)]
    return round(float(np.mean(picked)), 4) if picked else None


def from_phones(phones: Sequence[Phone], times: np.ndarray) -> Reference:
    """How open a mouth would be at `times`; a pause counts as silence from its third frame on."""
    quiet = visemes(phones, times) == 0
    return Reference(lips(phones, times)[:, 0], _settled(quiet), tuple(letters_of(phones)))


def from_audio(samples: np.ndarray, times: np.ndarray) -> Reference:
    """Loudness of the speech band of float32 (n,) 16 kHz, 0..1 over 35 dB, in 40 ms around `times`."""
    spectrum = np.fft.rfft(samples)
    frequency = np.fft.rfftfreq(len(samples), 1 / SAMPLE_RATE)
    spectrum[(frequency < _SPEECH_BAND[0]) | (frequency > _SPEECH_BAND[1])] = 0
    energy = np.concatenate([[0.0], np.cumsum(np.fft.irfft(spectrum, len(samples)) ** 2)])
    edges = np.rint((times[:, None] + [-0.02, 0.02]) * SAMPLE_RATE).astype(int).clip(0, len(samples))
    loud = 10 * np.log10((energy[edges[:, 1]] - energy[edges[:, 0]]).clip(0) / 640 + 1e-12)
    level = max(float(np.percentile(loud, 95)), -70.0)
    openness = (1 + (loud - level) / _RANGE).clip(0, 1)
    return Reference(openness, _settled(openness == 0))


def _settled(quiet: np.ndarray) -> np.ndarray:
    """Silent for two frames on either side too: lips need time to close, and open early."""
    padded = np.pad(quiet, 2, constant_values=True)
    return np.lib.stride_tricks.sliding_window_view(padded, 5).all(-1)


def lip_gaps(video: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """Gap (n,) in eye distances, time of the middle of each frame (n,) seconds, frames without a face.

    Gaps of frames without a face are interpolated. Raises BadImage, NoFace, EngineUnavailable.
    """
    try:
        from mediapipe.python.solutions.face_mesh import FaceMesh
    except ImportError as error:
        raise EngineUnavailable(
            "mediapipe is not installed.", "Run: pip install mediapipe==0.10.21"
        ) from error
    gaps: list[float] = []
    times: list[float] = []
    with _quiet(), FaceMesh(static_image_mode=True, refine_landmarks=True, max_num_faces=1) as mesh:
        for rgb, time in _pictures(video):
            found = mesh.process(rgb).multi_face_landmarks
            size = np.array([rgb.shape[1], rgb.shape[0]])
            gaps.append(
                lip_gap(np.array([(p.x, p.y) for p in found[0].landmark]) * size) if found else np.nan
            )
            times.append(time)
    gap = np.array(gaps)
    seen = np.isfinite(gap)
    if seen.sum() * 2 <= len(gap):
        raise NoFace(
            f"'{video.name}' shows a face in {seen.sum()} of {len(gap)} frames.", "Show one upright face."
        )
    where = np.arange(len(gap))
    return np.interp(where, where[seen], gap[seen]), np.array(times), int((~seen).sum())


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep mediapipe's native chatter off standard error, which is for our one line."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _pictures(video: Path) -> Iterator[tuple[np.ndarray, float]]:
    try:
        with av.open(str(video)) as container:
            if not container.streams.video:
                raise BadImage(f"'{video.name}' has no pictures.", "Give a video.")
            stream = container.streams.video[0]
            length = 1 / float(stream.average_rate or 25)
            for frame in container.decode(stream):
                yield frame.to_ndarray(format="rgb24"), float(frame.time or 0) + length / 2
    except (OSError, av.FFmpegError) as error:
        raise BadImage(f"'{video.name}' cannot be decoded as a video.", "Give an mp4.") from error


def plot(path: Path, times: np.ndarray, gap: np.ndarray, reference: Reference, sync: Sync) -> None:
    """Draw reference, gap and cross-correlation to a PNG. Raises EngineUnavailable, BadPath."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise EngineUnavailable("--plot needs matplotlib.", "Run: pip install matplotlib") from error
    figure = Figure(figsize=(16, 7), layout="constrained")
    above, below = figure.subplots(2, 1, height_ratios=(2, 1))
    above.plot(times, reference.openness * max(float(gap.max()), 1e-6), label="reference (scaled)")
    above.plot(times, gap, label="lip gap, eye distances")
    above.set(
        xlabel="s", title=f"r {sync.r:.3f}, lag {sync.lag_frames}, control p95 {sync.control['p95']:.3f}"
    )
    above.legend()
    lags = range(-MAX_LAG, MAX_LAG + 1)
    below.plot(lags, [_at_lag(gap, reference.openness, lag) for lag in lags], marker=".")
    below.set(xlabel="lag, frames (positive: lips late)", ylabel="r")
    try:
        figure.savefig(path, format="png")
    except OSError as error:
        raise BadPath(f"Cannot write '{path}': {error.strerror}.", "Check the folder.") from error


def measure(video: Path, phones: Path | None, audio: Path | None, plot_to: Path | None) -> dict[str, object]:
    """The JSON object that this program ends with."""
    if not video.is_file():
        raise BadPath(f"There is no video '{video}'.", "Check the path.")
    if phones:
        timing = load(phones)
        gap, times, missing = lip_gaps(video)
        reference = from_phones(timing, times)
    else:
        samples = read_audio(audio or video, AudioLimits())
        gap, times, missing = lip_gaps(video)
        reference = from_audio(samples, times)
        if reference.silent.all():
            raise BadAudio(f"'{(audio or video).name}' is silent.", "Give a sound with speech.")
    sync = compare(gap, reference, times)
    if plot_to:
        plot(plot_to, times, gap, reference, sync)
    length = float(np.median(np.diff(times)))
    counted = {"frames": len(gap), "frames_without_face": missing, "duration_s": round(len(gap) * length, 3)}
    return {**asdict(sync), **counted}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("video", type=Path)
    given = parser.add_mutually_exclusive_group()
    given.add_argument("--phones", type=Path, help='JSON list of {"phone", "start", "end"}, seconds')
    given.add_argument("--audio", type=Path, help="sound to compare with, instead of the video's own")
    parser.add_argument("--plot", type=Path, help="PNG to draw")
    options = parser.parse_args(arguments)
    try:
        result = measure(options.video, options.phones, options.audio, options.plot)
    except TalkerError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    for name, value in result.items():
        print(f"{name:20} {value}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
