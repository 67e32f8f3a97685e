"""The eyes: lids that close and widen, and eyeballs that turn.

Each eye has a frame with its origin between the corners, u along them and v down, in eye distances.
Lid edges are tables over u. A lid is skin that slides down over the eyeball: its edge with the lashes
moves as it is, the skin above it stretches.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from core.engines.lite.survey import straightened

SPAN = 0.40  # the tables reach from -SPAN to SPAN
_TABLE = 128
_LASHES = 0.045  # eye distances: the strip above an open lid that they darken, and a closed one does not show
_TURN = 0.19  # eye distances: the eyeball's radius
_UPPER = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
_LOWER = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))
_BROW = ((46, 53, 52, 65, 55), (285, 295, 282, 283, 276))
_IRIS = ((468, 469, 470, 471, 472), (473, 474, 475, 476, 477))


def survey(rgb: np.ndarray, plane: np.ndarray, to_source: np.ndarray) -> dict[str, np.ndarray]:
    """Frames, lid tables, irises and lash colours of both eyes; `plane` (478, 2) in eye distances."""
    frames, lids, irises, lashes = [], [], [], []
    for upper, lower, brow, iris in zip(_UPPER, _LOWER, _BROW, _IRIS, strict=True):
        left, right = plane[upper[0]], plane[upper[-1]]
        along = (right - left) / np.linalg.norm(right - left)
        linear = np.array([along, [-along[1], along[0]]])
        frame = np.column_stack([linear, -linear @ ((left + right) / 2)])
        points = plane @ linear.T + frame[:, 2]
        half = float(np.linalg.norm(right - left)) / 2
        frames.append(frame)
        lids.append(_lids(points, upper, lower, brow, half))
        centre = points[iris[0]]
        irises.append([*centre, np.linalg.norm(points[list(iris[1:])] - centre, axis=1).mean()])
        lashes.append(_lash_colour(rgb, to_source, frame, half, lids[-1]))
    return {
        "eye_frames": np.array(frames, np.float32),
        "lids": np.array(lids, np.float32),
        "irises": np.array(irises, np.float32),
        "lashes": np.array(lashes, np.float32),
    }


def _lids(
    points: np.ndarray, upper: tuple[int, ...], lower: tuple[int, ...], brow: tuple[int, ...], half: float
) -> np.ndarray:
    """Tables (3, n): the upper lid's edge, the lower lid's, and where the skin above stays put."""
    u = np.linspace(-SPAN, SPAN, _TABLE)
    within = np.clip(u, -half, half)
    bent = ((points[list(lid), 0], points[list(lid), 1]) for lid in (upper, lower))
    edges = [np.polyval(np.polyfit(x, y, 4), within) for x, y in bent]
    edges[1] = np.maximum(edges[0], edges[1])
    brows = points[list(brow)]
    order = np.argsort(brows[:, 0])
    roof = np.interp(u, brows[order, 0], brows[order, 1])
    tall = float((edges[1] - edges[0]).max())
    fixed = np.clip(0.15 * edges[0] + 0.85 * roof, edges[0] - 0.26, edges[0] - 0.9 * tall)
    return np.stack([*edges, cv2.GaussianBlur(fixed[None], (0, 0), 14)[0]])  # or neighbours stretch unlike


def _lash_colour(
    rgb: np.ndarray, to_source: np.ndarray, frame: np.ndarray, half: float, lids: np.ndarray
) -> np.ndarray:
    """The dark of the upper lid's edge."""
    top = float(lids[0].min())
    low, high = np.array([-half, top - 0.03]), np.array([half, top + 0.05])
    patch = straightened(rgb, to_source, frame, low, high, 80)
    colours = patch.reshape(-1, 3).astype(np.float32)
    luma = colours.mean(1)
    return colours[luma <= np.percentile(luma, 12)].mean(0)


