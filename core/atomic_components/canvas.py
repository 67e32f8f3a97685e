"""The picture that is written: how the output canvas lies in the source."""

import numpy as np

_AIR = 1.15  # side of the square canvas in face crops, where the source is large enough


def canvas_of(
    size: tuple[int, int], crop_to_source: np.ndarray, crop_side: int, resolution: str
) -> tuple[np.ndarray, tuple[int, int]]:
    """Source size (w, h), the face crops of its frames (n, 2, 3; `crop_side` px each) and `resolution`
    -> (source_to_canvas float32 (2, 3), canvas size (w, h)).

    "source" keeps the source. "320" and "512" cut a square around all face crops, 1.15 times as wide,
    moved to lie inside the source and never larger than it: a crop, never a stretch.
    """
    if resolution == "source":
        return np.array([[1, 0, 0], [0, 1, 0]], np.float32), size
    width, height = size
    pixels = int(resolution)
    linear = np.asarray(crop_to_source, np.float64)
    sides = np.hypot(linear[:, 0, 0], linear[:, 1, 0])[:, None] * crop_side
    centres = linear[..., :2] @ np.full(2, crop_side / 2) + linear[..., 2]
    low, high = (centres - sides / 2).min(0), (centres + sides / 2).max(0)
    side, centre = float((high - low).max()), (low + high) / 2
    square = max(2.0, min(side * _AIR, width, height))
    left = min(max(centre[0] - square / 2, 0.0), width - square)
    top = min(max(centre[1] - square / 2, 0.0), height - square)
    scale = pixels / square
    # pixel centres, not corners, coincide: hence the half pixels
    shift = 0.5 * scale - 0.5
    placed = [[scale, 0, shift - left * scale], [0, scale, shift - top * scale]]
    return np.array(placed, np.float32), (pixels, pixels)
