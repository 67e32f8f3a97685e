"""Where the lips part in a source picture.

The mouth's frame has its origin between the inner corners, u along them and v down, in eye distances.
Both lip edges are tables over u, so a point is told to be lip or not by one look-up.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from core.engines.lite.shapes import LOWER, UPPER

SPAN = 0.75  # the tables reach from -SPAN to SPAN
TABLE = 384  # entries of the tables
NO_MAP = np.empty(0, np.float32)  # OpenCV's word for "the first map holds both"
_PATCH = 120  # px an eye distance, of the straightened picture of the mouth
_LOW, _HIGH = np.array([-0.65, -0.42]), np.array([0.65, 0.52])  # its corners
_REACH = 0.035  # how far an edge may lie from where the mesh says
_BARED = 0.035  # a mean gap beyond which lips count as parted
_INSET = 0.006  # edges are drawn back into parted lips, and by half a source pixel more, so that
# no gleam of teeth stays on them


@dataclass(frozen=True)
class Look:
    """How the mouth lies in the source.

    `frame` (2, 3) maps the rig's plane to the mouth's frame; `upper`, `lower` (11, 2) are the inner lip
    edges in the plane; `lips` (2, table) the same as v over u; `gap` the mean distance of the lips.
    """

    frame: np.ndarray
    upper: np.ndarray
    lower: np.ndarray
    lips: np.ndarray
    parted: bool


def survey_mouth(rgb: np.ndarray, plane: np.ndarray, to_source: np.ndarray) -> Look:
    """Find the edges of the lips; `plane` (478, 2) are the mesh points in the rig's plane."""
    left, right = plane[78], plane[308]
    along = (right - left) / np.linalg.norm(right - left)
    linear = np.array([along, [-along[1], along[0]]])
    frame = np.column_stack([linear, -linear @ ((left + right) / 2)])
    upper = plane[UPPER[3]] @ linear.T + frame[:, 2]
    lower = plane[LOWER[3]] @ linear.T + frame[:, 2]
    half = float(np.abs(upper[[0, -1], 0]).mean())
    gaps = lower[:, 1] - upper[:, 1]
    parted = bool(gaps[4:7].mean() > _BARED)

    patch = straightened(rgb, to_source, frame, _LOW, _HIGH, _PATCH)
    luma = cv2.GaussianBlur(cv2.cvtColor(patch, cv2.COLOR_RGB2GRAY), (0, 0), 1.2).astype(np.float32)
    columns = np.linspace(-half, half, 65)
    edge_up, edge_low = _over(columns, upper), _over(columns, lower)
    if parted:
        slope = cv2.Sobel(luma, cv2.CV_32F, 0, 1, ksize=3)
        inside = _at(luma, columns[16:49], ((edge_up + edge_low) / 2)[16:49]).mean()
        outside = _at(luma, columns[16:49], edge_low[16:49] + 0.08).mean()
        sign = 1.0 if inside > outside else -1.0
        inset = _taper(columns) * (_INSET + 0.5 / float(to_source[0, 0]))
        edge_up = _trace(-sign * slope, columns, edge_up) - inset
        edge_low = _trace(sign * slope, columns, edge_low) + inset
    else:
        edge_up = edge_low = _trace(luma, columns, (edge_up + edge_low) / 2)
    back = np.linalg.inv(linear).T
    for edge, points in ((edge_up, upper), (edge_low, lower)):
        points[1:-1, 1] = np.interp(points[1:-1, 0], columns, edge)
    return Look(
        frame.astype(np.float32),
        (upper - frame[:, 2]) @ back,
        (lower - frame[:, 2]) @ back,
        _tables(columns, edge_up, edge_low),
        parted,
    )


