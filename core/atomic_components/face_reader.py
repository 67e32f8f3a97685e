"""One frame of a source, from the picture to what Ditto's networks want of the face in it.

The chain is that of antgroup/ditto-talkinghead e9191cf6: first landmarks -> loose crop of 224 px -> 203
points -> crop of 512 px -> 478 points. In a video the 203 points of the frame before take the place of the
first landmarks, so that the crop follows the face smoothly. Whether it still does is looked at on request.
"""

from dataclasses import dataclass, replace
from typing import Protocol

import cv2
import numpy as np

from core.atomic_components import crop as geometry
from core.atomic_components.crop import mesh_anchors
from core.atomic_components.first_landmarks import FirstLandmarks, anchors_of
from core.aux_models.face_mesh import FaceMesh
from core.aux_models.landmark203 import SIDE as LOOSE_SIDE
from core.aux_models.landmark203 import Landmark203
from core.aux_models.landmark478 import Landmark478
from core.contracts import Network
from core.errors import NoFace
from core.networks import BLAZE_FACE, FACE_MESH, LANDMARK203
from core.options import Crop

CROP_SIDE = 512  # px, of the crop that the render goes back into
_NETWORK_SIDE = 256  # px, of the picture that the appearance and motion extractors want
_EYES_203, _LIPS_203 = ((0, 6, 12, 18), (24, 30, 36, 42)), (48, 66)
# Face sizes between where points and mesh see eyes and lips, up to which a track holds. Measured on 21
# pictures of two people (rolled, turned, small, dim, bearded ...) at three crop_scales, the points made from
# the mesh of the loose crop: 0.009 at most in a face that is followed, 0.006 in one that swings, rolls and
# grows through 60 frames. Points that did not follow are off by 0.09 to 0.16 where the face went 0.1 of its
# size away, shrank by half or rolled by 30 degrees; from a whole size away on the mesh soon sees none.
_ASTRAY = 0.06


@dataclass(frozen=True)
class FaceReading:
    """The face in one frame.

    `crop` uint8 (512, 512, 3); `crop_to_source` float32 (3, 3); `points` float32 (203, 2) px of the source;
    `mesh` float32 (478, 3) in sides of the crop; `notes` for the user. `hidden` is the number of frames, up
    to this one, in which the face was not found: the rest is a guess then, and 0 says that it was.
    """

    crop: np.ndarray
    crop_to_source: np.ndarray
    points: np.ndarray
    mesh: np.ndarray
    notes: tuple[str, ...] = ()
    hidden: int = 0


class CropMesh(Protocol):
    """The 478 points of the face in a crop, float32 (478, 3) in sides of it; None where none is seen."""

    networks: tuple[str, ...]

    def __call__(self, crop: np.ndarray) -> np.ndarray | None: ...


class NetworkMesh:
    """The mesh by the published ONNX files."""

    networks: tuple[str, ...] = (BLAZE_FACE.name, FACE_MESH.name)

    def __init__(self, blaze_face: Network, face_mesh: Network) -> None:
        self._mesh = Landmark478(blaze_face, face_mesh)

    def __call__(self, crop: np.ndarray) -> np.ndarray | None:
        return self._mesh(crop)


class MediapipeMesh:
    """The mesh by the mediapipe package, where the published files have none."""

    networks: tuple[str, ...] = ("mediapipe_face_mesh",)

    def __init__(self, mesh: FaceMesh) -> None:
        self._mesh = mesh

    def __call__(self, crop: np.ndarray) -> np.ndarray | None:
        height, width = crop.shape[:2]
        faces = self._mesh.faces(crop)
        return faces[0].points / np.array([width, height, width], np.float32) if faces else None


