"""The pictures of a video kept as JPEGs, one after another in one array that lies in a file."""

import cv2
import numpy as np

from core.mapped import Spool, forget

_QUALITY = [
    cv2.IMWRITE_JPEG_QUALITY,
    96,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
    cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
]


class Jpegs:
    """Takes pictures one by one and packs them into a spool."""

    def __init__(self, spool: Spool) -> None:
        self._spool = spool
        self._ends: list[int] = []

    def add(self, rgb: np.ndarray) -> None:
        """Append a uint8 (H, W, 3) RGB picture. Raises StoreFailed."""
        bgr = cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR)
        self._spool.append(cv2.imencode(".jpg", bgr, _QUALITY)[1].data)
        self._ends.append(self._spool.size)

    def __len__(self) -> int:
        return len(self._ends)

    def arrays(self) -> tuple[np.ndarray, np.ndarray]:
        """All bytes, uint8 (n,), mapped and read-only, and where each picture ends in them, int64."""
        return self._spool.array(), np.array(self._ends, np.int64)


def picture(jpeg: np.ndarray, ends: np.ndarray, at: int) -> np.ndarray:
    """Picture number `at` of what `Jpegs.arrays` gives, uint8 (H, W, 3) RGB."""
    packed = jpeg[int(ends[at - 1]) if at else 0 : int(ends[at])]
    rgb = cv2.cvtColor(cv2.imdecode(np.asarray(packed), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    forget(jpeg)  # a long video's pictures would add up while it plays
    return rgb
