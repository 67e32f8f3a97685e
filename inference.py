#!/usr/bin/env python
"""Portrait + speech -> talking video, from the command line.

    python inference.py --source_path portrait.jpg --audio_path speech.wav --output_path talk.mp4
    python inference.py --source_path portrait.jpg --audio_path "speeches/*.wav" --output_path talks/

Every option of the option table is a flag; `--help` lists them with range and meaning. For programs that
drive Ditto's SDK themselves there are `run` and `seed_everything`, as in its published inference.py.
"""

import os
import signal
import sys
import time
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn

_STARTED = time.perf_counter()
_STOPPED = "Stopped; nothing half-written is left."
_STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    """Where nothing is at stake yet, an interrupt ends the process at once: an import cannot be unwound."""
    os.write(_errors, f"error: {_STOPPED}\n".encode())
    os._exit(130)


if __name__ == "__main__":
    _errors = os.dup(2) if sys.stderr else 1  # 2 itself is diverted while native code starts
    for _each in _STOPS:
        if signal.getsignal(_each) is not signal.SIG_IGN:  # as nohup wants it
            signal.signal(_each, _leave)

import argparse  # noqa: E402  the clock and the signals come before the imports
import json  # noqa: E402
import random  # noqa: E402
import resource  # noqa: E402
from collections.abc import Callable, Generator, Iterator, Mapping  # noqa: E402
from contextlib import closing, contextmanager  # noqa: E402
from dataclasses import dataclass  # noqa: E402
from itertools import pairwise  # noqa: E402
from pathlib import Path  # noqa: E402

import numpy as np  # noqa: E402

from core.errors import BadOption, Cancelled, TalkerError  # noqa: E402
from core.option_table import DEFAULT_PRESET, OPTIONS, PRESETS, parse_options  # noqa: E402
from core.option_values import EMOTIONS  # noqa: E402

if TYPE_CHECKING:
    from tqdm import tqdm

    from core.batch import Clip, Outcome
    from core.checkpoints.check import Progress as Download
    from core.engines.registry import Running
    from core.sdk_run import Sdk
    from core.settings import Settings
    from core.talker import Progress

ENGINES = ("auto", "lite", "ditto")
Show = Callable[..., None]  # (fraction, stage) of the work
_BROUGHT = {"online_mode": True}  # what an engine's defaults may add, so that other options may need it
_BAR = "{desc} {percentage:3.0f}%|{bar}| {remaining}"


