"""The lips on MediaPipe's mesh of 478 points."""

import numpy as np

# Rings of the mesh around the mouth, each from the image's left corner over the top and back below.
OUTER_LIP = (61, 185, 40, 39, 37, 0, 267, 269, 270, 409, 291, 375, 321, 405, 314, 17, 84, 181, 91, 146)
INNER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308, 324, 318, 402, 317, 14, 87, 178, 88, 95)
LIP_POINTS = [*OUTER_LIP, *INNER_LIP]
_GAPS = ((13, 14), (82, 87), (312, 317))  # upper and lower inner lip, three places
_EYES = ((33, 133), (362, 263))


def lip_gap(points: np.ndarray) -> float:
    """How far the lips are apart, in eye distances, 0 closed .. about 0.26 wide; points (478, 2 or 3)."""
    flat = points[:, :2]
    gap = np.mean([np.linalg.norm(flat[upper] - flat[lower]) for upper, lower in _GAPS])
    left, right = (flat[list(eye)].mean(0) for eye in _EYES)
    return float(gap / np.linalg.norm(left - right))
