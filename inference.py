#!/usr/bin/env python
"""Portrait + speech -> talking video, from the command line.

    python inference.py --source_path portrait.jpg --audio_path speech.wav --output_path talk.mp4

Every option of the option table is a flag; `--help` lists them with range and meaning.
"""

import time

_STARTED = time.perf_counter()

import argparse  # noqa: E402  the clock starts before the imports it measures
import json  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
from collections.abc import Iterator  # noqa: E402
from contextlib import contextmanager  # noqa: E402
from pathlib import Path  # noqa: E402
from types import FrameType  # noqa: E402
from typing import Any, NoReturn  # noqa: E402

from core.errors import BadOption, Cancelled, TalkerError  # noqa: E402
from core.options import OPTIONS, PRESETS, parse_options, without_effect  # noqa: E402

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
    made.add_argument("--engine", default=None, help="auto or lite (default: VISAVIS_ENGINE, else auto)")
    made.add_argument("--preset", default="balanced", help=" | ".join(PRESETS) + " (default: balanced)")
    made.add_argument("--json", action="store_true", help="print one JSON object as the last line")
    options = made.add_argument_group("options (docs/parameters.md tells the measured effect of each)")
    for name, spec in OPTIONS.items():
        unit = f", {spec.unit}" if spec.unit else ""
        text = f"{spec.help} [{spec.range}{unit}]".replace("%", "%%")
        options.add_argument(f"--{name}", metavar="V", default=argparse.SUPPRESS, help=text)
    return made


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Make the clip -> what `--json` prints."""
    given = {name: value for name, value in vars(arguments).items() if name in OPTIONS}
    options = parse_options(given, arguments.preset)

    from tqdm import tqdm

    from core.engines.registry import create_engine
    from core.settings import load_settings
    from core.talker import audio_limits, clip
    from core.types import AvatarSource

    imported = time.perf_counter()
    settings = load_settings()
    engine, reason = create_engine(arguments.engine or settings.engine, settings)
    loaded = time.perf_counter()
    try:
        with tqdm(total=100, disable=None, bar_format=_BAR) as bar:

            def show(fraction: float | None, stage: str = "register") -> None:
                bar.set_description_str(stage)
                bar.update(100 * (fraction or 0.0) - bar.n)

            avatar = engine.register(AvatarSource(path=arguments.source_path), options.crop, show)
            registered = time.perf_counter()
            work = clip(
                engine, avatar, arguments.audio_path, arguments.output_path, options, audio_limits(settings)
            )
            while True:
                try:
                    step = next(work)
                except StopIteration as stop:
                    made = stop.value
                    break
                show(step.fraction, step.stage)
    finally:
        engine.close()
    return {
        "output": str(made.output),
        "frames": made.frames,
        "duration_s": made.duration_s,
        "width": made.size[0],
        "height": made.size[1],
        "resolution": options.output.resolution,
        "engine": engine.name,
        "engine_reason": reason,
        "seed": options.motion.seed,
        "ffd_ms": round(made.ffd_ms, 1),
        "rtf": round(made.rtf, 4),
        "import_ms": round(1000 * (imported - _STARTED), 1),
        "load_ms": round(1000 * (loaded - imported), 1),
        "register_ms": round(1000 * (registered - loaded), 1),
        "stages_ms": {name: round(value, 1) for name, value in made.stages_ms.items()},
        "peak_rss_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "notes": list(made.notes),
        "warnings": list(without_effect(given, engine.capabilities.acts_on, engine.name)),
    }


@contextmanager
def _interruptible() -> Iterator[None]:
    """SIGTERM ends the work as Ctrl-C does: the half-written file goes, then the process."""

    def stop(signum: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    except KeyboardInterrupt as error:
        raise Cancelled("Stopped; no file was written.") from error
    finally:
        signal.signal(signal.SIGTERM, previous)


def main(argv: list[str] | None = None) -> int:
    """Run the command line -> exit code."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        with _interruptible():
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
