"""The rendered face back into the picture it was cut from."""

from dataclasses import dataclass

import cv2
import numpy as np

_INNER = 0.9  # of the crop's sides is put back in full


def soft_mask(width: int, height: int, inner_width: float, inner_height: float) -> np.ndarray:
    """1 inside, falling to 0 at the rim, float32 (height, width); round at the corners.

    The inner part takes these shares of the sides. The mask of antgroup/ditto-talkinghead e9191cf6.
    """
    across, down = _ramp(width, inner_width), _ramp(height, inner_height)
    return (1 - np.hypot(1 - down[:, None], 1 - across)).clip(0).astype(np.float32)


def _ramp(size: int, inner: float) -> np.ndarray:
    rim = size - int(size * inner)
    first, last = rim // 2, rim - rim // 2
    ones = np.ones(size - rim)
    return np.concatenate([np.linspace(0, 1, first), ones, np.linspace(1, 0, last)])


@dataclass(frozen=True)
class Place:
    """Where a crop lies in a picture of `size` (width, height): what stays the same while a face talks.

    `box` (left, top, right, bottom) is the part of the picture that the face can touch, `weight` float32
    (h, w, 1) the mask there; `to_picture` (2, 3) takes crop pixels to the picture.
    """

    box: tuple[int, int, int, int]
    to_picture: np.ndarray
    weight: np.ndarray


def find_place(crop_to_picture: np.ndarray, size: tuple[int, int], crop_side: int = 512) -> Place:
    """Lay the mask of a square crop into a picture; the matrix is (2, 3) or (3, 3)."""
    to_picture = np.asarray(crop_to_picture, np.float32)[:2]
    mask = soft_mask(crop_side, crop_side, _INNER, _INNER)
    weight = cv2.warpAffine(mask, to_picture, size, flags=cv2.INTER_LINEAR)
    rows, columns = (np.flatnonzero(weight.any(axis)) for axis in (1, 0))
    if not len(rows):
        return Place((0, 0, 0, 0), to_picture, np.zeros((0, 0, 1), np.float32))
    left, top, right, bottom = (int(v) for v in (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1))
    return Place((left, top, right, bottom), to_picture, weight[top:bottom, left:right, None])


def put_back(picture: np.ndarray, render: np.ndarray, place: Place) -> np.ndarray:
    """Blend render (512, 512, 3) 0..255 into a copy of picture uint8 (H, W, 3); values are truncated."""
    out = picture.copy()
    left, top, right, bottom = place.box
    if right == left:
        return out
    # From the picture's origin: a shifted matrix would round to other sub-pixels than upstream's.
    face = cv2.warpAffine(
        np.asarray(render, np.float32), place.to_picture, (right, bottom), flags=cv2.INTER_LINEAR
    )
    below = out[top:bottom, left:right]
    below[:] = (place.weight * face[top:, left:] + (1 - place.weight) * below).astype(np.uint8)
    return out
