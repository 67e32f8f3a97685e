"""Portraits for the lite engine: an image or the frames of a video, each with its rig."""

from collections.abc import Callable, Iterator
from itertools import count

import numpy as np

from core.atomic_components.crop import face_crop, mesh_anchors
from core.atomic_components.loop import mirror_index
from core.atomic_components.smooth import centred_mean
from core.aux_models.face_mesh import FaceMesh
from core.engines.content import image_limits, video_limits
from core.engines.lite.lips import lip_gap
from core.engines.lite.reel import Reel, bridged, steadied, watched
from core.engines.lite.rig import CROP, build_rig
from core.engines.lite.teeth import KEPT
from core.mapped import Spool
from core.media.image import read_image, resize_to, sniff_source
from core.media.jpegs import picture
from core.media.video import open_video
from core.options import Crop
from core.settings import Settings
from core.types import FPS, AvatarSource, RegisteredAvatar

OPEN_GAP = 0.03  # lips further apart than this, in eye distances, count as open at rest
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
    rgb, notes = read_image(portrait, image_limits(settings, crop))
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


def frames(avatar: RegisteredAvatar) -> Iterator[tuple[np.ndarray, Rig]]:
    """The source's pictures, uint8 (H, W, 3) RGB, with their rigs, without end: there and back again."""
    arrays = avatar.arrays
    for index in count():
        at = mirror_index(index, avatar.n_frames)
        rig = {
            name[4:]: value[min(at, len(value) - 1)]  # what all frames share is stored once
            for name, value in arrays.items()
            if name.startswith("rig.")
        }
        yield arrays["rgb"] if avatar.is_image else picture(arrays["jpeg"], arrays["jpeg_ends"], at), rig


def _register_video(
    portrait: AvatarSource,
    crop: Crop,
    key: str,
    mesh: FaceMesh,
    settings: Settings,
    progress: Callable[[float], None],
) -> RegisteredAvatar:
    most = int(settings.max_video_s * FPS)
    video = open_video(portrait, video_limits(settings))
    with Spool() as spool:
        reel = watched(video, crop, most, mesh, spool, lambda done: progress(0.5 * done))
    first = next(index for index, points in enumerate(reel.found) if points is not None)
    points = steadied(bridged(reel.found), crop.smo_k_s)
    places = centred_mean(np.stack([_crop_to_source(each, crop) for each in points]), crop.smo_k_s)
    rigs = _rigs(reel, points, places, first, lambda done: progress(0.5 + 0.5 * done))
    notes = reel.notes + video.notes  # those about damage come with the frames
    if len(points) == most:
        notes += (f"The source video is used up to {settings.max_video_s:g} s, then played back and forth.",)
    return RegisteredAvatar(
        key=key,
        engine="lite",
        is_image=False,
        n_frames=len(points),
        size=reel.size,
        arrays={"jpeg": reel.jpeg, "jpeg_ends": reel.ends, "crop_to_source": places, **rigs},
        meta={"open_at_rest": True},  # whatever its mouth does, silence must close it
        notes=notes,
    )


def _rigs(
    reel: Reel, points: np.ndarray, places: np.ndarray, first: int, progress: Callable[[float], None]
) -> Rig:
    """The rigs of all frames, one array per name; frame `first` shows what is taken from one frame alone."""
    whole = build_rig(picture(reel.jpeg, reel.ends, first), points[first], places[first])
    arrays = {
        name: np.empty((1 if name in KEPT else len(points), *value.shape), value.dtype)
        for name, value in whole.items()
    }
    for at in range(len(points)):
        rig = whole
        if at != first:
            rig = build_rig(picture(reel.jpeg, reel.ends, at), points[at], places[at], reference=whole)
        for name, array in arrays.items():
            array[0 if name in KEPT else at] = rig[name]
        progress((at + 1) / len(points))
    return {f"rig.{name}": array for name, array in arrays.items()}


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


def _prefixed(rig: Rig) -> Rig:
    return {f"rig.{name}": value[None] for name, value in rig.items()}
