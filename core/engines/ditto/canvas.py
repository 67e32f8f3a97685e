"""The written picture under a rendered face: the source itself, or a square cut out of it."""

import cv2
import numpy as np

from core.atomic_components.canvas import canvas_of
from core.atomic_components.face_reader import CROP_SIDE
from core.atomic_components.putback import Place, find_place, put_back
from core.engines.ditto.registration import source_picture
from core.types import RegisteredAvatar

_SHRUNK = 0.75  # a face that is written smaller than this is made smaller by area first: no aliasing


class Canvas:
    """One clip's pictures. What stays the same from frame to frame is worked out once.

    With the source's own size all is as antgroup/ditto-talkinghead e9191cf6 does it.
    """

    def __init__(self, avatar: RegisteredAvatar, resolution: str) -> None:
        self._avatar = avatar
        crops = avatar.arrays["crop_to_source"][:, :2]
        self._to_canvas, self.size = canvas_of(avatar.size, crops, CROP_SIDE, resolution)
        self._as_it_is = resolution == "source"
        self._row = -1
        self._base: np.ndarray
        self._place: Place
        self._side = CROP_SIDE
        self._turn_to(0)

    def base(self, row: int) -> np.ndarray:
        """The picture of source frame `row` without a face put into it, uint8 (h, w, 3)."""
        self._turn_to(row)
        return self._base

    def show(self, face: np.ndarray, row: int) -> np.ndarray:
        """The picture uint8 (h, w, 3) with the rendered face (512, 512, 3) 0..255 in source frame `row`."""
        self._turn_to(row)
        if self._side != CROP_SIDE:
            face = cv2.resize(face, (self._side, self._side), interpolation=cv2.INTER_AREA)
        return put_back(self._base, face, self._place)

    def _turn_to(self, row: int) -> None:
        if row == self._row:
            return
        rgb, crop = source_picture(self._avatar, row), self._avatar.arrays["crop_to_source"][row]
        self._row, self._base, self._side = row, rgb, CROP_SIDE
        if not self._as_it_is:
            self._base = _laid(rgb, self._to_canvas, self.size)
            crop = np.vstack([self._to_canvas, [[0, 0, 1]]]).astype(np.float32) @ crop
            zoom = float(np.hypot(crop[0, 0], crop[1, 0]))
            if zoom < _SHRUNK:
                self._side = max(2, round(CROP_SIDE * zoom))
                crop = crop @ _enlarged(CROP_SIDE / self._side)
        self._place = find_place(crop, self.size, self._side)


def _laid(rgb: np.ndarray, to_canvas: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The source on the canvas; made smaller by area where it gets smaller."""
    scale = float(to_canvas[0, 0])
    if scale < 1:
        height, width = rgb.shape[:2]
        small = (max(1, round(width * scale)), max(1, round(height * scale)))
        rgb = cv2.resize(rgb, small, interpolation=cv2.INTER_AREA)
        back = np.diag([width / small[0], height / small[1], 1.0])
        back[:2, 2] = back[[0, 1], [0, 1]] / 2 - 0.5
        to_canvas = to_canvas @ back
    return cv2.warpAffine(rgb, to_canvas, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def _enlarged(by: float) -> np.ndarray:
    """From pixels of a smaller picture to those of one `by` times as large; the centres coincide."""
    return np.array([[by, 0, by / 2 - 0.5], [0, by, by / 2 - 0.5], [0, 0, 1]], np.float32)
