"""Faces in a picture as 478 mesh points, found at any size, roll and lighting."""

import threading
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType

import numpy as np

from core.aux_models.face_nets import MESH_SIDE, FaceNets
from core.aux_models.face_views import (
    Square,
    look,
    rotation,
    searches,
    square_of_points,
    square_of_sighting,
    to_picture,
)
from core.errors import NoFace

MIN_EYE_DISTANCE = 24.0  # px between the eye centres; below it mouth and lids are a few pixels high
MAX_YAW, MAX_PITCH = 35.0, 30.0  # degrees; beyond them half of the mouth is hidden

# Mesh indices. "Right" is the person's: the left of the picture. Corners, then the two lids' middles.
RIGHT_EYE = (33, 133, 159, 145)
LEFT_EYE = (362, 263, 386, 374)
_ACROSS = ((33, 263), (133, 362), (61, 291), (127, 356))  # pairs that lie level on a straight head
_DOWN = ((10, 152), (151, 199), (9, 200))  # pairs that lie plumb on a straight head

# Measured on pictures of a head turned by known angles: the mesh understates how its depth changes with the
# turn, and the lines of _DOWN lean on a head that looks straight ahead.
_DEPTH_GAIN = 1.3
_REST_PITCH = 13.0  # degrees
_OBLIQUE = float(np.radians(12))
_STEADY, _DOUBTFUL = 0.1, 0.25  # eye distances; see FaceMesh._unsteadiness
_SETTLED = 0.05  # sides: a crop nearer than this to the ideal one needs no second pass


@dataclass(frozen=True)
class Face:
    """One face. `points` float32 (478, 3): x, y in px of the picture, z in px (towards the viewer < 0)."""

    points: np.ndarray

    @cached_property
    def eyes(self) -> np.ndarray:
        """Centres of the person's right and left eye, float32 (2, 2) px."""
        flat = self.points[:, :2]
        return np.stack([flat[list(RIGHT_EYE)].mean(0), flat[list(LEFT_EYE)].mean(0)])

    @property
    def eye_distance(self) -> float:
        """Between the eye centres, px."""
        return float(np.linalg.norm(self.eyes[1] - self.eyes[0]))

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Smallest upright box around all points: x0, y0, x1, y1 px."""
        (x0, y0), (x1, y1) = self.points[:, :2].min(0), self.points[:, :2].max(0)
        return float(x0), float(y0), float(x1), float(y1)

    @property
    def area(self) -> float:
        """Of the box, px²."""
        x0, y0, x1, y1 = self.box
        return (x1 - x0) * (y1 - y0)

    @cached_property
    def axes(self) -> np.ndarray:
        """The head's own axes as rows of a rotation (3, 3): its picture-right, down, and into the head."""
        deep = self.points * np.array([1, 1, _DEPTH_GAIN], np.float32)
        across = sum((deep[b] - deep[a] for a, b in _ACROSS), np.zeros(3))
        down = sum((deep[b] - deep[a] for a, b in _DOWN), np.zeros(3))
        x = across / np.linalg.norm(across)
        y = down - x * float(down @ x)
        y /= np.linalg.norm(y)
        return np.stack([x, y, np.cross(x, y)])

    @property
    def roll(self) -> float:
        """Degrees, positive clockwise in the picture."""
        return float(np.degrees(np.arctan2(self.axes[0, 1], self.axes[0, 0])))

    @property
    def yaw(self) -> float:
        """Degrees, positive when the face looks to the picture's right."""
        return float(np.degrees(np.arcsin(np.clip(-_unrolled(self.axes)[2, 0], -1, 1))))

    @property
    def pitch(self) -> float:
        """Degrees, positive when the face looks down."""
        forward = -_unrolled(self.axes)[2]
        return float(np.degrees(np.arctan2(forward[1], -forward[2]))) - _REST_PITCH


