"""A source video: its pictures kept in a file, its face followed from frame to frame."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from core.atomic_components.smooth import centred_mean
from core.aux_models.face_mesh import Face, FaceMesh
from core.engines.content import LOST, face_lost
from core.engines.lite.lips import LIP_POINTS
from core.errors import BadImage, NoFace
from core.mapped import Spool
from core.media.image import resize_to
from core.media.jpegs import Jpegs
from core.media.video import VideoFile
from core.options import Crop
from core.types import FPS

_GLANCE = 5  # every so many frames are searched for the first face,
_PATIENCE = 10 * FPS  # and a fifth of those after as many frames without one


@dataclass(frozen=True)
class Reel:
    """A video's pictures as JPEGs one after another, mapped, with where each ends; mesh points where seen.

    `size` is (width, height) of the pictures.
    """

    jpeg: np.ndarray
    ends: np.ndarray
    found: list[np.ndarray | None]
    size: tuple[int, int]
    notes: tuple[str, ...]


class _Follower:
    """An eye on one face through a video; `found` are its points in every frame so far."""

    def __init__(self, mesh: FaceMesh) -> None:
        self._mesh = mesh
        self._last: Face | None = None
        self._passed: deque[np.ndarray] = deque(maxlen=_GLANCE - 1)  # frames since the last search
        self.found: list[np.ndarray | None] = []
        self.notes: tuple[str, ...] = ()
        self.missed: NoFace | None = None  # why the first frame cannot be used

    def look(self, rgb: np.ndarray) -> None:
        """Follow the face into the next frame; until one is found, search some frames, as that takes long."""
        index = len(self.found)
        face: Face | None = None
        if self._last is not None:
            face = self._mesh.track(rgb, self._last)
        elif index % (_GLANCE if index < _PATIENCE else 5 * _GLANCE):
            self._passed.append(rgb)
        else:
            face = self._searched(rgb)
        self._note(face)

    def finish(self) -> None:
        """After the last frame: it is searched too where none has shown a face."""
        if self._last is None and self._passed:
            self.found.pop()
            self._note(self._searched(self._passed.pop()))

    def _note(self, face: Face | None) -> None:
        self._last = face or self._last
        self.found.append(None if face is None else face.points)

    def _searched(self, rgb: np.ndarray) -> Face | None:
        """The face in this frame; it is followed back into the frames before."""
        try:
            face, self.notes = self._mesh.largest(rgb)
        except NoFace as error:
            self.missed = self.missed or error
            self._passed.clear()
            return None
        before: Face | None = face
        for back, passed in enumerate(reversed(self._passed), 1):
            before = before and self._mesh.track(passed, before)
            self.found[-back] = before.points if before else None
        self._passed.clear()
        return face

    @property
    def seen(self) -> bool:
        return self._last is not None

    @property
    def lost(self) -> bool:
        """The face was there and stays away, as `bridged` will say; a search in all frames takes minutes."""
        return self.seen and all(points is None for points in self.found[-LOST - 1 :])


def watched(
    video: VideoFile,
    crop: Crop,
    most: int,
    mesh: FaceMesh,
    spool: Spool,
    progress: Callable[[float], None],
) -> Reel:
    """Read the video, at most `most` frames, and follow its face. Raises NoFace, BadImage, StoreFailed."""
    limit = min(crop.template_n_frames, most) if crop.template_n_frames > 0 else most
    expected = min(limit, video.duration_s * FPS) if video.duration_s else limit
    follower = _Follower(mesh)
    jpegs = Jpegs(spool)
    size = (0, 0)
    for rgb in video.frames(limit):
        rgb = resize_to(rgb, crop.max_size)
        follower.look(rgb)
        if follower.lost:
            break
        jpegs.add(rgb)
        size = (rgb.shape[1], rgb.shape[0])
        progress(min(len(jpegs) / expected, 1.0))
    follower.finish()
    if not follower.seen:
        raise follower.missed or BadImage("The source video has no pictures.", "Use a video that plays.")
    return Reel(*jpegs.arrays(), follower.found, size, follower.notes)


def bridged(found: list[np.ndarray | None]) -> np.ndarray:
    """Points of every frame (n, 478, 3); short gaps are interpolated. Raises NoFace for a long one.

    Frames before the first face, however many, have the points of that one.
    """
    seen = [index for index, points in enumerate(found) if points is not None]
    edges = [*seen, len(found)]
    for before, after in pairwise(edges):
        if after - before - 1 > LOST:
            raise face_lost(before + 1)
    known = np.stack([points for points in found if points is not None])
    flat = known.reshape(len(known), -1)
    at = np.arange(len(found))
    filled = np.stack([np.interp(at, seen, flat[:, column]) for column in range(flat.shape[1])], axis=1)
    return filled.reshape(len(found), *known.shape[1:]).astype(np.float32)


def steadied(points: np.ndarray, k: int) -> np.ndarray:
    """Landmarks (n, 478, 3) freed of jitter: each face's shape in its own frame is smoothed over `k` frames.

    The head's own motion is kept as it is, so nothing lags behind a moving head; so are the lips,
    which move within a few frames when the person in the video speaks.
    """
    centre = points.mean(1, keepdims=True)
    spread = np.linalg.norm(points - centre, axis=2).mean(1)[:, None, None]
    shape = (points - centre) / spread
    smooth = centred_mean(shape, k)
    smooth[:, LIP_POINTS] = shape[:, LIP_POINTS] + (smooth - shape)[:, LIP_POINTS].mean(1, keepdims=True)
    return (smooth * spread + centre).astype(np.float32)
