"""The mouth of a frame: the two layers of the lips, and the lit cavity between them."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from core.engines.lite.survey import SPAN, TABLE, sampled
from core.engines.lite.teeth import LOW, SCALE

_DEEP = np.array([0.13, 0.08, 0.09], np.float32)  # the colour of the cavity in that of the lips: in its depth
_SHALLOW = np.array([0.42, 0.30, 0.32], np.float32)  # and between lips that hardly part
_RIM = np.array([0.66, 0.52, 0.53], np.float32)  # and where the lips touch
_SHADE = np.array([0.86, 1.0, 1.04], np.float32)  # what light in the mouth loses: lips and gums tinge it red


@dataclass(frozen=True)
class MouthDrive:
    """What the cavity needs of a motion row.

    `talk` 0..1; `shown` 0..1 how much of the cavity shows instead of the source's own mouth; `jaw` (2,)
    the jaw's way in the mouth's frame; `tongue`, `light` and `opening` 0..1.
    """

    talk: float
    shown: float
    jaw: np.ndarray
    tongue: float
    light: float
    opening: float


class MouthPainter:
    """Puts the lips' two layers and the cavity together, in a window of the frame."""

    def __init__(self, rig: Mapping[str, np.ndarray], to_plane: np.ndarray, scale: float) -> None:
        """`to_plane` (2, 3) maps work pixels to the rig's plane, `scale` px an eye distance."""
        frame = np.vstack([rig["mouth_frame"], [0, 0, 1]])
        self._to_mouth = (frame @ np.vstack([to_plane, [0, 0, 1]]))[:2].astype(np.float32)
        self._scale = scale
        self._lips = rig["lips"]
        self._teeth, self._jaw = (rig[name].astype(np.float32) for name in ("teeth", "jaw"))
        self._lip = lip = rig["lip"]
        colourful = min(1.0, float(np.ptp(lip)) / max(float(lip.max()), 1.0) / 0.25)
        self._deep, self._shallow, self._rim_tint, self._shade = (
            tint.mean() + colourful * (tint - tint.mean()) for tint in (_DEEP, _SHALLOW, _RIM, _SHADE)
        )
        self._bared = bool(rig["bared"][0])
        half = float(rig["mouth_half"][0])
        self._within = np.clip((half - np.abs(np.linspace(-SPAN, SPAN, TABLE))) / (0.2 * half), 0, 1)

    def paint(
        self,
        low: np.ndarray,
        up: np.ndarray,
        low_map: np.ndarray,
        up_map: np.ndarray,
        skull_map: np.ndarray,
        drive: MouthDrive,
    ) -> np.ndarray:
        """The window (h, w, 3) uint8 from the two layers' colours (h, w, 3) uint8 and the places in the
        source, in work pixels (h, w, 2) float32, that the lower layer, the upper one and the skull show."""
        above, column = self._above(up_map, 0)
        beyond = self._above(low_map, 1)[0]
        cover_up = np.clip(above + 1, 0, 1)
        opened = drive.shown * np.clip(0.7 * beyond, 0, 1) * (1 - cover_up)
        lower = low.copy()
        box = _box(opened > 0.01)
        if box is not None:
            inside = self._cavity(opened[box], skull_map[box], drive)
            lower[box] = cv2.blendLinear(lower[box], inside, 1 - opened[box], opened[box])
        if self._bared and drive.talk > 0:
            up = up.copy()
            strength = drive.talk * (0.75 - 0.45 * min(1.0, drive.opening / 0.12) * drive.light)
            self._rim(up, np.maximum(above, 0), (above > -2) & (self._within[column] > 0), strength)
            shut = np.maximum(np.maximum(-above, -beyond), 0)
            self._rim(lower, shut, (beyond < 2) & (self._within[column] > 0), strength)
        return cv2.blendLinear(up, lower, cover_up, 1 - cover_up)

    def _rim(self, layer: np.ndarray, inward: np.ndarray, there: np.ndarray, strength: float) -> None:
        """Give a lip, in place, the dark edge that lips have where they meet and a bared mouth never showed;
        `inward` px from the edge."""
        wide = 0.6 + 0.009 * self._scale
        box = _box(there & (inward < 4 * wide))
        if box is None:
            return
        opacity = (strength * there[box] * np.exp(-((inward[box] / wide) ** 2)))[..., None]
        layer[box] = cv2.convertScaleAbs(layer[box] + opacity * (self._rim_tint * self._lip - layer[box]))

    def _above(self, where: np.ndarray, edge: int) -> tuple[np.ndarray, np.ndarray]:
        """How far, in px, places of the source lie above the upper lip's edge (0) or the lower's (1), and
        their columns in the tables."""
        place = cv2.transform(where, self._to_mouth)
        column = np.clip((place[..., 0] + SPAN) * (TABLE / (2 * SPAN)), 0, TABLE - 1).astype(np.intp)
        return (self._lips[edge][column] - place[..., 1]) * self._scale, column

    def _cavity(self, opened: np.ndarray, skull_map: np.ndarray, drive: MouthDrive) -> np.ndarray:
        place = cv2.transform(skull_map, self._to_mouth)
        size = max(3, int(0.10 * self._scale) | 1)
        light = cv2.blur(opened, (size, size), borderType=cv2.BORDER_CONSTANT)
        deep = cv2.blur(opened, (2 * size + 1, 2 * size + 1), borderType=cv2.BORDER_CONSTANT)
        near = np.clip(1 - 1.5 * deep, 0, 1)[..., None]
        inside = self._lip * (self._deep + (self._shallow - self._deep) * near)
        for layer, shift, strength, glow in (
            (self._jaw, drive.jaw, drive.tongue, 0.2 + 0.75 * deep),
            (self._teeth, np.zeros(2, np.float32), 1.0, 0.52 + 0.6 * np.sqrt(light)),
        ):
            at = (place - shift - LOW.astype(np.float32)) * float(SCALE)
            sample = sampled(layer, at, cv2.BORDER_CONSTANT)
            alpha = sample[..., 3:] * (strength / 255)
            lost = 1 - np.clip(glow, 0, 1) * drive.light
            inside = inside + alpha * (sample[..., :3] * (1 - lost[..., None] * self._shade) - inside)
        return cv2.convertScaleAbs(inside)


def _box(mask: np.ndarray) -> tuple[slice, slice] | None:
    """The smallest window that holds all of a mask."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if rows.size == 0:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