def straightened(
    rgb: np.ndarray, to_source: np.ndarray, frame: np.ndarray, low: np.ndarray, high: np.ndarray, scale: float
) -> np.ndarray:
    """The part `low`..`high` (u, v) of a frame of the rig's plane, `scale` px an eye distance."""
    size = np.ceil((high - low) * scale).astype(int)
    whole = np.vstack([to_source, [0, 0, 1]]) @ np.linalg.inv(np.vstack([frame, [0, 0, 1]]))
    pixels = np.array([[1 / scale, 0, low[0]], [0, 1 / scale, low[1]], [0, 0, 1]])
    matrix = (whole @ pixels)[:2]
    corners = matrix @ np.array([[0, size[0], 0, size[0]], [0, 0, size[1], size[1]], [1, 1, 1, 1]])
    zoom = float(to_source[0, 0]) / scale
    margin = int(3 * zoom) + 2
    x0, y0 = np.maximum(np.floor(corners.min(1)).astype(int) - margin, 0)
    x1, y1 = np.ceil(corners.max(1)).astype(int) + margin
    part = rgb[y0:y1, x0:x1]
    if part.size == 0:
        return np.zeros((size[1], size[0], 3), np.uint8)
    if zoom > 1.3:
        part = cv2.GaussianBlur(part, (0, 0), 0.4 * zoom)
    matrix[:, 2] -= (x0, y0)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(part, matrix, tuple(size.tolist()), flags=flags, borderMode=cv2.BORDER_REPLICATE)


def sampled(picture: np.ndarray, where: np.ndarray, border: int = cv2.BORDER_REPLICATE) -> np.ndarray:
    """The values of a picture at places (h, w, 2) float32 px, x first, interpolated."""
    return cv2.remap(picture, where, NO_MAP, cv2.INTER_LINEAR, borderMode=border)


def _over(columns: np.ndarray, contour: np.ndarray) -> np.ndarray:
    order = np.argsort(contour[:, 0])
    return np.interp(columns, contour[order, 0], contour[order, 1])


def _taper(columns: np.ndarray) -> np.ndarray:
    """1 in the middle, 0 in the corners of the mouth."""
    return np.clip(4 * (1 - np.abs(columns) / columns[-1]), 0, 1)


def _at(values: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    where = ((np.stack([u, v], -1) - _LOW) * _PATCH).astype(np.float32)
    return sampled(values, where if where.ndim == 3 else where[None]).reshape(u.shape)


def _trace(cost: np.ndarray, columns: np.ndarray, guess: np.ndarray) -> np.ndarray:
    """The smooth line of least cost near the guessed one: dynamic programming over the columns."""
    steps = np.linspace(-_REACH, _REACH, 19)
    u = np.repeat(columns[:, None], len(steps), 1)
    grid = _at(cost, u, guess[:, None] + steps * _taper(columns)[:, None]).astype(np.float64)
    grid = grid / max(float(grid.std()), 1e-6) + 1.2 * (steps / _REACH) ** 2
    bend = 1.5 * (np.subtract.outer(np.arange(19), np.arange(19)) / 2.0) ** 2
    total = grid[0]
    origin = np.zeros(grid.shape, int)
    for column in range(1, len(columns)):
        paths = total[None, :] + bend
        origin[column] = paths.argmin(1)
        total = paths.min(1) + grid[column]
    best = np.empty(len(columns), int)
    best[-1] = total.argmin()
    for column in range(len(columns) - 1, 0, -1):
        best[column - 1] = origin[column, best[column]]
    offset = cv2.GaussianBlur(steps[best][None], (0, 0), 2.0)[0]
    return guess + offset * _taper(columns)


def _tables(columns: np.ndarray, edge_up: np.ndarray, edge_low: np.ndarray) -> np.ndarray:
    u = np.linspace(-SPAN, SPAN, TABLE)
    beyond = np.maximum(np.abs(u) - 0.94 * columns[-1], 0)
    upper, lower = np.interp(u, columns, edge_up), np.interp(u, columns, edge_low)
    return np.stack([upper, lower - 30 * beyond**2]).astype(np.float32)  # the corners stay together
