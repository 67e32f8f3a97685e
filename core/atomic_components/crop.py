"""Where the face crop lies: the square around a face, upright, and the maps to and from it.

The geometry is Ditto's (antgroup/ditto-talkinghead e9191cf6, which has it from LivePortrait): the line from
the eyes to the lips is the vertical, the box of all points in that frame, made square by its larger side and
enlarged, is the crop. Pixel coordinates, x right, y down; all maps are float32 (3, 3) on column vectors.
"""

from dataclasses import dataclass

import numpy as np

# Mesh indices (MediaPipe's 478): corners and lid middles of both eyes, and the corners of the mouth.
MESH_EYES = ((33, 159, 133, 145), (263, 386, 362, 374))
MESH_LIPS = (61, 291)


@dataclass(frozen=True)
class Crop:
    """A square crop of `size` px. Both maps are float32 (3, 3), each the inverse of the other.

    `centre` (2,) and `side` px place it in the source; `angle` is its turn in radians, positive clockwise.
    """

    size: int
    source_to_crop: np.ndarray
    crop_to_source: np.ndarray
    centre: np.ndarray
    side: float
    angle: float


def mesh_anchors(points: np.ndarray) -> np.ndarray:
    """Eye centre and lip centre, (2, 2) px in the dtype of `points`, the mesh's (478, 2 or 3)."""
    flat = points[:, :2]
    eyes = np.stack([flat[list(eye)].mean(0) for eye in MESH_EYES]).mean(0)
    return np.stack([eyes, flat[list(MESH_LIPS)].mean(0)])


def face_crop(
    points: np.ndarray,
    anchors: np.ndarray,
    size: int,
    *,
    scale: float = 2.3,
    vx_ratio: float = 0.0,
    vy_ratio: float = -0.125,
    do_rot: bool = True,
) -> Crop:
    """The crop of `size` px for a face with these `points` (n, 2) px and `anchors` (2, 2): eyes, lips.

    `scale` is the crop's side over the face's box; `vx_ratio` and `vy_ratio` move its centre, in sides, along
    the face's own axes (rightward in an upright picture, downward); `do_rot` False leaves it unturned.
    Computed in the dtype of the points: parity with Ditto needs float32, and its arc cosine, which
    rounds angles to about 0.02 degrees then.
    """
    down = anchors[1] - anchors[0]
    length = np.linalg.norm(down)
    down = down / length if length > 1e-3 else np.array([0, 1], points.dtype)
    right = np.array([down[1], -down[0]], points.dtype)
    frame = np.stack([right, down])  # rows: the face's own axes

    middle = points.mean(0)
    own = (points - middle) @ frame.T
    low, high = own.min(0), own.max(0)
    side = (high - low).max() * scale
    shift = (low + high) / 2 + np.array([vx_ratio, vy_ratio], points.dtype) * side
    centre = middle + shift @ frame

    angle = float(np.copysign(np.arccos(np.clip(right[0], -1, 1)), right[1])) if do_rot else 0.0
    to_crop = _source_to_crop(centre, float(side), angle, size)
    return Crop(size, to_crop, np.linalg.inv(to_crop), centre, float(side), angle)


def _source_to_crop(centre: np.ndarray, side: float, angle: float, size: int) -> np.ndarray:
    zoom = size / side
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    x, y = float(centre[0]), float(centre[1])
    middle = size / 2
    return np.array(
        [[cos, sin, middle - cos * x - sin * y], [-sin, cos, middle + sin * x - cos * y], [0, 0, 1]],
        np.float32,
    )
