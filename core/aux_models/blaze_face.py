"""Faces as boxes and six points, by MediaPipe's short-range BlazeFace.

Decoding after MediaPipe's tensors_to_detections and the paper's weighted suppression (Bazarevsky et al.
2019, "BlazeFace"), with the settings of antgroup/ditto-talkinghead e9191cf6.
"""

import cv2
import numpy as np

from core.contracts import Network

SIDE = 128  # px, the network's picture
_LAYERS = ((8, 2), (16, 6))  # px between cells, anchors of a cell
_MIN_SCORE = 0.5
_MAX_OVERLAP = 0.3
_LOGITS = (-50, 100)  # beyond them the exponential overflows


class BlazeFace:
    """The detector around its network, `core.networks.BLAZE_FACE`."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._anchors = anchors()

    def __call__(self, rgb: np.ndarray) -> np.ndarray:
        """Faces of a uint8 (H, W, 3) picture, float32 (n, 17), those that were surest first.

        Columns: box x0, y0, x1, y1 in 1/128 of the picture's sides; x and y of right eye, left eye, nose,
        mouth, right and left ear (the person's), 0..1; score. The picture is squeezed to a square.
        """
        small = cv2.resize(rgb, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR)
        out = self._network({"input": small[None].astype(np.float32) / 127.5 - 1})
        logits = np.clip(out["classificators"].reshape(-1), *_LOGITS)
        scores = 1 / (1 + np.exp(-logits))
        seen = scores >= _MIN_SCORE
        places = _decode(out["regressors"].reshape(-1, 16)[seen], self._anchors[seen])
        return _merge(np.concatenate([places, scores[seen, None]], 1, dtype=np.float32))


def anchors() -> np.ndarray:
    """Centres of the 896 anchors, float64 (896, 2), 0..1: row by row, the fine layer first."""
    layers = []
    for stride, repeats in _LAYERS:
        cells = SIDE // stride
        row, column = np.divmod(np.arange(cells * cells), cells)
        layers.append(np.repeat((np.stack([column, row], -1) + 0.5) / cells, repeats, axis=0))
    return np.concatenate(layers)


def _decode(raw: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """The network's (n, 16) and anchors (n, 2) -> boxes and points as `BlazeFace` gives them, (n, 16)."""
    offsets = raw / SIDE
    middle, half = offsets[:, :2] + centres, offsets[:, 2:4] / 2
    points = offsets[:, 4:].reshape(-1, 6, 2) + centres[:, None]
    parts = [SIDE * (middle - half), SIDE * (middle + half), points.reshape(-1, 12)]
    return np.concatenate(parts, 1, dtype=np.float32, casting="same_kind")


def _merge(seen: np.ndarray) -> np.ndarray:
    """Overlapping rows (n, 17) become one each: their mean weighted by score, with their mean score."""
    left = seen[:, 16].argsort()[::-1]
    merged = []
    while len(left):
        near = _overlaps(seen[left[0]], seen[left]) > _MAX_OVERLAP
        near[0] = True  # also where a box without area overlaps nothing, not even itself
        group, left = seen[left[near]], left[~near]
        scores = group[:, 16:]
        mean = (group[:, :16] * scores).sum(0) / scores.sum()
        merged.append(np.append(mean, scores.mean()) if len(group) > 1 else group[0])
    return np.array(merged, np.float32).reshape(-1, 17)


def _overlaps(one: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Intersection over union of a box with each of several, (n,)."""
    shared = np.minimum(one[2:4], rows[:, 2:4]) - np.maximum(one[:2], rows[:, :2])
    inner = np.maximum(shared, 0).prod(1)
    areas = (rows[:, 2:4] - rows[:, :2]).prod(1)
    return inner / np.maximum((one[2:4] - one[:2]).prod() + areas - inner, np.finfo(np.float32).tiny)
