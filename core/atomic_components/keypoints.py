"""Motion as vectors and keypoints.

A motion is a mapping of named arrays, one row a frame: `scale` (n, 1), `pitch`, `yaw`, `roll` (n, 66)
logits over 3-degree bins or (n,) degrees, `t` (n, 3), `exp` (n, 63), and for sources `kp` (n, 63).
As a vector (265,): scale - 1, the three angles' logits, t, exp. All float32, as in
antgroup/ditto-talkinghead e9191cf6.
"""

from collections.abc import Mapping

import numpy as np

Motion = Mapping[str, np.ndarray]

BINS = 66
POINTS = 21
_WIDTHS = {"scale": 1, "pitch": BINS, "yaw": BINS, "roll": BINS, "t": 3, "exp": 3 * POINTS}
MOTION_WIDTH = sum(_WIDTHS.values())  # 265
POSE_WIDTH = MOTION_WIDTH - _WIDTHS["exp"]  # 202: all but the expression
ANGLES = ("pitch", "yaw", "roll")


def join_vector(motion: Motion) -> np.ndarray:
    """One frame of a motion, angles as logits -> (265,) float32."""
    parts = [np.asarray(motion[key], np.float32).reshape(-1) for key in _WIDTHS]
    return np.concatenate([parts[0] - 1, *parts[1:]])


def split_vector(vector: np.ndarray) -> dict[str, np.ndarray]:
    """(265,) -> a motion of one frame, rows of a new array."""
    ends = np.cumsum(list(_WIDTHS.values()))[:-1]
    motion = dict(zip(_WIDTHS, np.split(vector.astype(np.float32)[None], ends, axis=1), strict=True))
    motion["scale"] = motion["scale"] + 1
    return motion


def degrees(angle: np.ndarray) -> np.ndarray:
    """Logits (n, 66) -> degrees (n,); what has no 66 columns is in degrees already."""
    if angle.ndim < 2 or angle.shape[1] != BINS:
        return angle.reshape(-1)
    weights = np.exp(angle - angle.max(1, keepdims=True))
    weights /= weights.sum(1, keepdims=True)
    return (weights * np.arange(BINS, dtype=np.float32)).sum(1) * 3 - 97.5


def rotation(pitch: np.ndarray, yaw: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Angles (n,) in degrees -> matrices (n, 3, 3) for points in rows: (Rz Ry Rx) transposed."""
    (sx, sy, sz), (cx, cy, cz) = (f(np.deg2rad(np.stack([pitch, yaw, roll]))) for f in (np.sin, np.cos))
    one, zero = np.ones_like(cx), np.zeros_like(cx)
    about_x = _matrices(one, zero, zero, zero, cx, -sx, zero, sx, cx)
    about_y = _matrices(cy, zero, sy, zero, one, zero, -sy, zero, cy)
    about_z = _matrices(cz, -sz, zero, sz, cz, zero, zero, zero, one)
    return np.transpose(about_z @ about_y @ about_x, (0, 2, 1))


def _matrices(*entries: np.ndarray) -> np.ndarray:
    return np.stack(entries, axis=-1).reshape(-1, 3, 3)


def transform_keypoints(kp: np.ndarray, motion: Motion) -> np.ndarray:
    """Canonical points kp (n, 63) under a motion -> (n, 21, 3): scale * (kp R + exp), then t in x and y."""
    turned = kp.reshape(-1, POINTS, 3) @ rotation(*(degrees(motion[angle]) for angle in ANGLES))
    out = motion["scale"].reshape(-1, 1, 1) * (turned + motion["exp"].reshape(-1, POINTS, 3))
    out[..., :2] += motion["t"].reshape(-1, 1, 3)[..., :2]
    return out.astype(np.float32)
