"""Portraits as files: their bytes, for keys that equal content shares, and what they may be."""

from collections.abc import Iterator

from core.errors import BadImage, BadPath, NoFace
from core.media.container import check_size
from core.media.image import ImageLimits
from core.media.video import VideoLimits
from core.options import Crop
from core.settings import Settings
from core.types import FPS, AvatarSource

LOST = 10  # frames for which the face of a source video may be hidden
_BLOCK = 1 << 20


def image_limits(settings: Settings, crop: Crop) -> ImageLimits:
    """What a portrait may be, from the settings; decoded no larger than the crop's size rule needs."""
    side = max(crop.max_size, ImageLimits.decode_side)
    return ImageLimits(int(settings.max_image_mib * 2**20), int(settings.max_image_mpx * 1e6), side)


def video_limits(settings: Settings) -> VideoLimits:
    """What a source video may be, from the settings."""
    return VideoLimits(int(settings.max_video_mib * 2**20), max_seconds=settings.max_video_s)


def face_lost(frame: int) -> NoFace:
    """The error of a source video whose face is hidden from that frame on for more than LOST."""
    return NoFace(
        f"The face is lost in the video at {frame / FPS:.1f} s for over {LOST / FPS} s.",
        "Use a video in which one face stays in view, or fewer frames (template_n_frames).",
    )


def blocks(portrait: AvatarSource, settings: Settings) -> Iterator[bytes]:
    """The bytes of a source, once it is clear that it ends. Raises BadPath, BadImage, TooLong."""
    file = portrait.path if portrait.path is not None else portrait.data
    if file is None:
        raise BadPath("No portrait was given.", "Give an image or a video.")
    check_size(file, int(max(settings.max_image_mib, settings.max_video_mib) * 2**20), BadImage)
    if isinstance(file, bytes):
        yield file
        return
    try:
        with file.open("rb") as opened:
            while block := opened.read(_BLOCK):
                yield block
    except OSError as error:
        raise BadPath(f"Cannot read '{file}': {error.strerror}.", "Check its permissions.") from error
