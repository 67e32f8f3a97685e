"""Frames of the streaming protocol's version 1 as picture files, the coarser the more of them wait."""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
from PIL import Image

QUEUE = 50  # messages that wait for a client
_LONG, _LONGER = 25, 40  # of them; from there on the quality goes down
_STEP = 10
_EFFORT = 2  # of WebP's 0 .. 6: 4 ms a frame of 320 pixels; the usual 4 takes 9 ms and saves 4 %


@dataclass(frozen=True)
class Pictures:
    """How frames are coded: quality 1 .. 100, and the least of a client that falls behind; `scale` 0.1 .. 1
    of the canvas."""

    quality: int = 85
    least: int = 60
    scale: float = 1.0
    format: Literal["webp", "jpeg"] = "webp"

    @property
    def mime(self) -> str:
        return f"image/{self.format}"

    def quality_at(self, depth: int) -> int:
        """The quality of the next frame while `depth` messages wait."""
        if depth > _LONGER:
            return self.least
        return max(self.least, self.quality - _STEP) if depth > _LONG else self.quality

    def encode(self, rgb: np.ndarray, depth: int) -> bytes:
        """A frame uint8 (H, W, 3) -> the bytes of a picture file."""
        picture = Image.fromarray(rgb)
        if self.scale != 1:
            size = max(1, round(picture.width * self.scale)), max(1, round(picture.height * self.scale))
            picture = picture.resize(size, Image.Resampling.BOX)
        with io.BytesIO() as file:
            picture.save(file, self.format.upper(), quality=self.quality_at(depth), method=_EFFORT)
            return file.getvalue()
