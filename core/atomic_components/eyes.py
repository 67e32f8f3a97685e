"""Eyes as the motion model is told of them: how far open, and where the iris is.

Formulas and point sets are those of antgroup/ditto-talkinghead e9191cf6. "Left" is the picture's left.
Points are the mesh's, normalised by the picture's sides, so that its aspect matters.
"""

import numpy as np

_CORNERS = ((33, 133), (263, 362))  # outer, inner; left eye, right eye
_LIDS = (((145, 159), (144, 160), (153, 158)), ((374, 386), (373, 387), (380, 385)))  # lower, upper
_IRISES = (468, 473)  # centres
_TINY = 1e-8


def eye_open(mesh: np.ndarray) -> np.ndarray:
    """Mesh points (n, 478, 3) -> three lid distances over the eye's width, (n, 2): left, right."""
    sides = []
    for (outer, inner), lids in zip(_CORNERS, _LIDS, strict=True):
        gaps = sum(_length(mesh[:, low] - mesh[:, high]) for low, high in lids)
        sides.append(gaps / (_length(mesh[:, outer] - mesh[:, inner]) + _TINY))
    return np.concatenate(sides, -1)


def eye_ball(mesh: np.ndarray) -> np.ndarray:
    """Mesh points (n, 478, 3) -> how the irises lie off the eyes' middles, (n, 6): x, y, z, each left, right.

    An iris at distance d from its eye's middle, in direction u, gives d * (u - w), w the direction from the
    inner to the outer corner.
    """
    sides = []
    for (outer, inner), iris in zip(_CORNERS, _IRISES, strict=True):
        along = mesh[:, outer] - mesh[:, inner]
        off = mesh[:, iris] - (mesh[:, outer] + mesh[:, inner]) * 0.5
        distance = _length(off)
        sides.append((off / (distance + _TINY) - along / (_length(along) + _TINY)) * distance)
    return np.stack(sides, -1).reshape(len(mesh), 6)


def _length(rows: np.ndarray) -> np.ndarray:
    """(n, 3) -> (n, 1)."""
    return (rows**2).sum(-1, keepdims=True) ** 0.5
