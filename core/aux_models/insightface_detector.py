"""Faces as boxes, by InsightFace's SCRFD detector (its weights are for non-commercial research only).

Pre- and post-processing as antgroup/ditto-talkinghead e9191cf6 does them, who have them from InsightFace.
"""

from typing import NamedTuple

import cv2
import numpy as np

from core.contracts import Network

_SIDE = 512  # px, the network's picture
_STRIDES = (8, 16, 32)  # px between cells; each cell has two anchors, at its corner
_MIN_SCORE = 0.5
_MAX_OVERLAP = 0.4


class Boxes(NamedTuple):
    """Faces, surest first: `boxes` (n, 5): x0, y0, x1, y1 px and score; `points` (n, 5, 2) px, both float32.

    The five points are the eyes, the nose and the corners of the mouth.
    """

    boxes: np.ndarray
    points: np.ndarray


class FaceDetector:
    """The detector around its network, `core.networks.INSIGHTFACE_DET`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, rgb: np.ndarray) -> Boxes:
        """All faces of a uint8 (H, W, 3) picture; none gives arrays of length 0."""
        blob, zoom = letterbox(rgb)
        out = self._network({"image": blob})
        found = [_decode(out, level, stride) for level, stride in enumerate(_STRIDES, 1)]
        boxes = np.concatenate([boxes for boxes, _ in found])
        points = np.concatenate([points for _, points in found])
        order = boxes[:, 4].argsort()[::-1]
        boxes, points = boxes[order], points[order]
        boxes[:, :4] /= np.float32(zoom)
        kept = _suppress(boxes)
        return Boxes(boxes[kept], points[kept] / np.float32(zoom))


def largest(boxes: np.ndarray) -> np.ndarray:
    """The row of (n, 5) boxes, n > 0, whose area is largest, whatever its score."""
    sides = boxes[:, 2:4] - boxes[:, :2]
    return boxes[sides.prod(1).argmax()]


def letterbox(rgb: np.ndarray) -> tuple[np.ndarray, float]:
    """The network's input (1, 3, 512, 512) float32, BGR about -1..1, and its px per px of the picture.

    The picture lies at the top left, on black.
    """
    height, width = rgb.shape[:2]
    ratio = height / width
    # truncated, not rounded; one pixel is left of pictures too narrow for that
    size = (max(int(_SIDE / ratio), 1), _SIDE) if ratio > 1 else (_SIDE, max(int(_SIDE * ratio), 1))
    canvas = np.zeros((_SIDE, _SIDE, 3), np.uint8)
    canvas[: size[1], : size[0]] = cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)
    blob = (canvas[..., ::-1].transpose(2, 0, 1)[None].astype(np.float32) - 127.5) / 128
    return np.ascontiguousarray(blob), size[1] / height


def _decode(out: dict[str, np.ndarray], level: int, stride: int) -> tuple[np.ndarray, np.ndarray]:
    """What one level sees with enough certainty, in px of the network's picture."""
    scores = out[f"scores{level}"].reshape(-1)
    seen = np.flatnonzero(scores >= _MIN_SCORE)
    row, column = np.divmod(seen // 2, _SIDE // stride)
    anchors = np.stack([column, row], -1).astype(np.float32) * stride
    away = out[f"boxes{level}"].reshape(-1, 4)[seen] * stride  # left, up, right, down
    corners = [anchors - away[:, :2], anchors + away[:, 2:], scores[seen, None]]
    points = anchors[:, None] + out[f"kps{level}"].reshape(-1, 5, 2)[seen] * stride
    return np.concatenate(corners, 1, dtype=np.float32), points.astype(np.float32)


def _suppress(boxes: np.ndarray) -> list[int]:
    """Indices of the boxes (n, 5), surest first, that overlap no surer one kept; sides count their pixels."""
    low, high = boxes[:, :2], boxes[:, 2:4]
    areas = (high - low + 1).prod(1)
    left = np.arange(len(boxes))
    kept = []
    while len(left):
        best, rest = left[0], left[1:]
        kept.append(int(best))
        shared = np.minimum(high[best], high[rest]) - np.maximum(low[best], low[rest]) + 1
        inner = np.maximum(shared, 0).prod(1)
        left = rest[inner / (areas[best] + areas[rest] - inner) <= _MAX_OVERLAP]
    return kept
