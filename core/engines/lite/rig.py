"""From a picture and its 478 mesh points to all that the renderer must know: done once a portrait.

The rig's plane is the picture in *eye distances*: origin between the eyes, axes those of the picture.
What moves is stored as weights of radial functions, so that the renderer can evaluate it on any grid.
"""

from collections.abc import Mapping

import numpy as np

from core.aux_models.face_mesh import Face
from core.engines.lite import eyes, teeth
from core.engines.lite.shapes import LOWER, UPPER, shape_table
from core.engines.lite.survey import Look, survey_mouth

CROP = 512  # px: `crop_to_source` maps a square of this side
PIVOT = np.array([0.0, 0.9, 1.1])  # the head turns about the top of its neck; head's frame, eye distances
_SOFT = 0.05  # eye distances: how round the tips of the radial functions are
_THIN = 0.035  # eye distances: the least thickness of a lip
_SMOOTH_DEPTH = 0.2  # a turned head must not fold where its mesh is steep

Rig = dict[str, np.ndarray]


def build_rig(
    rgb: np.ndarray,
    points: np.ndarray,
    crop_to_source: np.ndarray,
    reference: Mapping[str, np.ndarray] | None = None,
) -> Rig:
    """The rig of a face: small arrays, independent of any output size.

    `rgb` uint8 (H, W, 3); `points` float32 (478, 3) px of it; `crop_to_source` (2 or 3, 3) from a crop
    of CROP px. For the frames of a video hand the first frame's rig as `reference`: teeth and colours
    are taken from there, and only what lies differently in this frame is computed.
    """
    face = Face(points)
    axes = face.axes.astype(np.float64)
    lids = points[[33, 133, 159, 145, 362, 263, 386, 374]].astype(np.float64)
    right, left = lids[:4].mean(0), lids[4:].mean(0)
    unit = float(np.linalg.norm(left - right))
    origin = np.append((right + left)[:2] / 2, lids[:, 2].mean())
    plane = (points - origin) / unit
    to_source = np.array([[unit, 0, origin[0]], [0, unit, origin[1]]], np.float32)

    look = survey_mouth(rgb, plane[:, :2], to_source)
    _fit_lips(plane, look)
    if reference is None:
        inside = teeth.interior(rgb, look, plane[:, :2], to_source)
    else:
        inside = {name: reference[name] for name in teeth.KEPT}
    head = plane @ axes.T
    return {
        "to_source": to_source,
        "axes": axes.astype(np.float32),
        "turning": _upright(axes, crop_to_source).astype(np.float32),
        "crop_side": np.array([np.hypot(*np.asarray(crop_to_source)[:2, 0]) * CROP], np.float32),
        "mouth_frame": look.frame,
        "mouth_half": np.array([np.linalg.norm(look.upper[0] - look.upper[-1]) / 2], np.float32),
        "lips": look.lips,
        "outline": _outline(head, axes),
        **_fields(head, axes, float(inside["meet"][0])),
        **eyes.survey(rgb, plane[:, :2], to_source),
        **inside,
    }


def _upright(axes: np.ndarray, crop_to_source: np.ndarray) -> np.ndarray:
    """The axes (3, 3) that a head turns about: its own, tilted as the crop is.

    A crop that does not follow a tilted head makes it nod and turn along the picture's axes, as in Ditto.
    """
    crop = np.asarray(crop_to_source)[:, 0]
    tilt = np.arctan2(crop[1], crop[0]) - np.arctan2(axes[0, 1], axes[0, 0])
    cos, sin = np.cos(tilt), np.sin(tilt)
    return axes @ np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]])


def _fit_lips(plane: np.ndarray, look: Look) -> None:
    """Move the mesh's lips, in place, to the edges seen in the picture: none too thin, no crossing rings."""
    depth = (plane[UPPER[3], 2] + plane[LOWER[3], 2]) / 2
    down = look.frame[1, :2]
    for rings, edge, outward in ((UPPER, look.upper, -down), (LOWER, look.lower, down)):
        inner = np.column_stack([edge, depth])
        outer = plane[rings[0]]
        thin = np.maximum(_THIN - (outer[2:-2, :2] - edge[2:-2]) @ outward, 0)
        outer[2:-2, :2] += thin[:, None] * outward
        plane[rings[0]], plane[rings[3]] = outer, inner
        for ring, share in ((rings[1], 1 / 3), (rings[2], 2 / 3)):
            plane[ring[1:-1]] = (outer + share * (inner - outer))[1:-1]


def _outline(head: np.ndarray, axes: np.ndarray) -> np.ndarray:
    """Map (2, 3) from the plane to a frame in which the head with its hair is about the unit circle's half:
    x in half widths; y in heights of its upper part (< 0) and lower part (> 0), set apart in row 3."""
    centre = (np.array([0, 0.3, 0.6]) @ axes)[:2]
    across = axes[0, :2] / np.linalg.norm(axes[0, :2])
    down = np.array([-across[1], across[0]])
    chin = head[152, 1] - 0.3
    rows = np.stack([across / 1.42, down])
    heights = [[2.15, chin + 0.1, 0]]
    return np.concatenate([np.column_stack([rows, -rows @ centre]), heights]).astype(np.float32)


def _fields(head: np.ndarray, axes: np.ndarray, meet: float) -> Rig:
    gap = head[LOWER[3], 1] - head[UPPER[3], 1]
    table = shape_table(head, np.maximum(gap, 0), meet)
    centres = (table.points @ axes)[:, :2]
    moves = (table.moves @ axes)[..., :2].reshape(len(centres), -1)
    depth = (table.points - PIVOT) @ axes[:, 2]
    depth[table.around] = 0  # the silhouette stays where it is when a head turns
    smooth = np.full(len(centres), _SMOOTH_DEPTH)
    lower = _solve(centres, moves, ~table.upper, table.loose)
    return {
        "centres": centres.astype(np.float32),
        "fields": np.hstack([lower, _solve(centres, depth[:, None], ~table.upper, smooth)]),
        "upper_fields": _solve(centres, moves, ~table.lower, table.loose),
    }


def kernel(points: np.ndarray, centres: np.ndarray) -> np.ndarray:
    """Multiquadric functions (m, n) of the distances between (m, 2) and (n, 2): smooth, almost linear."""
    square = (points**2).sum(1)[:, None] + (centres**2).sum(1) - 2 * (points @ centres.T)
    return np.sqrt(np.maximum(square, 0) + points.dtype.type(_SOFT**2))


def _solve(centres: np.ndarray, targets: np.ndarray, used: np.ndarray, loose: np.ndarray) -> np.ndarray:
    """Weights (n + 1, k) float32 by which radial functions at the `used` centres, and a constant, hit the
    targets (n, k), each the less exactly the larger its `loose` is."""
    points = centres[used]
    n = len(points)
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = kernel(points, points) - np.diag(loose[used])
    system[n, n] = 0
    weights = np.zeros((len(centres) + 1, targets.shape[1]), np.float32)
    weights[np.append(used, True)] = np.linalg.solve(system, np.append(targets[used], [targets[0] * 0], 0))
    return weights
