#!/usr/bin/env python
"""Portrait + speech -> talking video, from the command line.

    python inference.py --source_path portrait.jpg --audio_path speech.wav --output_path talk.mp4

Every option of the option table is a flag; `--help` lists them with range and meaning.
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
import resource  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from contextlib import closing, contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402

from core.errors import BadOption, BadPath, Cancelled, TalkerError  # noqa: E402
from core.option_table import OPTIONS, PRESETS, parse_options  # noqa: E402

if TYPE_CHECKING:
    from core.checkpoints.check import Progress as Download
    from core.engines.registry import Running
    from core.media.audio import AudioLimits
    from core.settings import Settings

ENGINES = ("auto", "lite", "ditto")
_BAR = "{desc} {percentage:3.0f}%|{bar}| {remaining}"


class _Parser(argparse.ArgumentParser):
    """A wrong command line is answered with one line, like every other error."""

    def error(self, message: str) -> NoReturn:
        raise BadOption(f"{message[:1].upper()}{message[1:]}.", "See --help.")


def parser() -> argparse.ArgumentParser:
    """The command line, made from the option table."""
    made = _Parser(description="Portrait + speech -> talking video.", allow_abbrev=False)
    made.add_argument("--source_path", type=Path, required=True, help="portrait: an image or a video")
    made.add_argument("--audio_path", type=Path, required=True, help="speech: a sound file or a video")
    made.add_argument("--output_path", type=Path, required=True, help="the mp4 to write")
    made.add_argument(
        "--engine", default=None, help=f"{' | '.join(ENGINES)} (default: VISAVIS_ENGINE, else auto)"
    )
    made.add_argument(
        "--cfg_pkl", type=Path, default=None, help="a published configuration of Ditto, whose models are used"
    )
    made.add_argument("--data_root", type=Path, default=None, help="the folder that its models lie in")
    made.add_argument("--preset", default="balanced", help=" | ".join(PRESETS) + " (default: balanced)")
    made.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = made.add_argument_group("options (docs/parameters.md tells the measured effect of each)")
    for name, spec in OPTIONS.items():
        unit = f", {spec.unit}" if spec.unit else ""
        text = f"{spec.help} [{spec.range}{unit}]".replace("%", "%%")
        options.add_argument(f"--{name}", metavar="V", default=argparse.SUPPRESS, help=text)
    return made


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the clip -> what `--json` prints. Raises TalkerError, Cancelled where a signal stopped it."""
    given = {name: value for name, value in vars(arguments).items() if name in OPTIONS}
    options = parse_options(given, arguments.preset)

    from tqdm import tqdm

    from core.contracts import warnings
    from core.settings import load_settings
    from core.talker import audio_limits, clip
    from core.types import AvatarSource

    imported = time.perf_counter()
    settings = load_settings()
    limits = audio_limits(settings)
    _check_places(arguments, limits)
    with tqdm(total=100, disable=None, bar_format=_BAR) as bar:

        def show(fraction: float | None, stage: str = "register") -> None:
            bar.set_description_str(stage)
            bar.update(100 * (fraction or 0.0) - bar.n)

        running = _start(arguments, settings, show)
        engine = running.engine
        loaded = time.perf_counter()
        try:
            avatar = engine.register(AvatarSource(path=arguments.source_path), options.crop, show)
            registered = time.perf_counter()
            work = clip(engine, avatar, arguments.audio_path, arguments.output_path, options, limits)
            with _interruptible() as look, closing(work):
                while True:
                    look()
                    try:
                        step = next(work)
                    except StopIteration as stop:
                        made = stop.value
                        break
                    show(step.fraction, step.stage)
            files = {role: str(path) for role, path in engine.loaded.items()}
        finally:
            engine.close()
    return {
        "output": str(made.output),
        "frames": made.frames,
        "duration_s": made.duration_s,
        "width": made.size[0],
        "height": made.size[1],
        "resolution": options.output.resolution,
        **running.about(),
        "files": files,
        "license_profile": settings.license_profile,
        "seed": options.motion.seed,
        "ffd_ms": round(made.ffd_ms, 1),
        "rtf": round(made.rtf, 4),
        "import_ms": round(1000 * (imported - _STARTED), 1),
        "load_ms": round(1000 * (loaded - imported), 1),
        "register_ms": round(1000 * (registered - loaded), 1),
        "stages_ms": {name: round(value, 1) for name, value in made.stages_ms.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "notes": list(made.notes),
        "warnings": [*running.warnings, *warnings(engine, given, options, avatar.is_image)],
    }


def _start(
    arguments: argparse.Namespace, settings: "Settings", show: Callable[[float, str], None]
) -> "Running":
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


def _check_places(arguments: argparse.Namespace, limits: "AudioLimits") -> None:
    """Tell what is wrong with speech and output before the portrait's work begins. Raises InputError."""
    from core.media.audio import open_audio
    from core.media.writer import check_target

    output: Path = arguments.output_path
    check_target(output)
    open_audio(arguments.audio_path, limits)
    sources = [path for path in (arguments.source_path, arguments.audio_path) if os.path.exists(path)]
    if output.exists() and any(output.samefile(path) for path in sources):
        raise BadPath(f"The output '{output.name}' is a file that it is made from.", "Choose another name.")


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
        result = run(parser().parse_args(argv))
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        if "--json" in argv:
            print(json.dumps({"error": error.code, "message": str(error)}))
        return error.exit_code
    for line in result["notes"] + result["warnings"]:
        print(f"note: {line}", file=sys.stderr)
    if "--json" in argv:
        print(json.dumps(result))
    else:
        print(
            f"{result['output']}: {result['frames']} frames, {result['duration_s']:.2f} s, "
            f"{result['width']}x{result['height']}, engine {result['engine']} ({result['engine_reason']}), "
            f"RTF {result['rtf']:.2f}, first frame after {result['ffd_ms']:.0f} ms"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
