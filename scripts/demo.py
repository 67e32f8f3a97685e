"""Make output/demo.mp4 from the portrait and the speech that come with Visavis.

    python scripts/demo.py

Ends by saying where the file is, what made it and how fast. `./setup.sh demo` calls this.
"""

import os
import signal
import sys
from types import FrameType
from typing import NoReturn


def _leave(signum: int, frame: FrameType | None) -> NoReturn:
    """Where nothing is half-written, an interrupt ends the process at once: an import cannot be unwound."""
    os.write(_errors, b"error: Stopped; no file was written.\n")
    os._exit(130)


if __name__ == "__main__":
    _errors = os.dup(2) if sys.stderr else 1  # 2 itself is diverted while native code starts
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _leave)

import io
import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.errors import EncodeFailed, TalkerError
from core.samples import SPEECH, sample_portrait
from inference import make, parser

OUTPUT = ROOT / "output"


def save_portrait(path: Path) -> None:
    """Write the sample portrait as PNG, whole or not at all. Raises EncodeFailed."""
    from PIL import Image

    packed = io.BytesIO()
    Image.fromarray(sample_portrait()).save(packed, "PNG")
    unfinished = path.with_name(f".{path.name}")
    waiting = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # for the few ms of the writing
    try:
        path.parent.mkdir(exist_ok=True)
        unfinished.write_bytes(packed.getvalue())
        unfinished.replace(path)
    except OSError as error:
        if unfinished.exists():
            unfinished.unlink()
        raise EncodeFailed(
            f"Cannot write '{path}': {error.strerror}.", "Free some space or rights there."
        ) from error
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, waiting)


def _engine(made: dict[str, Any]) -> str:
    """Which engine drew the clip, and where that was not Ditto, why and how to get it."""
    if made["engine"] == "ditto":
        return f"engine     ditto: {made['engine_reason']}"
    return (
        f"engine     {made['engine']}\n"
        f"not Ditto  {made['engine_reason']}\n"
        "fetch it   python model_manager.py download ditto-onnx "
        "(a few GB; it tells the size and checks the disk first)"
    )


def main() -> int:
    """Make the clip and tell about it -> exit code."""
    portrait, video = OUTPUT / "portrait.png", OUTPUT / "demo.mp4"
    try:
        save_portrait(portrait)
        paths = ("--source_path", str(portrait), "--audio_path", str(SPEECH), "--output_path", str(video))
        made = make(parser().parse_args(paths)).figures
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    free_gb = shutil.disk_usage(OUTPUT).free / 1e9
    print(
        f"made       {video} ({made['frames']} frames, {made['duration_s']:.1f} s, "
        f"{made['width']}x{made['height']})\n"
        f"{_engine(made)}\n"
        f"speed      RTF {made['rtf']:.2f} (below 1 is faster than real time), "
        f"first frame after {made['ffd_ms']:.0f} ms (FFD)\n"
        f"free disk  {free_gb:.1f} GB\n"
        "next       ./setup.sh app starts the page; README.md tells how to use your own portrait and voice"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
