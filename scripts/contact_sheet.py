"""Some frames of a video side by side, to look at a result without playing it.

python scripts/contact_sheet.py output/demo.mp4 assets/demo.jpg --frames 15 33 52 67 85 104 118 170
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core.errors import BadOption, EncodeFailed, TalkerError
from core.media.video import VideoLimits, open_video
from core.types import AvatarSource

COLUMNS = 4


def sheet(video: Path, wanted: list[int], width: int) -> Image.Image:
    """The wanted frames, by number, each `width` pixels wide, four in a row. Raises InputError."""
    found: dict[int, Image.Image] = {}
    for index, rgb in enumerate(open_video(AvatarSource(path=video), VideoLimits()).frames(max(wanted) + 1)):
        if index in wanted:
            picture = Image.fromarray(rgb)
            size = (width, round(width * picture.height / picture.width))
            found[index] = picture.resize(size, Image.Resampling.LANCZOS)
    if missing := [number for number in wanted if number not in found]:
        raise BadOption(
            f"'{video.name}' has no frame {missing[0]}.", "Frames are counted from 0, 25 a second."
        )
    pictures = [np.asarray(found[number]) for number in wanted]
    pictures += [np.full_like(pictures[0], 255)] * (-len(pictures) % COLUMNS)
    rows = [np.hstack(pictures[start : start + COLUMNS]) for start in range(0, len(pictures), COLUMNS)]
    return Image.fromarray(np.vstack(rows))


def main() -> int:
    """Make the picture -> exit code."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("video", type=Path)
    arguments.add_argument("picture", type=Path, help="where to write it; the suffix tells the format")
    arguments.add_argument("--frames", type=int, nargs="+", required=True, help="frame numbers from 0")
    arguments.add_argument("--width", type=int, default=256, help="of each frame, pixels (default: 256)")
    given = arguments.parse_args()
    try:
        picture = sheet(given.video, given.frames, given.width)
        try:
            picture.save(given.picture, quality=88)
        except (OSError, ValueError) as error:
            raise EncodeFailed(
                f"Cannot write '{given.picture}': {error}.", "Choose a .jpg or .png."
            ) from error
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
