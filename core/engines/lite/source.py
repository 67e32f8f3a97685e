"""Portraits for the lite engine: an image or the frames of a video, each with its rig."""

from collections.abc import Callable, Iterator
from itertools import count, pairwise

import cv2
import numpy as np

from core.atomic_components.crop import face_crop, mesh_anchors
from core.atomic_components.smooth import centred_mean
from core.aux_models.face_mesh import Face, FaceMesh
from core.engines.lite.lips import LIP_POINTS, lip_gap
from core.engines.lite.rig import CROP, build_rig
from core.engines.lite.teeth import KEPT
from core.errors import BadImage, NoFace
from core.media.image import ImageLimits, read_image, resize_to, sniff_source
from core.media.video import VideoLimits, open_video
from core.options import Crop
from core.settings import Settings
from core.types import FPS, AvatarSource, RegisteredAvatar

OPEN_GAP = 0.03  # lips further apart than this, in eye distances, count as open at rest
_LOST = 10  # frames a face may be hidden; its points are interpolated meanwhile
_JPEG = [cv2.IMWRITE_JPEG_QUALITY, 96, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
Rig = dict[str, np.ndarray]


def register(
    portrait: AvatarSource,
    crop: Crop,
    key: str,
    mesh: FaceMesh,
    settings: Settings,
    progress: Callable[[float], None],
) -> RegisteredAvatar:
    """Find the face and make its rig. Raises NoFace, BadImage, TooLong, BadPath."""
    if sniff_source(portrait) == "video":
        return _register_video(portrait, crop, key, mesh, settings, progress)
    side = max(crop.max_size, ImageLimits.decode_side)
    limits = ImageLimits(int(settings.max_image_mib * 2**20), int(settings.max_image_mpx * 1e6), side)
    rgb, notes = read_image(portrait, limits)
    rgb = resize_to(rgb, crop.max_size)
    face, more = mesh.largest(rgb)
    place = _crop_to_source(face.points, crop)
    rig = build_rig(rgb, face.points, place)
    progress(1.0)
    return RegisteredAvatar(
        key=key,
        engine="lite",
        is_image=True,
        n_frames=1,
        size=(rgb.shape[1], rgb.shape[0]),
        arrays={"rgb": rgb, "crop_to_source": place[None], **_prefixed(rig)},
        meta={"open_at_rest": bool(lip_gap(face.points) > OPEN_GAP)},
        notes=notes + more,
    )


def video_limits(settings: Settings) -> VideoLimits:
    """What a source video may be, from the settings."""
    return VideoLimits(int(settings.max_video_mib * 2**20), max_seconds=settings.max_video_s)


def frames(avatar: RegisteredAvatar) -> Iterator[tuple[np.ndarray, Rig]]:
    """The source's pictures, uint8 (H, W, 3) RGB, with their rigs, without end: there and back again."""
    for index in count():
        at = index % (2 * avatar.n_frames)
        at = at if at < avatar.n_frames else 2 * avatar.n_frames - 1 - at
        rig = {
            name[4:]: value[min(at, len(value) - 1)]  # what all frames share is stored once
            for name, value in avatar.arrays.items()
            if name.startswith("rig.")
        }
        yield (avatar.arrays["rgb"] if avatar.is_image else _picture(avatar, at)), rig


def _register_video(
    portrait: AvatarSource,
    crop: Crop,
    key: str,
    mesh: FaceMesh,
    settings: Settings,
    progress: Callable[[float], None],
) -> RegisteredAvatar:
    most = int(settings.max_video_s * FPS)
    limit = min(crop.template_n_frames, most) if crop.template_n_frames > 0 else most
    video = open_video(portrait, video_limits(settings))
    expected = min(limit, video.duration_s * FPS) if video.duration_s else limit
    packed, ends = bytearray(), [0]  # one growing block: a list to be joined would be held twice
    found: list[np.ndarray | None] = []
    size = (0, 0)
    notes: tuple[str, ...] = ()
    last: Face | None = None
    for rgb in video.frames(limit):
        rgb = resize_to(rgb, crop.max_size)
        face: Face | None
        if last is None:
            face, notes = mesh.largest(rgb)
        else:
            face = mesh.track(rgb, last)
        last = face or last
        found.append(None if face is None else face.points)
        if all(points is None for points in found[-_LOST - 1 :]):
            break  # it is lost, as `bridged` will say; a search in every frame to come takes minutes
        packed += cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), _JPEG)[1].tobytes()
        ends.append(len(packed))
        size = (rgb.shape[1], rgb.shape[0])
        progress(min(0.5 * len(found) / expected, 0.5))
    if not found:
        raise BadImage("The source video has no pictures.", "Use a video that plays.")
    points = steadied(bridged(found), crop.smo_k_s)
    places = centred_mean(np.stack([_crop_to_source(each, crop) for each in points]), crop.smo_k_s)
    jpeg = np.frombuffer(packed, np.uint8)
    rigs: list[Rig] = []
    for (start, end), each, place in zip(pairwise(ends), points, places, strict=True):
        rigs.append(build_rig(_decoded(jpeg[start:end]), each, place, reference=rigs[0] if rigs else None))
        progress(0.5 + 0.5 * len(rigs) / len(found))
    notes += video.notes  # those about damage come with the frames
    if len(found) == most:
        notes += (f"The source video is used up to {settings.max_video_s:g} s, then played back and forth.",)
    return RegisteredAvatar(
        key=key,
        engine="lite",
        is_image=False,
        n_frames=len(found),
        size=size,
        arrays={
            "jpeg": jpeg,
            "jpeg_ends": np.array(ends[1:]),
            "crop_to_source": places,
            **{f"rig.{name}": _stacked([rig[name] for rig in rigs], name in KEPT) for name in rigs[0]},
        },
        meta={"open_at_rest": True},  # whatever its mouth does, silence must close it
        notes=notes,
    )


def bridged(found: list[np.ndarray | None]) -> np.ndarray:
    """Points of every frame (n, 478, 3); short gaps are interpolated. Raises NoFace for a long one."""
    seen = [index for index, points in enumerate(found) if points is not None]
    edges = [-1, *seen, len(found)]
    for before, after in pairwise(edges):
        if after - before - 1 > _LOST:
            raise NoFace(
                f"The face is lost in the video at {(before + 1) / FPS:.1f} s for over {_LOST / FPS} s.",
                "Use a video in which one face stays in view, or fewer frames (template_n_frames).",
            )
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


def _crop_to_source(points: np.ndarray, crop: Crop) -> np.ndarray:
    placed = face_crop(
        points[:, :2],
        mesh_anchors(points),
        CROP,
        scale=crop.crop_scale,
        vx_ratio=crop.crop_vx_ratio,
        vy_ratio=crop.crop_vy_ratio,
        do_rot=crop.crop_flag_do_rot,
    )
    return placed.crop_to_source[:2]


def _stacked(values: list[np.ndarray], shared: bool) -> np.ndarray:
    return np.stack(values[:1] if shared else values)


def _prefixed(rig: Rig) -> Rig:
    return {f"rig.{name}": value[None] for name, value in rig.items()}


def _picture(avatar: RegisteredAvatar, at: int) -> np.ndarray:
    ends = avatar.arrays["jpeg_ends"]
    start = int(ends[at - 1]) if at else 0
    return _decoded(avatar.arrays["jpeg"][start : int(ends[at])])


def _decoded(jpeg: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(cv2.imdecode(np.asarray(jpeg), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
