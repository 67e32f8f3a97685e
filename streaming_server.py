"""The streaming part alone, with the flags of the known streaming server: `python streaming_server.py`.

Without --cfg_pkl the engine is that of the `VISAVIS_` settings, as are limits, keys and folders.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.errors import BadOption, EngineUnavailable, MissingCheckpoint, TalkerError
from core.settings import Settings, load_settings

if TYPE_CHECKING:
    from fastapi import FastAPI

    from core.engines.registry import Running
    from server.clip_v1 import Rules

_BLACKWELL, _AMPERE = "ditto_trt_blackwell", "ditto_trt_Ampere_Plus"
_log = logging.getLogger("streaming_server")


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Talking heads over a WebSocket, with a demo page.")
    made.add_argument("--host", default="0.0.0.0", help="address to listen at")  # noqa: S104  as it is known
    made.add_argument("--port", type=int, default=8000)
    made.add_argument("--cfg_pkl", type=Path, help="a published configuration of Ditto")
    made.add_argument("--data_root", type=Path, help="folder of its models (default: chosen by the GPU)")
    made.add_argument(
        "--online-sampling-steps", type=int, help="sampling_timesteps of streams that name none"
    )
    made.add_argument("--online-chunk-config", help="chunksize of streams that name none, as in 3,5,2")
    made.add_argument("--frame-quality", type=int, default=85, help="of frames, 1 .. 100")
    made.add_argument("--min-frame-quality", type=int, default=60, help="of a client that falls behind")
    made.add_argument("--frame-scale", type=float, default=1.0, help="size of frames, 0.1 .. 1 of the canvas")
    made.add_argument("--frame-format", choices=("webp", "jpeg"), default="webp")
    return made


def rules_of(given: argparse.Namespace) -> "Rules":
    """What the flags say about streams. Raises BadOption."""
    from core.option_table import parse_options
    from server.clip_v1 import Rules
    from server.pictures_v1 import Pictures

    if not 1 <= given.min_frame_quality <= given.frame_quality <= 100:
        raise BadOption("--min-frame-quality and --frame-quality are not in order.", "Allowed: 1 .. 100.")
    if not 0.1 <= given.frame_scale <= 1:
        raise BadOption(f"--frame-scale is {given.frame_scale:g}.", "Allowed: 0.1 .. 1.")
    named: dict[str, Any] = {
        "sampling_timesteps": given.online_sampling_steps, "chunksize": given.online_chunk_config,
    }  # fmt: skip
    options = {name: value for name, value in named.items() if value is not None}
    parse_options(options)
    pictures = Pictures(given.frame_quality, given.min_frame_quality, given.frame_scale, given.frame_format)
    return Rules(pictures, options)


def engine_folder(checkpoints: Path, compute: tuple[int, int] | None) -> Path:
    """The folder of Ditto's engines for a GPU of this compute capability, None where there is no GPU.

    Raises MissingCheckpoint where there is no such folder at all.
    """
    major = compute[0] if compute else 0
    wanted = _BLACKWELL if major >= 12 else _AMPERE if major >= 8 else None
    found = [name for name in (_BLACKWELL, _AMPERE) if (checkpoints / name).is_dir()]
    if not found:
        raise MissingCheckpoint(
            f"'{checkpoints}' has neither {_BLACKWELL} nor {_AMPERE}.",
            "Name the models' folder: --data_root.",
        )
    if wanted not in found:
        what = f"compute capability {compute[0]}.{compute[1]}" if compute else "no GPU"
        _log.warning("No engines for %s: using %s, the first that is there", what, found[0])
        return checkpoints / found[0]
    return checkpoints / wanted


def published(settings: Settings, cfg_pkl: Path | None, data_root: Path | None) -> "Running | None":
    """Ditto as the flags name it; None where they do not, or it cannot run here, which the log then tells.

    Raises AssetError for files that are missing or damaged, BadOption.
    """
    from core.checkpoints.machine import probe_gpu
    from core.engines.registry import start_published

    if cfg_pkl is None:
        if data_root is not None:
            raise BadOption("--data_root goes with --cfg_pkl.", "Name the configuration, too.")
        return None
    if data_root is None:
        gpu = probe_gpu(settings.device).gpu
        data_root = engine_folder(settings.models_dir or Path("checkpoints"), gpu.compute if gpu else None)
    try:
        return start_published(settings, cfg_pkl, data_root)
    except EngineUnavailable as error:
        _log.warning("%s Running engine '%s' in its place.", error, settings.engine)
        return None


def main(argv: list[str] | None = None) -> int:
    """Serve until interrupted -> exit code."""
    given = parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s")
    try:
        settings, rules = load_settings(), rules_of(given)
        running = published(settings, given.cfg_pkl, given.data_root)
        if running:
            settings = settings.model_copy(
                update={"engine": "lite"}
            )  # until the one that runs takes its place

        def prepare(app: "FastAPI") -> None:
            app.state.v1 = rules
            studio = app.state.house.studio
            if running:
                before, studio.running = studio.running, running
                before.engine.close()

        from server.serving import serve

        serve(settings, given.host, given.port, ("streaming", "demo"), prepare)
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:  # while it was starting
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