class FaceReader:
    """Reads faces out of frames; holds networks and nothing else."""

    def __init__(self, first: FirstLandmarks, landmark203: Network, mesh: CropMesh) -> None:
        self._first, self._landmark203, self._mesh = first, Landmark203(landmark203), mesh

    @property
    def networks(self) -> tuple[str, ...]:
        """Names of all networks that reading runs, in order, each once."""
        return tuple(dict.fromkeys((*self._first.networks, LANDMARK203.name, *self._mesh.networks)))

    def __call__(self, rgb: np.ndarray, how: Crop, previous: FaceReading | None = None) -> FaceReading:
        """The face in a uint8 (H, W, 3) frame: the largest, or the one that `previous` shows.

        A face that was lost is looked for anew: where the networks make out none, and with
        `how.check_track` also where points and mesh disagree about its place. Raises NoFace where none is
        found, or none is left in the crop; with `check_track` the first frame alone does, others say that
        it is `hidden`.
        """
        if previous is None:
            return self._anew(rgb, how)
        anchors = anchors_of(previous.points, _EYES_203, _LIPS_203)
        followed = self._read(rgb, how, previous.points, anchors)
        if followed is not None and (not how.check_track or _apart(followed, how) <= _ASTRAY):
            return followed
        try:
            found = self._anew(rgb, how)
        except NoFace:
            if not how.check_track:
                raise
            return replace(followed or _in_place(rgb, previous), hidden=previous.hidden + 1)
        if followed is not None and _apart(followed, how) <= _apart(found, how):
            return followed  # the mesh sees another face, near this one
        return found

    def _anew(self, rgb: np.ndarray, how: Crop) -> FaceReading:
        """The largest face of the picture. Raises NoFace."""
        points, anchors, notes = self._first(rgb)
        reading = self._read(rgb, how, points, anchors, notes)
        if reading is None:
            raise NoFace(
                "A face was found, but its eyes and mouth could not be made out.",
                "Use a sharper picture that looks towards the camera, with the whole face in view.",
            )
        return reading

    def _read(
        self,
        rgb: np.ndarray,
        how: Crop,
        points: np.ndarray,
        anchors: np.ndarray,
        notes: tuple[str, ...] = (),
    ) -> FaceReading | None:
        """The face near `points`; None where what the networks say cannot be a face."""
        if not _spread(points):
            return None
        loose = geometry.face_crop(points, anchors, LOOSE_SIDE, scale=1.5, vy_ratio=-0.1)
        points = self._landmark203(cut(rgb, loose), loose.crop_to_source)
        if not _spread(points):
            return None
        close = geometry.face_crop(
            points,
            anchors_of(points, _EYES_203, _LIPS_203),
            CROP_SIDE,
            scale=how.crop_scale,
            vx_ratio=how.crop_vx_ratio,
            vy_ratio=how.crop_vy_ratio,
            do_rot=how.crop_flag_do_rot,
        )
        crop = cut(rgb, close)
        mesh = self._mesh(crop)
        return None if mesh is None else FaceReading(crop, close.crop_to_source, points, mesh, notes)


def cut(rgb: np.ndarray, crop: geometry.Crop) -> np.ndarray:
    """The crop's picture, uint8 (size, size, 3), bilinear; black beyond the source."""
    return cv2.warpAffine(rgb, crop.source_to_crop[:2], (crop.size, crop.size), flags=cv2.INTER_LINEAR)


def _apart(reading: FaceReading, how: Crop) -> float:
    """How far apart points and mesh see the eyes' or the lips' centre, whichever is more, in face sizes."""
    to_source = reading.crop_to_source
    mesh = mesh_anchors(reading.mesh * CROP_SIDE) @ to_source[:2, :2].T + to_source[:2, 2]
    apart = np.linalg.norm(mesh - anchors_of(reading.points, _EYES_203, _LIPS_203), axis=1).max()
    face = CROP_SIDE * np.hypot(*to_source[:2, 0]) / how.crop_scale
    return float(apart / face)


def _in_place(rgb: np.ndarray, previous: FaceReading) -> FaceReading:
    """What is where the face was in the frame before."""
    side = (CROP_SIDE, CROP_SIDE)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return replace(
        previous, crop=cv2.warpAffine(rgb, previous.crop_to_source[:2], side, flags=flags), notes=()
    )


def _spread(points: np.ndarray) -> bool:
    """Whether points (n, 2) px cover more than a pixel, and so can be cropped around."""
    return bool(np.isfinite(points).all() and np.ptp(points, axis=0).max() > 1)


def network_image(crop: np.ndarray) -> np.ndarray:
    """A face crop uint8 (512, 512, 3) -> float32 (1, 3, 256, 256), 0..1: the extractors' input."""
    small = cv2.resize(crop, (_NETWORK_SIDE, _NETWORK_SIDE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray((small.astype(np.float32) / 255).transpose(2, 0, 1)[None])
