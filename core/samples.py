"""The portrait and the speech that come with Visavis, for the demo, the page and the tests."""

from pathlib import Path

import numpy as np

SPEECH = Path(__file__).resolve().parent.parent / "assets" / "speech.wav"  # 8.0 s, 24 kHz, mono
PHONES = SPEECH.with_suffix(".phones.json")  # its phone timing: [{"phone", "start", "end"}, ...] in seconds

_CROP = (97, 0, 353, 256)  # left, top, right, bottom: head and shoulders, the face in the middle
_SIDE = 512


def sample_portrait() -> np.ndarray:
    """The astronaut Eileen Collins, uint8 (512, 512, 3) RGB: a NASA picture in the public domain.

    scikit-image carries the picture; the crop around the head is enlarged to twice its size.
    """
    from PIL import Image
    from skimage.data import astronaut

    crop = Image.fromarray(astronaut()).crop(_CROP)
    return np.array(crop.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS))
