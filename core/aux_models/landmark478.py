"""478 points of the face that a crop shows, by MediaPipe's BlazeFace and FaceMesh as separate networks.

The way from the one to the other (a square turned with the eyes) is that of antgroup/ditto-talkinghead
e9191cf6, computed in float32 as there.
"""

import cv2
import numpy as np

from core.aux_models.blaze_face import SIDE as DETECTOR_SIDE
from core.aux_models.blaze_face import BlazeFace
from core.contracts import Network

_SIDE = 256  # px, the mesh network's picture
_MARGIN = np.float32(1.5)


class Landmark478:
    """The mesh around its networks, `core.networks.BLAZE_FACE` and `core.networks.FACE_MESH`."""

    def __init__(self, blaze_face: Network, face_mesh: Network) -> None:
        self._faces = BlazeFace(blaze_face)
        self._mesh = face_mesh

    def __call__(self, rgb: np.ndarray) -> np.ndarray | None:
        """The surest face of a uint8 (H, W, 3) picture, float32 (478, 3); None where no face is seen.

        x is in widths of the picture, y in heights, z (towards the viewer < 0) in widths.
        """
        faces = self._faces(rgb)
        if not len(faces):
            return None
        height, width = rgb.shape[:2]
        roi = region(faces[0], (width, height))
        view = cv2.warpPerspective(rgb, _to_view(roi), (_SIDE, _SIDE), flags=cv2.INTER_LINEAR)
        out = self._mesh({"input": (view / 255).astype(np.float32)[None]})
        points = project(out["Identity"].reshape(478, 3), roi)
        return points / np.array([width, height, width], np.float32)


def region(face: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A row of `BlazeFace` and the picture's (width, height) -> the square for the mesh, float32 (5,).

    It is centre x, y, width, height in px, and the turn in radians, -pi..pi.
    """
    box = face[:4] * (np.array([*size, *size], np.float32) / DETECTOR_SIDE)
    side = (box[2:] - box[:2]).max() * _MARGIN
    across, down = face[6:8] - face[4:6]  # from the person's right eye to the left one
    return np.array([*(box[:2] + box[2:]) / 2, side, side, np.arctan2(down, across)], np.float32)


def project(points: np.ndarray, roi: np.ndarray) -> np.ndarray:
    """The mesh network's points (478, 3), px of its view -> px of the picture, float32 (478, 3)."""
    local = points / np.float32(_SIDE)
    flat = (local[:, :2] - np.float32(0.5)) @ _turn(roi[4]) * roi[2:4] + roi[:2]
    return np.column_stack([flat, local[:, 2] * roi[2]]).astype(np.float32)


def _to_view(roi: np.ndarray) -> np.ndarray:
    """Picture px -> px of the mesh's view, float64 (3, 3)."""
    unit = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
    corners = (unit - np.float32(0.5)) * roi[2:4] @ _turn(roi[4]) + roi[:2]
    return cv2.getPerspectiveTransform(corners, unit * np.float32(_SIDE))


def _turn(angle: np.floating) -> np.ndarray:
    """(2, 2) for row vectors, clockwise in a picture for a positive angle."""
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])
