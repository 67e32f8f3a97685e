"""Where to look for faces: views of a picture, and the squares in which the mesh wants to see a face.

A view is a small picture with `back`, the affine map float64 (2, 3) from its pixels to the picture's.
"""

from collections.abc import Iterable, Iterator
from itertools import product
from typing import NamedTuple

import cv2
import numpy as np

_LOOK = 384  # px, the longer side of a view: twice what the detectors' networks see
_TILE_OVERLAP = 0.25
_TILE_SIDES = (1400, 600)  # px of the picture; with them a face 60 px wide is found in a tile
_TURNS = (45, -45, 90, -90, 135, -135, 180)  # degrees; a detector tolerates about 40 either way
_MARGIN = 1.5  # the mesh's square over the face's box, as the mesh was trained


class View(NamedTuple):
    rgb: np.ndarray
    back: np.ndarray


class Square(NamedTuple):
    """A square of the picture: centre (2,) px, side px, turn in radians, positive clockwise."""

    centre: np.ndarray
    side: float
    angle: float


def searches(rgb: np.ndarray) -> Iterator[Iterable[View]]:
    """Ever dearer ways to look at a picture; a group is worth trying when those before it showed no face."""
    height, width = rgb.shape[:2]
    whole = Square(np.array([width, height]) / 2, float(max(width, height)), 0.0)
    yield [look(rgb, whole, _LOOK)]
    wide = whole._replace(side=whole.side * 1.6)  # room around a face that fills the picture
    yield [_clear(look(rgb, whole, _LOOK)), _clear(look(rgb, wide, _LOOK))]
    yield (_clear(look(rgb, wide._replace(angle=np.radians(turn)), _LOOK)) for turn in _TURNS)
    for side in _TILE_SIDES:
        if side < whole.side:
            yield (look(rgb, tile, _LOOK) for tile in _tiles(width, height, side))


def look(rgb: np.ndarray, square: Square, side: int) -> View:
    """The square of the picture, `side` px wide, free of aliasing; beyond the picture its edge goes on."""
    zoom = square.side / side
    linear = rotation(square.angle) * zoom
    back = np.column_stack([linear, square.centre - linear @ np.full(2, side / 2)])
    fine = int(np.clip(np.ceil(zoom), 1, 2))  # samples a pixel, each way
    sampling = np.column_stack([linear / fine, back[:, 2] - linear @ np.full(2, (fine - 1) / (2 * fine))])
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    view = cv2.warpAffine(rgb, sampling, (side * fine,) * 2, flags=flags, borderMode=cv2.BORDER_REPLICATE)
    return View(cv2.resize(view, (side, side), interpolation=cv2.INTER_AREA) if fine > 1 else view, back)


def square_of_points(points: np.ndarray) -> Square:
    """Where the mesh wants to see a face whose 478 points are known, (478, 2 or 3) px."""
    flat = points[:, :2].astype(np.float64)
    x, y = flat[263] - flat[33]  # outer eye corners
    turn = rotation(float(np.arctan2(y, x)))
    upright = flat @ turn
    low, high = upright.min(0), upright.max(0)
    return Square(turn @ (low + high) / 2, float((high - low).max()) * _MARGIN, float(np.arctan2(y, x)))


def square_of_sighting(seen: np.ndarray, back: np.ndarray) -> Square:
    """The same from what `FaceNets.detect` saw in a view, (4, 2) px of the view."""
    right_eye, left_eye, low, high = to_picture(seen, back)
    x, y = left_eye - right_eye
    zoom = float(np.sqrt(np.linalg.det(back[:, :2])))
    side = float((seen[3] - seen[2]).max()) * zoom * _MARGIN
    return Square((low + high) / 2, side, float(np.arctan2(y, x)))


def to_picture(points: np.ndarray, back: np.ndarray) -> np.ndarray:
    """Points (n, 2) of a view in px of the picture."""
    return points @ back[:, :2].T + back[:, 2]


def rotation(angle: float) -> np.ndarray:
    """(2, 2) for column vectors, clockwise in a picture for a positive angle in radians."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])


def _clear(view: View) -> View:
    """Brightness evened out locally, for detection in dark or flat pictures."""
    light, a, b = cv2.split(cv2.cvtColor(view.rgb, cv2.COLOR_RGB2LAB))
    even = cv2.createCLAHE(clipLimit=4.0, tileGridSize=(4, 4)).apply(light)
    return view._replace(rgb=cv2.cvtColor(cv2.merge([even, a, b]), cv2.COLOR_LAB2RGB))


def _tiles(width: int, height: int, side: int) -> Iterator[Square]:
    """Overlapping squares that cover the picture."""

    def centres(length: int) -> np.ndarray:
        if length <= side:
            return np.array([length / 2])
        count = int(np.ceil((length - side) / (side * (1 - _TILE_OVERLAP)))) + 1
        return np.linspace(side / 2, length - side / 2, count)

    for y, x in product(centres(height), centres(width)):
        yield Square(np.array([x, y]), float(side), 0.0)