class FaceMesh:
    """Finds faces; safe to call from several threads, which then take turns.

    A context manager; `close()` releases the networks. Starting it raises EngineUnavailable when
    mediapipe, or a system library that it needs, is missing.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._nets = FaceNets()
        self.folder = self._nets.folder

    def __enter__(self) -> "FaceMesh":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Release the networks. May be called twice."""
        with self._lock:
            self._nets.close()

    def faces(self, rgb: np.ndarray) -> list[Face]:
        """All faces in a uint8 (H, W, 3) picture, largest first; empty when there is none.

        The whole picture is tried first; only when nothing is found, then padded, brightened, turned
        and enlarged views of it. Faces of more than one kind of view are not mixed.
        """
        return self._search(rgb)[0]

    def largest(self, rgb: np.ndarray) -> tuple[Face, tuple[str, ...]]:
        """The largest face and notes on what was passed over.

        Raises NoFace when there is none, or when the largest is too small or turned too far to use.
        """
        faces, doubtful = self._search(rgb)
        for face in (faces or doubtful)[:1]:
            _check_turn(face)
        if not faces:
            raise NoFace("No face was found in the picture.", "Use a portrait with the whole face in view.")
        face = faces[0]
        if face.eye_distance < MIN_EYE_DISTANCE:
            raise NoFace(
                f"The face is too small: its eyes are {face.eye_distance:.0f} px apart,"
                f" at least {MIN_EYE_DISTANCE:.0f} px are needed.",
                "Use a closer or larger picture.",
            )
        notes = (f"{len(faces)} faces found, the largest is used.",) if len(faces) > 1 else ()
        return face, notes

    def track(self, rgb: np.ndarray, previous: Face) -> Face | None:
        """The same face in the next frame of a video; None when it is lost.

        Looks where `previous` was; failing that, for the nearest face in the whole picture.
        """
        with self._lock:
            face = self._fit(rgb, square_of_points(previous.points))
        if face is not None:
            return face
        middle = previous.eyes.mean(0)
        near = sorted(self.faces(rgb), key=lambda one: float(np.linalg.norm(one.eyes.mean(0) - middle)))
        return near[0] if near else None

    def _search(self, rgb: np.ndarray) -> tuple[list[Face], list[Face]]:
        """Faces, and what may be faces turned too far for the mesh to be sure; each largest first."""
        doubtful: list[Face] = []
        with self._lock:
            for views in searches(rgb):
                found: list[Face] = []
                unsure: list[Face] = []
                for view in views:
                    for seen in self._nets.detect(view.rgb):
                        face = self._fit(rgb, square_of_sighting(seen, view.back))
                        if face is None or any(_same(face, other) for other in found):
                            continue
                        unsteadiness = self._unsteadiness(rgb, face)
                        if unsteadiness < _STEADY:
                            found.append(face)
                        elif unsteadiness < _DOUBTFUL:
                            unsure.append(face)
                if found:
                    return sorted(found, key=_larger_first), []
                doubtful = doubtful or sorted(unsure, key=_larger_first)
        return [], doubtful

    def _fit(self, rgb: np.ndarray, square: Square) -> Face | None:
        """The face in this square of the picture, fitted again where the square was not the ideal one."""
        for _ in range(2):
            face = self._points(rgb, square)
            if face is None:
                return None
            ideal = square_of_points(face.points)
            if _away(square, ideal) < _SETTLED:
                break
            square = ideal
        return face

    def _points(self, rgb: np.ndarray, square: Square) -> Face | None:
        view = look(rgb, square, MESH_SIDE)
        local = self._nets.mesh(view.rgb)
        if local is None:
            return None
        depth = local[:, 2:] * (square.side / MESH_SIDE)
        return Face(np.concatenate([to_picture(local[:, :2], view.back), depth], 1).astype(np.float32))

    def _unsteadiness(self, rgb: np.ndarray, face: Face) -> float:
        """How far the points go, in eye distances, when the mesh is shown the face from an oblique square.

        Below 0.05 on faces up to 30 degrees of turn and rising to 0.2 at 60; above 0.11 on faces taken for
        upright upside down, on half a face and on cloth.
        """
        square = square_of_points(face.points)
        sides = [
            self._points(rgb, square._replace(angle=square.angle + turn)) for turn in (-_OBLIQUE, _OBLIQUE)
        ]
        if sides[0] is None or sides[1] is None:
            return np.inf
        apart = np.linalg.norm((sides[0].points - sides[1].points)[:, :2], axis=1)
        return float(apart.mean()) / max(face.eye_distance, 1.0)


def _check_turn(face: Face) -> None:
    for name, angle, limit in (("sideways", face.yaw, MAX_YAW), ("up or down", face.pitch, MAX_PITCH)):
        if abs(angle) > limit:
            raise NoFace(
                f"The face is turned too far {name}: {abs(angle):.0f} degrees,"
                f" at most {limit:.0f} can be used.",
                "Use a picture that looks more towards the camera.",
            )


def _larger_first(face: Face) -> float:
    return -face.area


def _same(one: Face, other: Face) -> bool:
    """True for two views of one face."""
    apart = float(np.linalg.norm(one.eyes.mean(0) - other.eyes.mean(0)))
    return apart < 0.3 * max(one.area, other.area) ** 0.5


def _away(square: Square, ideal: Square) -> float:
    """How far a square is from the ideal one, by its worst part, in sides."""
    shift = float(np.linalg.norm(ideal.centre - square.centre)) / ideal.side
    return max(
        shift, abs(square.side / ideal.side - 1) / 2, abs(float(np.sin((ideal.angle - square.angle) / 2)))
    )


def _unrolled(axes: np.ndarray) -> np.ndarray:
    """The head's axes with its roll taken out."""
    turn = np.eye(3)
    turn[:2, :2] = rotation(float(np.arctan2(axes[0, 1], axes[0, 0])))
    return axes @ turn
