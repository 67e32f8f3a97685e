"""Make output/demo.mp4 from the portrait and the speech that come with Visavis.

    python scripts/demo.py

Ends by saying where the file is, what made it and how fast. `./setup.sh demo` calls this.
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.errors import EncodeFailed, TalkerError
from core.samples import SPEECH, sample_portrait
from inference import parser, run

OUTPUT = ROOT / "output"


def save_portrait(path: Path) -> None:
    """Write the sample portrait as PNG, whole or not at all. Raises EncodeFailed."""
    from PIL import Image

    unfinished = path.with_name(f".{path.name}")
    try:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(sample_portrait()).save(unfinished, "PNG")
        unfinished.replace(path)
    except OSError as error:
        if unfinished.exists():
            unfinished.unlink()
        raise EncodeFailed(
            f"Cannot write '{path}': {error.strerror}.", "Free some space or rights there."
        ) from error


def main() -> int:
    """Make the clip and tell about it -> exit code."""
    portrait, video = OUTPUT / "portrait.png", OUTPUT / "demo.mp4"
    try:
        save_portrait(portrait)
        paths = ("--source_path", str(portrait), "--audio_path", str(SPEECH), "--output_path", str(video))
        made = run(parser().parse_args(paths))
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("error: Stopped; no file was written.", file=sys.stderr)
        return 130
    free_gb = shutil.disk_usage(OUTPUT).free / 1e9
    print(
        f"made       {video} ({made['frames']} frames, {made['duration_s']:.1f} s, "
        f"{made['width']}x{made['height']})\n"
        f"engine     {made['engine']}: {made['engine_reason']}\n"
        "not Ditto  this version does not contain the Ditto engine yet; there is nothing to fetch\n"
        f"speed      RTF {made['rtf']:.2f} (below 1 is faster than real time), "
        f"first frame after {made['ffd_ms']:.0f} ms (FFD)\n"
        f"free disk  {free_gb:.1f} GB\n"
        "next       ./setup.sh app starts the page; README.md tells how to use your own portrait and voice"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
