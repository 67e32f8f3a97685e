"""A portrait, image or video, made ready for Ditto: what its networks say of every frame."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from itertools import islice, takewhile

import numpy as np

from core.atomic_components.condition import Face
from core.atomic_components.eyes import eye_ball, eye_open
from core.atomic_components.face_reader import FaceReader, FaceReading, network_image
from core.atomic_components.smooth import centred_mean
from core.contracts import Network
from core.engines.content import LOST, face_lost, image_limits, video_limits
from core.errors import BadImage, NoFace
from core.mapped import Spool
from core.media.image import read_image, resize_to, sniff_source
from core.media.jpegs import Jpegs, picture
from core.media.video import VideoFile, open_video
from core.networks import MOTION_EXTRACTOR
from core.options import Crop
from core.settings import Settings
from core.types import FPS, AvatarSource, RegisteredAvatar

_FEATURES = (32, 16, 64, 64)  # of the appearance of one frame
_INFO = tuple(port.name for port in MOTION_EXTRACTOR.outputs)
_GLANCE = 5  # every so many frames are searched for the first face, as that takes long where there is none
_PATIENCE = 10 * FPS  # frames without a face that a video may begin with


@dataclass(frozen=True)
class SourceNetworks:
    """What reads a portrait."""

    reader: FaceReader
    appearance: Network
    motion: Network


@dataclass
class _Readings:
    """What is known of the frames so far. Appearances of a video go to a file as float16: 4 MB a frame."""

    features: Spool
    dtype: type[np.floating]
    rows: dict[str, list[np.ndarray]]
    last: FaceReading | None = None
    notes: tuple[str, ...] = ()

    def add(self, rgb: np.ndarray, crop: Crop, networks: SourceNetworks) -> int:
        """One frame more; for how many the face has been hidden by now. Raises NoFace."""
        reading = networks.reader(rgb, crop, self.last)
        image = network_image(reading.crop)
        appearance = networks.appearance({"image": image})["pred"]
        self.features.append(np.ascontiguousarray(appearance, self.dtype).view(np.uint8).data)
        mesh = reading.mesh[None]
        info = networks.motion({"image": image})
        seen = {f"x.{name}": info[name] for name in _INFO}
        seen |= {"crop_to_source": reading.crop_to_source[None]}
        seen |= {"eye_open": eye_open(mesh), "eye_ball": eye_ball(mesh)}
        for name, value in seen.items():
            self.rows.setdefault(name, []).append(np.asarray(value, np.float32))
        if self.last is None:
            self.notes = reading.notes
        self.last = reading
        return reading.hidden

    def arrays(self, smooth: int) -> dict[str, np.ndarray]:
        """One array per name, a row a frame; what the motion extractor said smoothed over the frames."""
        stacked = {name: np.concatenate(rows) for name, rows in self.rows.items()}
        canonical = stacked["x.kp"][0]  # of the first frame as it was, not smoothed
        for name in stacked:
            if name.startswith("x."):
                stacked[name] = centred_mean(stacked[name], smooth)
        features = self.features.array().view(self.dtype).reshape(-1, *_FEATURES)
        return {**stacked, "sc": canonical, "features": features}


def register(
    portrait: AvatarSource,
    crop: Crop,
    key: str,
    networks: SourceNetworks,
    settings: Settings,
    progress: Callable[[float], None],
) -> RegisteredAvatar:
    """Read the face in every frame. Raises NoFace, BadImage, TooLong, BadPath, StoreFailed."""
    with Spool() as features, Spool() as pictures:
        if sniff_source(portrait) == "video":
            return _register_video(portrait, crop, key, networks, settings, progress, features, pictures)
        readings = _Readings(features, np.float32, {})
        rgb, notes = read_image(portrait, image_limits(settings, crop))
        rgb = resize_to(rgb, crop.max_size)
        readings.add(rgb, crop, networks)
        progress(1.0)
        return RegisteredAvatar(
            key=key,
            engine="ditto",
            is_image=True,
            n_frames=1,
            size=(rgb.shape[1], rgb.shape[0]),
            arrays={"rgb": rgb, **readings.arrays(1)},
            notes=notes + readings.notes,
        )


def _register_video(
    portrait: AvatarSource,
    crop: Crop,
    key: str,
    networks: SourceNetworks,
    settings: Settings,
    progress: Callable[[float], None],
    features: Spool,
    pictures: Spool,
) -> RegisteredAvatar:
    readings, jpegs = _Readings(features, np.float16, {}), Jpegs(pictures)
    most = int(settings.max_video_s * FPS)
    video = open_video(portrait, video_limits(settings))
    limit = min(crop.template_n_frames, most) if crop.template_n_frames > 0 else most
    there = min(most, video.duration_s * FPS) if video.duration_s else most

    def report(left_out: int, used: int) -> None:
        progress(min((left_out + used) / min(left_out + limit, there), 1.0))

    left_out = _before_the_face(video, crop, most, networks.reader, report)
    size = (0, 0)
    for rgb in islice(video.frames(min(left_out + limit, most)), left_out, None):
        rgb = resize_to(rgb, crop.max_size)
        hidden = readings.add(rgb, crop, networks)
        jpegs.add(rgb)
        if hidden > LOST:
            raise face_lost(left_out + len(jpegs) - hidden)
        size = (rgb.shape[1], rgb.shape[0])
        report(left_out, len(jpegs))
    jpeg, ends = jpegs.arrays()
    return RegisteredAvatar(
        key=key,
        engine="ditto",
        is_image=False,
        n_frames=len(jpegs),
        size=size,
        arrays={"jpeg": jpeg, "jpeg_ends": ends, **readings.arrays(crop.smo_k_s)},
        notes=video.notes + _beginning(left_out) + readings.notes,
    )


def _before_the_face(
    video: VideoFile, crop: Crop, most: int, reader: FaceReader, report: Callable[[int, int], None]
) -> int:
    """How many frames, of at most `most`, come before the first that shows a face.

    Every fifth is searched and the last one; from there back those before it. Raises NoFace, BadImage.
    """
    missed: list[NoFace] = []

    def shows(rgb: np.ndarray) -> bool:
        try:
            reader(resize_to(rgb, crop.max_size), crop)
        except NoFace as error:
            missed[:] = missed or [error]  # the first alone: each keeps its picture
            return False
        return True

    def shown(passed: list[np.ndarray]) -> int:
        return sum(1 for _ in takewhile(shows, reversed(passed)))

    count, passed = 0, list[np.ndarray]()  # frames since the last search
    with closing(video.frames(min(most, _PATIENCE + 1))) as frames:
        for count, rgb in enumerate(frames, 1):
            passed.append(rgb)
            if (count - 1) % _GLANCE == 0:
                if found := shown(passed):
                    return count - found
                passed.clear()
                report(count, 0)
    if found := shown(passed):
        return count - found
    if not missed:
        raise BadImage("The source video has no pictures.", "Use a video that plays.")
    if count > _PATIENCE:
        raise NoFace(
            f"The first {_PATIENCE / FPS:g} s of the video show no face that can be used.",
            "Cut its beginning off, or use a video with the whole face in view.",
        ) from missed[0]
    raise missed[0]


def _beginning(left_out: int) -> tuple[str, ...]:
    """What the user is told of frames that were left out."""
    if not left_out:
        return ()
    return (f"The first {left_out / FPS:.2g} s of the video show no face and are left out.",)


def source_picture(avatar: RegisteredAvatar, row: int) -> np.ndarray:
    """The source's picture of that row, uint8 (H, W, 3) RGB."""
    arrays = avatar.arrays
    return arrays["rgb"] if avatar.is_image else picture(arrays["jpeg"], arrays["jpeg_ends"], row)


def source_motion(avatar: RegisteredAvatar) -> dict[str, np.ndarray]:
    """What the motion extractor said: a motion of a row a frame, with `kp`."""
    return {name: np.asarray(avatar.arrays[f"x.{name}"]) for name in _INFO}


def source_face(avatar: RegisteredAvatar) -> Face:
    """What the motion model is told of the source."""
    return Face(*(np.asarray(avatar.arrays[name]) for name in ("eye_open", "eye_ball", "sc")))
