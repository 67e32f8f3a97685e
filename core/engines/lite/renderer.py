"""Draws the lite engine's frames: the portrait warped by one motion row.

Displacements live on a coarse grid over the part of the canvas that can move. A row weighs prepared
fields into one displacement, which is turned round by fixed-point steps (where does this pixel come
from?), enlarged to full size and used to sample the portrait once. Mouth and eyes are then set in.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from core.engines.lite.channels import Channel
from core.engines.lite.eyes import EyePainter
from core.engines.lite.field import Field, Flow, Window, origin_of
from core.engines.lite.mouth import MouthDrive, MouthPainter
from core.engines.lite.shapes import weights
from core.engines.lite.survey import NO_MAP

_LARGE = 600_000  # px of a region beyond which doubling it costs more than its sharpness is worth
_LEAST = 48  # px of the picture that is computed, at any size asked
_MAX_RENDER = 2048  # px of the crop's side that are computed where nothing is asked


@dataclass(frozen=True)
class Canvas:
    """The picture to draw: `source_to_canvas` (2, 3), uniform scale and translation; `size` (w, h) px.

    `render_size`: px of the face crop's side that are computed; 0: as many as it has on the canvas.
    """

    source_to_canvas: np.ndarray
    size: tuple[int, int]
    render_size: int = 0


class LiteRenderer:
    """One session's drawing. Equal rows give equal bytes."""

    def __init__(self, rgb: np.ndarray, rig: Mapping[str, np.ndarray], canvas: Canvas) -> None:
        self._canvas = canvas
        self._prepare(rgb, rig, _LARGE)

    def retarget(self, rgb: np.ndarray, rig: Mapping[str, np.ndarray]) -> None:
        """Go over to another picture of the same size and its rig: the next frame of a video."""
        self._prepare(rgb, rig, 0)

    def _prepare(self, rgb: np.ndarray, rig: Mapping[str, np.ndarray], large: int) -> None:
        """Pictures of a region of `large` px or more are sampled as they are, smaller ones doubled."""
        zoom = float(self._canvas.source_to_canvas[0, 0])
        crop = float(rig["crop_side"][0]) * zoom
        asked = (self._canvas.render_size or _MAX_RENDER) / crop
        shrink = min(1.0, max(asked, _LEAST / min(self._canvas.size)))
        to_work = np.array(self._canvas.source_to_canvas, np.float64)
        self._base = _resized(rgb, self._canvas.source_to_canvas, self._canvas.size)
        self._work = self._base
        if shrink < 1:
            width, height = (max(1, round(side * shrink)) for side in self._canvas.size)
            shrink = width / self._canvas.size[0]
            to_work = to_work * shrink
            to_work[:, 2] += 0.5 * shrink - 0.5
            self._work = cv2.resize(self._base, (width, height), interpolation=cv2.INTER_AREA)
        self._shrink = shrink
        to_source = np.vstack([rig["to_source"], [0, 0, 1]])
        self._from_plane = (np.vstack([to_work, [0, 0, 1]]) @ to_source)[:2]
        self._scale = float(self._from_plane[0, 0])
        to_plane = np.linalg.inv(np.vstack([self._from_plane, [0, 0, 1]]))[:2]
        self._field = Field(rig, to_plane, self._scale, (self._work.shape[1], self._work.shape[0]))
        self._soft = self._soft_window() if shrink < 1 else None
        still = self._work[self._field.region]
        self._zoom = 2 if still.shape[0] * still.shape[1] < large else 1
        self._fine = _doubled(still) if self._zoom == 2 else still
        from_region = to_plane.copy()
        from_region[:, 2] += to_plane[:, :2] @ self._field.origin
        self._mouth = MouthPainter(rig, from_region, self._scale)
        self._eyes = tuple(EyePainter(rig, eye, from_region, self._scale) for eye in (0, 1))
        self._middles = tuple(origin_of(frame) for frame in rig["eye_frames"])
        self._mouth_turn = rig["mouth_frame"][:, :2] @ rig["axes"][1, :2]
        self._bared = bool(rig["bared"][0])

    def render(self, row: np.ndarray) -> np.ndarray:
        """A motion row (WIDTH,) float32 -> uint8 (H, W, 3) of the canvas: a fresh array."""
        frame = self._base.copy()
        if not row.any():
            return frame
        if self._bared:  # a b that is not quite shut shows the teeth: lips that press close more firmly there
            row = row.copy()
            row[Channel.OPEN] *= 1 - 0.5 * row[Channel.PRESS]
        flow = self._field.flow(weights(row, self._bared), *pose(row))
        part = self._sample(flow.whole)
        self._paint_mouth(part, flow, row)
        self._paint_eyes(part, flow, row)
        self._paste(part, frame)
        return frame

    def _sample(self, where: np.ndarray) -> np.ndarray:
        """Colours at places (h, w, 2) in work pixels of the region."""
        fixed, fraction = cv2.convertMaps(where * float(self._zoom), NO_MAP, cv2.CV_16SC2)
        return cv2.remap(self._fine, fixed, fraction, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def _paint_mouth(self, part: np.ndarray, flow: Flow, row: np.ndarray) -> None:
        talk = float(row[Channel.TALK])
        window = flow.mouth
        jaw = talk * 0.21 * float(row[Channel.OPEN])
        drive = MouthDrive(
            talk=talk,
            shown=talk if self._bared else min(1.0, 4 * talk),
            jaw=(jaw * self._mouth_turn).astype(np.float32),
            tongue=float(np.clip((row[Channel.OPEN] - 0.12) / 0.3, 0, 1)),
            opening=float(row[Channel.OPEN]),
            light=1 - 0.65 * talk * float(row[Channel.ROUND]),
        )
        part[window] = self._mouth.paint(
            part[window],
            self._sample(flow.upper),
            flow.whole[window],
            flow.upper,
            flow.skull,
            drive,
        )

    def _paint_eyes(self, part: np.ndarray, flow: Flow, row: np.ndarray) -> None:
        gaze = float(row[Channel.GAZE_X]), float(row[Channel.GAZE_Y])
        lids = row[[Channel.LID_L, Channel.LID_R]].tolist()
        for painter, middle, close in zip(self._eyes, self._middles, lids, strict=True):
            if close == 0 and gaze == (0, 0):
                continue
            window = self._field.window(middle, (0.36, 0.34), flow)
            maps = painter.maps(flow.whole[window], close, gaze)
            lid_skin, ball = self._sample(maps.lid), self._sample(maps.ball)
            part[window] = painter.blend(lid_skin, ball, maps)

    def _soft_window(self) -> tuple[Window, np.ndarray]:
        """Where the region lies on the canvas, and how much of it is pasted there, float32 (h, w) 0..1."""
        region, grow = self._field.region, 1 / self._shrink
        limits = self._canvas.size[::-1]
        high, wide = (
            slice(min(round(part.start * grow), limit - 1), min(round(part.stop * grow), limit))
            for part, limit in zip(region, limits, strict=True)
        )
        h, w = high.stop - high.start, wide.stop - wide.start
        moving = cv2.resize(np.clip(self._field.mask * 12, 0, 1).astype(np.float32), (w, h))
        return (high, wide), moving

    def _paste(self, part: np.ndarray, frame: np.ndarray) -> None:
        if self._soft is None:
            frame[self._field.region] = part
            return
        window, soft = self._soft
        there = frame[window]
        grown = cv2.resize(part, there.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        frame[window] = cv2.blendLinear(grown, np.ascontiguousarray(there), soft, 1 - soft)


def pose(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The head's turn (3, 3) in its own axes and its shift (2,) in eye distances."""
    (cp, cy, cr), (sp, sy, sr) = (f(np.radians(row[Channel.PITCH : Channel.ROLL + 1].astype(np.float64)))
                                  for f in (np.cos, np.sin))  # fmt: skip
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    yaw = np.array([[cy, 0, -sy], [0, 1, 0], [sy, 0, cy]])
    roll = np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
    return roll @ yaw @ pitch, row[Channel.SHIFT_X : Channel.SHIFT_Y + 1].astype(np.float64)


def _resized(rgb: np.ndarray, matrix: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The plainly resized picture: averaged when it shrinks, interpolated when it grows."""
    scale = float(matrix[0, 0])
    if scale == 1 and not matrix[:, 2].any() and rgb.shape[1::-1] == size:
        return rgb.copy()
    if scale < 1:
        w, h = size
        x0, y0 = (-matrix[:, 2] + 0.5 * scale - 0.5) / scale
        left, top = round(float(x0)), round(float(y0))
        part = rgb[max(top, 0) : round(float(y0) + h / scale), max(left, 0) : round(float(x0) + w / scale)]
        return cv2.resize(part, size, interpolation=cv2.INTER_AREA)
    return cv2.warpAffine(rgb, matrix, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101)


def _doubled(picture: np.ndarray) -> np.ndarray:
    """Twice the size; even pixels are the picture's own, so that a still face stays exactly as it is."""
    taps = np.array([3, -25, 150, 150, -25, 3], np.float32) / 256
    h, w = picture.shape[:2]
    wide = np.empty((h, 2 * w, 3), np.uint8)
    wide[:, ::2] = picture
    wide[:, 1::2] = cv2.filter2D(picture, -1, taps[None], anchor=(2, 0), borderType=cv2.BORDER_REFLECT_101)
    tall = np.empty((2 * h, 2 * w, 3), np.uint8)
    tall[::2] = wide
    tall[1::2] = cv2.filter2D(wide, -1, taps[:, None], anchor=(0, 2), borderType=cv2.BORDER_REFLECT_101)
    return tall