class _Parser(argparse.ArgumentParser):
    """A wrong command line is answered with one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message[:1].upper()}{message[1:]}.", "See --help.")


def parser() -> argparse.ArgumentParser:
    """The command line, made from the option table."""
    made = _Parser(description="Portrait + speech -> talking video.", allow_abbrev=False)
    made.add_argument("--source_path", type=Path, required=True, help="portrait: an image or a video")
    made.add_argument(
        "--audio_path", nargs="+", required=True,
        help="speech: a sound file or a video; several, or quoted patterns, make a clip each",
    )  # fmt: skip
    made.add_argument("--output_path", required=True, help="the mp4 to write; of several clips the folder")
    made.add_argument("--all_emotions", action="store_true", help="a clip in each of the eight emotions")
    made.add_argument(
        "--engine", default=None, help=f"{' | '.join(ENGINES)} (default: VISAVIS_ENGINE, else auto)"
    )
    made.add_argument(
        "--cfg_pkl", type=Path, default=None,
        help="a published configuration of Ditto, whose models are used; the canvas is then the source's "
        "own size unless --resolution says otherwise",
    )  # fmt: skip
    made.add_argument("--data_root", type=Path, default=None, help="the folder that its models lie in")
    made.add_argument("--preset", default=DEFAULT_PRESET, help=" | ".join(PRESETS))
    made.add_argument(
        "--more_kwargs", metavar="JSON|FILE", default="{}",
        help='options as {"setup_kwargs": {...}, "run_kwargs": {...}}, or a .json or .pkl file with that; '
        "flags go before them",
    )  # fmt: skip
    made.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = made.add_argument_group("options (docs/parameters.md tells the measured effect of each)")
    for name, spec in OPTIONS.items():
        unit = f", {spec.unit}" if spec.unit else ""
        text = f"{spec.help} [{spec.range}{unit}]".replace("%", "%%")
        options.add_argument(f"--{name}", metavar="V", default=argparse.SUPPRESS, help=text)
    return made


def run(
    SDK: "Sdk",
    audio_path: str | Path,
    source_path: str | Path,
    output_path: str | Path,
    more_kwargs: Mapping[str, Any] | str | Path | None = None,
) -> None:
    """Make one clip through Ditto's SDK (`stream_pipeline_offline.StreamSDK` or the online one).

    `more_kwargs`, or a .json or .pkl file, may hold `setup_kwargs` (what `SDK.setup` takes) and `run_kwargs`
    (fade_in, fade_out, ctrl_info, chunksize). Raises TalkerError; then the SDK is ready for another clip
    and no file is left.
    """
    from core.sdk_run import run_sdk

    run_sdk(SDK, audio_path, source_path, output_path, more_kwargs or {})


def seed_everything(seed: int) -> None:
    """Seed the random numbers of Python, numpy and, where a program uses it, torch."""
    random.seed(seed)
    np.random.seed(seed)
    if torch := sys.modules.get("torch"):
        torch.manual_seed(seed)


@dataclass(frozen=True)
class Made:
    """What `--json` prints, and the error that is told by the exit code; of several clips the first one."""

    figures: dict[str, Any]
    error: TalkerError | None = None


def make(arguments: argparse.Namespace) -> Made:
    """Make what a command line asks for. Raises TalkerError where a single clip, or all of them, cannot be
    made; Cancelled where a signal stopped it before a clip was whole.
    """
    given = _given(arguments)
    parse_options(given, arguments.preset, _BROUGHT)  # wrong ones are told before anything is loaded

    from tqdm import tqdm

    from core.batch import check_files, make_clips, options_by_emotion, order, shared_figures
    from core.contracts import warnings
    from core.media.mp4 import folder_made
    from core.settings import load_settings
    from core.talker import audio_limits
    from core.types import AvatarSource

    marks = [_STARTED, time.perf_counter()]
    settings = load_settings()
    limits = audio_limits(settings)
    emotions = EMOTIONS if arguments.all_emotions else ()
    clips, folder = order(arguments.audio_path, arguments.output_path, emotions)
    home = folder or clips[0].output.absolute().parent
    with folder_made(home), tqdm(disable=None, bar_format=_BAR) as bar:
        show = _shown_by(bar)
        check_files(clips, arguments.source_path, limits)
        running = _start(arguments, settings, show)
        engine = running.engine
        marks.append(time.perf_counter())
        try:
            # the canvas of Ditto's own command line, where its own configuration is named
            canvas = {"resolution": "source"} if arguments.cfg_pkl else {}
            brought = {**engine.capabilities.defaults, **canvas}
            options = options_by_emotion(clips, given, arguments.preset, brought)
            first = options[clips[0].emotion]
            avatar = engine.register(AvatarSource(path=arguments.source_path), first.crop, show)
            marks.append(time.perf_counter())
            done, error = _work(make_clips(engine, avatar, clips, options, limits), clips, show)
            common = shared_figures(running, settings, first)
        finally:
            engine.close()
    for name, (since, until) in zip(("import", "load", "register"), pairwise(marks), strict=True):
        common[f"{name}_ms"] = round(1000 * (until - since), 1)
    common["peak_rss_mb"] = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
    common["warnings"] = [*running.warnings, *warnings(engine, given, first, avatar.is_image)]
    return _told(clips, done, error, common)


def _told(
    clips: "list[Clip]", done: list[dict[str, Any]], error: TalkerError | None, common: dict[str, Any]
) -> Made:
    """One clip with all figures beside it, or a list of several. Raises the error of the only one."""
    if len(clips) == 1:
        if error:
            raise error
        return Made({**done[0], **common})
    stopped = {"error": error.code, "message": str(error)} if isinstance(error, Cancelled) else {}
    named = [
        {"sound": str(each.sound), "emotion": each.emotion or None, **figures}
        for each, figures in zip(clips, done, strict=False)  # those after a stop were not begun
    ]
    failed = sum("error" in each for each in done)
    return Made({"clips": named, "failed": failed, **stopped, **common}, error)


def _shown_by(bar: "tqdm") -> Show:
    """What shows a fraction and its stage on a bar; less than before is another piece of work."""
    bar.reset(100)

    def show(fraction: float | None, stage: str = "register") -> None:
        done = 100 * (fraction or 0.0)
        if done < bar.n:
            bar.reset(100)
        bar.set_description_str(stage)
        bar.update(done - bar.n)

    return show


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """The option values that are asked for; flags go before those of `--more_kwargs`. Raises BadOption."""
    from core.more_kwargs import read_more_kwargs

    more = read_more_kwargs(arguments.more_kwargs)
    flags = {name: value for name, value in vars(arguments).items() if name in OPTIONS}
    given = {**more.setup, **more.run, **flags}
    if arguments.all_emotions and "emo" in given:
        raise BadOption("--all_emotions leaves no choice of 'emo'.", "Leave out one of them.")
    return given


def _work(
    work: "Generator[Progress | Outcome, None, None]", clips: "list[Clip]", show: Show
) -> tuple[list[dict[str, Any]], TalkerError | None]:
    """Go through the work of the clips -> their figures and the first error, or the stop of a signal."""
    from core.batch import Outcome

    done: list[dict[str, Any]] = []
    error: TalkerError | None = None
    try:
        with _interruptible() as look, closing(work):
            for step in work:
                if isinstance(step, Outcome):
                    done.append(step.figures())
                    error = error or step.error
                else:
                    name = f"{clips[len(done)].output.name} ({len(done) + 1}/{len(clips)}) "
                    show(step.fraction, f"{name if len(clips) > 1 else ''}{step.stage}")
                look()
    except Cancelled as stopped:
        if not done:
            raise
        error = stopped
    return done, error


def _start(arguments: argparse.Namespace, settings: "Settings", show: Show) -> "Running":
    """The engine that is asked for; missing files are fetched where the settings allow it."""
    from core.engines.registry import start_engine, start_published

    if arguments.data_root or arguments.cfg_pkl:
        if not (arguments.data_root and arguments.cfg_pkl):
            raise BadOption(
                "--data_root and --cfg_pkl go together.", "Name the folder and the configuration."
            )
        if arguments.engine not in (None, "ditto"):
            raise BadOption(f"--cfg_pkl is Ditto's, not that of '{arguments.engine}'.", "Leave out --engine.")
        return start_published(settings, arguments.cfg_pkl, arguments.data_root)

    def report(progress: "Download") -> None:
        look()
        show(progress.done / progress.total if progress.total else 0.0, progress.stage)

    with _interruptible() as look:
        return start_engine(arguments.engine or settings.engine, settings, report)


@contextmanager
def _interruptible() -> Iterator[Callable[[], None]]:
    """A signal to stop ends the work first, and with it the half-written file, then the process.

    Gives what the work has to call now and then: native code that calls back into Python may swallow
    the interrupt that a signal raises there.
    """
    stopped = False

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        nonlocal stopped
        stopped = True
        raise KeyboardInterrupt

    def look() -> None:
        if stopped:
            raise KeyboardInterrupt

    previous = {each: signal.getsignal(each) for each in _STOPS}
    for each in _STOPS:
        if previous[each] is not signal.SIG_IGN:
            signal.signal(each, stop)
    try:
        yield look
    except KeyboardInterrupt as error:
        raise Cancelled(_STOPPED) from error
    finally:
        for each in _STOPS:
            signal.signal(each, previous[each])


def main(argv: list[str] | None = None) -> int:
    """Run the command line -> exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        made = make(parser().parse_args(argv))
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        if "--json" in argv:
            print(json.dumps({"error": error.code, "message": str(error)}))
        return error.exit_code
    result = made.figures
    clips = result.get("clips", [result])
    notes = dict.fromkeys(line for each in clips for line in each.get("notes", ()))
    for line in [*notes, *result["warnings"]]:
        print(f"note: {line}", file=sys.stderr)
    if isinstance(made.error, Cancelled):
        print(f"error: {made.error}", file=sys.stderr)
    if "--json" in argv:
        print(json.dumps(result))
    elif "clips" in result:
        from core.batch import table

        print(table(clips))
        failed = result["failed"]
        print(f"clips: {len(clips) - failed} made, {failed} failed, {_engine(result)}")
    else:
        print(
            f"{result['output']}: {result['frames']} frames, {result['duration_s']:.2f} s, "
            f"{result['width']}x{result['height']}, {_engine(result)}, "
            f"RTF {result['rtf']:.2f}, first frame after {result['ffd_ms']:.0f} ms"
        )
    return made.error.exit_code if made.error else 0


def _engine(result: Mapping[str, Any]) -> str:
    return f"engine {result['engine']} ({result['engine_reason']})"


if __name__ == "__main__":
    sys.exit(main())
