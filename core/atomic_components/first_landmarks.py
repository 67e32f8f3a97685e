"""Where the face is in a picture of which nothing is known yet: what the first crop is made from.

Two ways give the same: InsightFace's detector and 106 points, as antgroup/ditto-talkinghead e9191cf6 does
it, and MediaPipe's mesh alone. The weights of the former may be used for research only; under the
`commercial` licence profile they are never opened.
"""

from collections.abc import Callable
from typing import NamedTuple, Protocol

import numpy as np

from core.atomic_components.crop import mesh_anchors
from core.aux_models.face_mesh import FaceMesh
from core.aux_models.insightface_detector import FaceDetector, largest
from core.aux_models.landmark106 import Landmark106
from core.checkpoints.catalogue import Profile
from core.contracts import Network
from core.errors import NoFace
from core.networks import INSIGHTFACE_DET, LANDMARK106, NetworkSpec

_EYES_106, _LIPS_106 = ((33, 35, 40, 39), (87, 89, 94, 93)), (52, 61)
# The parts of the mesh that the 106 points cover: the outline from the temples down, and the brows' upper
# edges. On skimage's astronaut the crop from them is 3.5 % larger than, and 1.3 % of its side off, one from
# an outline marked by hand; with all points, which go on over the forehead, 20 % larger and 9 % off.
_OUTLINE = (127, 234, 93, 132, 58, 172, 136, 150, 149, 176, 148, 152,
            377, 400, 378, 379, 365, 397, 288, 361, 323, 454, 356)  # fmt: skip
_BROWS = (70, 63, 105, 66, 107, 336, 296, 334, 293, 300)


class Landmarks(NamedTuple):
    """What `face_crop` needs: `points` float32 (n, 2) and `anchors` float32 (2, 2), px; notes to show."""

    points: np.ndarray
    anchors: np.ndarray
    notes: tuple[str, ...] = ()


class FirstLandmarks(Protocol):
    """Finds the largest face of a picture. `networks` names what it runs."""

    networks: tuple[str, ...]

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        """The face in a uint8 (H, W, 3) picture. Raises NoFace."""
        ...


class InsightFaceLandmarks:
    """Detector, then 106 points in the largest box."""

    networks: tuple[str, ...] = (INSIGHTFACE_DET.name, LANDMARK106.name)

    def __init__(self, detector: Network, landmark106: Network) -> None:
        self._detector, self._landmark106 = FaceDetector(detector), Landmark106(landmark106)

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        boxes, _ = self._detector(rgb)
        if not len(boxes):
            raise NoFace("No face was found in the picture.", "Use a portrait with the whole face in view.")
        points = self._landmark106(rgb, largest(boxes))
        notes = (f"{len(boxes)} faces found, the largest is used.",) if len(boxes) > 1 else ()
        return Landmarks(points, anchors_of(points, _EYES_106, _LIPS_106), notes)


class MeshLandmarks:
    """MediaPipe's mesh, reduced to the parts of the face that the 106 points cover."""

    networks: tuple[str, ...] = ("mediapipe_face_mesh",)

    def __init__(self, mesh: FaceMesh) -> None:
        self._mesh = mesh

    def __call__(self, rgb: np.ndarray) -> Landmarks:
        face, notes = self._mesh.largest(rgb)
        return Landmarks(face.points[list(_OUTLINE + _BROWS), :2], mesh_anchors(face.points), notes)


def first_landmarks(
    profile: Profile, open_network: Callable[[NetworkSpec], Network], mesh: Callable[[], FaceMesh]
) -> FirstLandmarks:
    """The way that a licence profile allows; opens what that way needs and nothing else."""
    if profile == "commercial":
        return MeshLandmarks(mesh())
    return InsightFaceLandmarks(open_network(INSIGHTFACE_DET), open_network(LANDMARK106))


def anchors_of(
    points: np.ndarray, eyes: tuple[tuple[int, ...], tuple[int, ...]], lips: tuple[int, int]
) -> np.ndarray:
    """Eye centre and lip centre (2, 2) of points (n, 2), from indices of both eyes and the lips."""
    centres = np.stack([points[list(eye)].mean(0) for eye in eyes])
    return np.stack([centres.mean(0), points[list(lips)].mean(0)])
