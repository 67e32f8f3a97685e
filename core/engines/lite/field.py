"""Displacements of a face on a coarse grid of the frame, and their reversal."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from core.engines.lite.rig import PIVOT, kernel
from core.engines.lite.shapes import Shape
from core.engines.lite.survey import sampled

_CELL = 22  # grid cells an eye distance
_STEPS = 6  # fixed-point steps for all of the face,
_MOUTH_STEPS = 4  # and further ones for the mouth, where stretching leaves 0.7 of the error a step
_STRIDE = 0.75  # of a full step: whole ones swing where things are stretched
_FADE = 1.45  # of the head's outline: beyond it nothing moves

Window = tuple[slice, slice]


@dataclass(frozen=True)
class Flow:
    """Where the pixels of the region come from, in its pixels: `whole` (h, w, 2) for all of it; in the window
    `mouth`, `upper` for the upper lip's layer and `skull` for what the skull carries.

    `forward` (rows, columns, 2) is where the cells of the source go, in cells.
    """

    whole: np.ndarray
    mouth: Window
    upper: np.ndarray
    skull: np.ndarray
    forward: np.ndarray


class Field:
    """The region of a work picture in which a face moves, with its prepared displacements."""

    def __init__(
        self, rig: Mapping[str, np.ndarray], to_plane: np.ndarray, scale: float, size: tuple[int, int]
    ) -> None:
        """`to_plane` (2, 3) maps work pixels to the rig's plane, `scale` px an eye distance, `size` w, h."""
        self._to_plane, self._scale, self._axes = to_plane, scale, rig["axes"].astype(np.float64)
        self._turning = rig["turning"].astype(np.float64)
        self.cell = max(2, round(scale / _CELL))
        outline = rig["outline"].astype(np.float64)
        low, high = self._extent(outline, np.array(size))
        self.origin, self.size = low, high - low  # (x, y) px of the region in the work picture
        columns, rows = (self.size + self.cell - 1) // self.cell
        self._cells = np.stack(np.meshgrid(np.arange(columns), np.arange(rows)), -1).astype(np.float32)
        self._pixels = np.stack(np.meshgrid(*(np.arange(n) for n in self.size)), -1).astype(np.float32)
        pixels = (self._cells + 0.5) * self.cell - 0.5 + low
        plane = (pixels @ to_plane[:, :2].T + to_plane[:, 2]).astype(np.float32)
        edge = np.minimum(pixels, np.array(size) - 1 - pixels).min(-1) / scale  # eye distances to the border
        self._prepare_shapes(rig, plane, _ease(edge / 0.12))
        head = 1 - _ease((_radius(plane, outline) - 1) / (_FADE - 1))
        self.mask = head * _ease(edge / 0.5)
        away = plane - (PIVOT @ self._axes)[:2].astype(np.float32)
        parts = np.dstack([away, self._depth, np.ones_like(head)]) * self.mask[..., None]
        self._pose = parts.reshape(-1, 4).astype(np.float32)

    @property
    def region(self) -> Window:
        """The region in the work picture."""
        (x0, y0), (x1, y1) = self.origin, self.origin + self.size
        return slice(y0, y1), slice(x0, x1)

    def _extent(self, outline: np.ndarray, size: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        back = np.linalg.inv(np.vstack([outline[:2], [0, 0, 1]]))
        rim = [(x, y, 1.0) for x in (-1, 1) for y in (-outline[2, 0], outline[2, 1])]
        pixels = ((np.array(rim) * (_FADE, _FADE, 1) @ back.T)[:, :2] - self._to_plane[:, 2]) * self._scale
        low = np.floor(pixels.min(0)).astype(int).clip(0, np.maximum(size - 8, 0))
        return low, np.ceil(pixels.max(0)).astype(int).clip(np.minimum(low + 8, size), size)

    def _prepare_shapes(self, rig: Mapping[str, np.ndarray], plane: np.ndarray, inner: np.ndarray) -> None:
        """Evaluate the radial functions: on every second cell, and on all of them around the mouth."""
        rows, columns = inner.shape
        frame = rig["mouth_frame"]
        place = plane @ frame[:, :2].T + frame[:, 2]
        reach = np.hypot(place[..., 0] / (rig["mouth_half"][0] + 0.02), place[..., 1] / 0.40)
        self._area = area = _holding(reach < 1.6)
        self._mouth_middle = origin_of(frame)
        self._mouth_reach = np.array([1.45 * float(rig["mouth_half"][0]) + 0.1, 0.48])
        between = plane[::2, ::2] + (plane[1, 1] - plane[0, 0]) / 2
        values = evaluate(rig["fields"], rig["centres"], between)
        values = cv2.resize(values, (2 * values.shape[1], 2 * values.shape[0]))[:rows, :columns]
        values[area] = evaluate(rig["fields"], rig["centres"], plane[area])
        far = np.hypot(plane[..., 0] / 1.9, (plane[..., 1] - 0.35) / 2.3)
        fade = (inner * (1 - _ease((far - 0.75) / 0.25)))[..., None] * (self._scale / self.cell)
        self._shapes = _by_shape(values[..., :-1] * fade)
        upper = evaluate(rig["upper_fields"], rig["centres"], plane[area]) - values[area][..., :-1]
        self._upper = _by_shape(upper * fade[area] * (1 - _ease((reach[area] - 1) / 0.45))[..., None])
        self._depth = values[..., -1]

    def flow(self, weights: np.ndarray, turn: np.ndarray, shift: np.ndarray) -> Flow:
        """`weights` of the shapes, and the head's pose: rotation (3, 3) in its turning axes, shift (2,)."""
        rows, columns = self._cells.shape[:2]
        change = self._turning.T @ turn @ self._turning - np.eye(3)
        factors = np.column_stack([change[:2], shift]) * (self._scale / self.cell)
        skull = np.ascontiguousarray((self._pose @ factors.T.astype(np.float32)).reshape(rows, columns, 2))
        lower = (weights @ self._shapes).reshape(skull.shape) + skull
        upper = lower.copy()
        upper[self._area] += (weights @ self._upper).reshape(upper[self._area].shape)
        back = _reversed(lower, self._cells, np.zeros_like(lower), _STEPS)
        window = self._cell_window(lower)
        near, here = back[window], self._cells[window]
        near[...] = _reversed(lower, here, near, _MOUTH_STEPS)
        up = _reversed(upper, here, near, _STEPS + _MOUTH_STEPS)
        bone = _reversed(skull, here, near, _STEPS)
        high, wide = (slice(part.start * self.cell, part.stop * self.cell) for part in window)
        mouth = high, wide
        return Flow(
            self._full(back, np.s_[:, :]), mouth, self._full(up, mouth), self._full(bone, mouth), lower
        )

    def _full(self, back: np.ndarray, window: Window) -> np.ndarray:
        """Cells' ways back (rows, columns, 2) -> places (h, w, 2) in pixels of the region."""
        pixels = self._pixels[window]
        rows, columns = back.shape[:2]
        ways = cv2.resize(back * np.float32(self.cell), (columns * self.cell, rows * self.cell))
        return pixels + ways[: pixels.shape[0], : pixels.shape[1]]

    def _cell_window(self, forward: np.ndarray) -> Window:
        """The cells around the mouth of the frame, where the lips and the jaw may come to lie."""
        middle = self._moved(self._mouth_middle - (0, 0.02), forward)
        half = self._mouth_reach * self._scale / self.cell
        cells = np.array(self._cells.shape[1::-1])
        low = np.floor(middle - half).astype(int).clip(0, cells - 1)
        high = np.ceil(middle + half).astype(int).clip(low + 1, cells)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def window(self, point: np.ndarray, half: tuple[float, float], flow: Flow) -> Window:
        """The pixels of the region up to `half` eye distances around where a point of the plane is now;
        one pixel where that lies outside."""
        middle = self._moved(point, flow.forward) * self.cell
        low = np.floor(middle - np.array(half) * self._scale).astype(int).clip(0, self.size - 1)
        high = np.ceil(middle + np.array(half) * self._scale).astype(int).clip(low + 1, self.size)
        return slice(low[1], high[1]), slice(low[0], high[0])

    def _moved(self, point: np.ndarray, forward: np.ndarray) -> np.ndarray:
        """Where a point (2,) of the plane goes, in cells."""
        at = ((point - self._to_plane[:, 2]) * self._scale - self.origin + 0.5) / self.cell - 0.5
        column, row = np.rint(at).astype(int).clip(0, np.array(forward.shape[1::-1]) - 1)
        return at + forward[row, column]


def evaluate(weights: np.ndarray, centres: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Sums of radial functions at `points` (..., 2) -> (..., k) float32."""
    flat = points.reshape(-1, 2)
    values = kernel(flat, centres) @ weights[:-1] + weights[-1]
    return values.reshape(*points.shape[:-1], -1)


def _reversed(forward: np.ndarray, cells: np.ndarray, start: np.ndarray, steps: int) -> np.ndarray:
    """From where things come to `cells`: the way back, in cells, for ways forward (rows, columns, 2)."""
    back = start
    for _ in range(steps):
        back = (1 - _STRIDE) * back - _STRIDE * sampled(forward, cells + back)
    return back


def _holding(mask: np.ndarray) -> Window:
    """The smallest window with all of a mask; one cell where it is empty: a mouth outside the canvas."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return slice(0, 1), slice(0, 1)
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _by_shape(values: np.ndarray) -> np.ndarray:
    """(rows, columns, 2 * shapes) -> (shapes, rows * columns * 2) float32."""
    rows, columns = values.shape[:2]
    split = values.reshape(rows * columns, len(Shape), 2).transpose(1, 0, 2)
    return np.ascontiguousarray(split, np.float32).reshape(len(Shape), -1)


def origin_of(frame: np.ndarray) -> np.ndarray:
    """The point of the plane at the origin of a frame (2, 3)."""
    return -np.linalg.solve(frame[:, :2], frame[:, 2])


def _radius(plane: np.ndarray, outline: np.ndarray) -> np.ndarray:
    """1 on the outline of the head with its hair, less inside."""
    place = plane @ outline[:2, :2].T + outline[:2, 2]
    down = np.where(place[..., 1] < 0, place[..., 1] / outline[2, 0], place[..., 1] / outline[2, 1])
    return np.hypot(place[..., 0], down)


def _ease(x: np.ndarray) -> np.ndarray:
    """A smooth step from 0 at 0 to 1 at 1."""
    x = np.clip(x, 0, 1)
    return x * x * (3 - 2 * x)
