"""106 points of a face in a box, by InsightFace's 2d106det (its weights are for research only).

Pre- and post-processing as antgroup/ditto-talkinghead e9191cf6 does them, who have them from InsightFace.
"""

import cv2
import numpy as np

from core.contracts import Network

_SIDE = 192  # px, the network's picture
_MARGIN = np.float32(1.5)


class Landmark106:
    """The landmarks around their network, `core.networks.LANDMARK106`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, rgb: np.ndarray, box: np.ndarray) -> np.ndarray:
        """Picture uint8 (H, W, 3) and a face's box (x0, y0, x1, y1, ...) px -> points float32 (106, 2) px."""
        to_view = _view(box)
        view = cv2.warpAffine(rgb, to_view, (_SIDE, _SIDE))  # black beyond the picture
        blob = np.ascontiguousarray(view[..., ::-1].transpose(2, 0, 1)[None], np.float32)  # BGR 0..255
        local = (self._network({"data": blob})["fc1"].reshape(106, 2) + 1) * (_SIDE // 2)
        back = cv2.invertAffineTransform(to_view)
        return (local @ back[:, :2].T + back[:, 2]).astype(np.float32)


def _view(box: np.ndarray) -> np.ndarray:
    """Source px -> px of the square around the box, float64 (2, 3); zoom and shift are rounded to float32."""
    low, high = box[:2].astype(np.float32), box[2:4].astype(np.float32)
    zoom = np.float32(_SIDE) / ((high - low).max() * _MARGIN)
    x, y = (low + high) / 2 * zoom
    return np.array([[zoom, 0, _SIDE / 2 - x], [0, zoom, _SIDE / 2 - y]], np.float64)