class EyePainter:
    """Moves the lids and turns the eyeball of one eye, in a window of the frame."""

    def __init__(self, rig: Mapping[str, np.ndarray], eye: int, to_plane: np.ndarray, scale: float) -> None:
        frame = np.vstack([rig["eye_frames"][eye], [0, 0, 1]])
        matrix = frame @ np.vstack([to_plane, [0, 0, 1]])
        self._to_eye = matrix[:2].astype(np.float32)
        self._to_work = np.linalg.inv(matrix)[:2].astype(np.float32)
        self._scale = scale
        self._lids = rig["lids"][eye]
        self._iris = rig["irises"][eye]
        self._lash = rig["lashes"][eye]
        tall = self._lids[1] - self._lids[0]
        self._tall = float(tall.max())
        self._line = np.clip(3.0 * tall / max(self._tall, 1e-3), 0, 1)

    def maps(self, where: np.ndarray, close: float, gaze: tuple[float, float]) -> "EyeMaps":
        """Places in the source (h, w, 2), in work pixels, of the lid's skin and of the eye under it.

        `close` as channel LID; `gaze` degrees right and down.
        """
        place = cv2.transform(where, self._to_eye)
        u, v = place[..., 0], place[..., 1]
        column = np.clip((u + SPAN) * (_TABLE / (2 * SPAN)), 0, _TABLE - 1).astype(np.intp)
        upper, lower, fixed = (table[column] for table in self._lids)
        tall = lower - upper
        turn = _TURN * np.sin(np.radians(gaze))
        fall = np.clip(tall / max(self._tall, 1e-3), 0, 1)  # what follows the gaze, follows it in the middle
        up = 0.16 * max(close, 0.0) * tall  # the lower lid rises to meet the upper
        down = (1 - 0.14 * max(close, 0.0)) * tall if close > 0 else tall
        drop = close * down + float(turn[1]) * 0.9 * fall * (1 - max(close, 0.0))
        drop = np.minimum(drop, tall)
        edge = upper + drop
        above = np.clip((edge - v) / np.maximum(edge - fixed, 1e-3), 0, 1)
        middle = self._line[column]
        bare = np.minimum(_LASHES, 0.22 * (upper - fixed)) * middle * np.clip(1.6 * close - 0.2, 0, 1)
        skin = v - (drop + bare) * (1 - above * (0.6 + 0.4 * above * (3 - 2 * above)))
        stretched = np.clip(1.4 * close - 0.2, 0, 1) * middle * np.clip(6 * above * (1 - above), 0, 1)
        return EyeMaps(
            self._back(u, np.where(v < edge, skin, v)),
            self._back(*self._ball(u, v, upper, lower, up, drop, turn)),
            np.clip((edge - v) * self._scale + 0.5, 0, 1),
            stretched if close > 0.15 else None,
            self._shadow(v - edge, middle, close),
        )

    def blend(self, lid: np.ndarray, ball: np.ndarray, maps: "EyeMaps") -> np.ndarray:
        """The window (h, w, 3) uint8 from the colours at both maps."""
        if maps.stretched is not None:
            wide = max(3, int(0.09 * self._scale) | 1)
            smooth = cv2.blur(lid, (wide, max(1, wide // 3)))
            lid = cv2.blendLinear(smooth, lid, maps.stretched, 1 - maps.stretched)
        mixed = cv2.blendLinear(lid, ball, maps.cover, 1 - maps.cover)
        if maps.shadow is None:
            return mixed
        return cv2.convertScaleAbs(mixed + maps.shadow[..., None] * (self._lash - mixed))

    def _ball(
        self,
        u: np.ndarray,
        v: np.ndarray,
        upper: np.ndarray,
        lower: np.ndarray,
        up: np.ndarray,
        drop: np.ndarray,
        turn: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where the eye, and the lower lid with the skin under it, come from."""
        below = np.clip((v - lower + up) / 0.14, 0, 1)
        v = v + up * (1 - below * below * (3 - 2 * below))
        x, y, radius = self._iris
        reach = np.hypot(u - x - turn[0], v - y - turn[1]) / radius
        near = np.clip((2.1 - reach) / 1.0, 0, 1)
        near = near * near * (3 - 2 * near) * np.clip((lower - v) / 0.014, 0, 1)
        widen = np.minimum(drop, 0) * np.clip((lower - v) / np.maximum(lower - upper, 1e-3), 0, 1)
        source_v = v - turn[1] * near - widen * (1 - near)
        return u - turn[0] * near, np.where(v < lower, np.maximum(source_v, upper), source_v)

    def _shadow(self, below: np.ndarray, line: np.ndarray, close: float) -> np.ndarray | None:
        """Opacity of the lid's line, with lashes that thicken it, as the eye closes."""
        shut = float(np.clip((close - 0.35) / 0.5, 0, 1))
        if shut == 0:
            return None
        width = np.where(below < 0, 0.008, 0.015) + 0.5 / self._scale
        return 0.6 * shut * line * np.exp(-((below / width) ** 2))

    def _back(self, u: np.ndarray, v: np.ndarray) -> np.ndarray:
        return cv2.transform(np.dstack([u, v]), self._to_work)


@dataclass(frozen=True)
class EyeMaps:
    """`lid`, `ball`: places in the source (h, w, 2), work px; opacities (h, w): `cover` of the lid over the
    ball, `stretched` of its skin's smooth copy, which has no streaks, `shadow` of the lashes' line."""

    lid: np.ndarray
    ball: np.ndarray
    cover: np.ndarray
    stretched: np.ndarray | None
    shadow: np.ndarray | None
