"""Pictures from outside: told by signature, measured before decoding, brought to upright 8-bit RGB."""

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import BmpImagePlugin, Image, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from core.errors import BadImage, BadPath, TooLong
from core.types import AvatarSource

Kind = Literal["image", "video", "unknown"]
BACKDROP = (224, 224, 224)  # light grey, behind transparent pictures
_HEAD = 64  # bytes that tell the kind
_FORMATS = "Use a PNG, JPEG, WebP or BMP picture."
_ORIENTATION = 0x0112  # the EXIF tag
# What makes each orientation upright: rows and columns exchanged, then upside down, then left to right.
_UPRIGHT = {2: (0, 0, 1), 3: (0, 1, 1), 4: (0, 1, 0), 5: (1, 0, 0), 6: (1, 0, 1), 7: (1, 1, 1), 8: (1, 1, 0)}
_BAND = 128  # rows of the result converted at a time, so that a large picture is not held twice
_STILL_BRANDS = (b"heic", b"heix", b"heif", b"hevc", b"mif1", b"msf1", b"avif", b"avis")
_REFUSED = {
    b"GIF8": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"%PDF": "PDF",
    b"<svg": "SVG",
    b"8BPS": "PSD",
}
# What Pillow raises on damaged files; UserWarning only where the interpreter turns warnings into errors.
_DAMAGE = (OSError, SyntaxError, ValueError, EOFError, struct.error, TypeError, LookupError, UserWarning)


@dataclass(frozen=True)
class ImageLimits:
    """What a picture may cost: bytes of its file, pixels, and how large it is decoded.

    WebP may have half as many pixels, because its decoder holds them four times over.
    A picture of twice `decode_side` px or more in its longer side is reduced by a whole factor while it is
    decoded, never to less than `decode_side`; 0 decodes every picture in full.
    """

    max_bytes: int = 30 * 2**20
    max_pixels: int = 80_000_000
    decode_side: int = 2560


def sniff(data: bytes) -> Kind:
    """What a file is by its first bytes (64 suffice): a picture or video that can be used, or neither."""
    if _plugin(data) is not None:
        return "image"
    box, brand = data[4:8], data[8:12]
    matroska, avi = data.startswith(b"\x1a\x45\xdf\xa3"), data.startswith(b"RIFF") and brand == b"AVI "
    mp4 = box in (b"moov", b"mdat", b"wide") or (box == b"ftyp" and brand not in _STILL_BRANDS)
    return "video" if matroska or avi or mp4 else "unknown"


def sniff_source(source: AvatarSource) -> Kind:
    """`sniff` of a source. Raises BadPath when its file cannot be read."""
    return sniff(_read(source, _HEAD))


def read_image(source: AvatarSource, limits: ImageLimits) -> tuple[np.ndarray, tuple[str, ...]]:
    """The picture as uint8 (H, W, 3) RGB, turned as its EXIF says, and notes on what was done to it.

    Raises BadPath (no such file), BadImage (not a picture of a known kind, or damaged) and TooLong (over a
    limit, which is found before decoding).
    """
    data = _read(source, limits.max_bytes + 1)
    if len(data) > limits.max_bytes:
        raise TooLong(
            f"The picture file is larger than the limit of {limits.max_bytes / 2**20:g} MiB.",
            "Use a smaller picture.",
        )
    image = _opened(data)
    width, height = image.size
    most = limits.max_pixels // 2 if isinstance(image, WebPImagePlugin.WebPImageFile) else limits.max_pixels
    if width * height > most:
        raise TooLong(
            f"The picture has {width} x {height} pixels, more than the limit of {most / 1e6:g} million.",
            "Scale it down.",
        )
    notes = []
    if (frames := getattr(image, "n_frames", 1)) > 1:
        notes.append(f"The picture is animated ({frames} frames), the first is used.")
    swap, flip, mirror = _UPRIGHT.get(_orientation(image.info.get("exif", b"")), (0, 0, 0))
    rgb, transparent = _decoded(image, limits.decode_side)
    if transparent:
        notes.append("The picture is partly transparent, it is put on light grey.")
    rgb = rgb.transpose(1, 0, 2) if swap else rgb
    return np.ascontiguousarray(rgb[:: -1 if flip else 1, :: -1 if mirror else 1]), tuple(notes)


def fit_size(width: int, height: int, max_size: int) -> tuple[int, int]:
    """The size rule (width, height): the longer side at most `max_size` (0 or less: no limit), both even.

    As antgroup/ditto-talkinghead e9191cf6 has it. Raises BadImage when a side would vanish.
    """
    longer = max(width, height)
    if 0 < max_size < longer:
        width = max_size if width == longer else round(width * max_size / longer)
        height = max_size if height == longer else round(height * max_size / longer)
    width, height = width - width % 2, height - height % 2
    if min(width, height) < 2:
        raise BadImage("The picture is too narrow to hold a face.", "Use a portrait.")
    return width, height


def resize_to(rgb: np.ndarray, max_size: int) -> np.ndarray:
    """The picture (H, W, 3) at the size that `fit_size` says, bilinear; itself when that is its size."""
    height, width = rgb.shape[:2]
    size = fit_size(width, height, max_size)
    return rgb if size == (width, height) else cv2.resize(rgb, size, interpolation=cv2.INTER_LINEAR)


def _read(source: AvatarSource, most: int) -> bytes:
    """The first `most` bytes of a source."""
    if source.data is not None:
        return source.data[:most]
    if source.path is None:
        raise BadPath("No portrait was given.", "Give an image or a video.")
    path = Path(source.path)
    if not path.is_file():
        raise BadPath(f"There is no file {path}.", "Check the path of the portrait.")
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise BadPath(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from error


def _plugin(data: bytes) -> type[ImageFile.ImageFile] | None:
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        return PngImagePlugin.PngImageFile
    if data.startswith(b"\xff\xd8\xff"):
        return JpegImagePlugin.JpegImageFile
    if data.startswith(b"RIFF") and data[8:12] == b"WEBP":
        return WebPImagePlugin.WebPImageFile
    if data.startswith(b"BM"):
        return BmpImagePlugin.BmpImageFile
    return None


def _opened(data: bytes) -> ImageFile.ImageFile:
    """The picture with its header read and nothing decoded.

    The decoder's class is called directly: `Image.open` would judge the size by a limit that belongs to the
    whole process.
    """
    if not data:
        raise BadImage("The picture file is empty.", _FORMATS)
    plugin = _plugin(data)
    if plugin is None:
        kind = next((name for start, name in _REFUSED.items() if data.startswith(start)), None)
        if data[4:8] == b"ftyp" and data[8:12] in _STILL_BRANDS:
            kind = "HEIF or AVIF"
        what = f"The file is {kind}, which is not supported." if kind else "The file is not a picture."
        raise BadImage(what, _FORMATS)
    try:
        return plugin(io.BytesIO(data))
    except _DAMAGE as error:
        raise BadImage("The picture's header is damaged.", "Save it anew or use another one.") from error


def _decoded(image: ImageFile.ImageFile, decode_side: int) -> tuple[np.ndarray, bool]:
    """The picture as (H, W, 3), and whether some of it was transparent."""
    factor = max(1, max(image.size) // decode_side) if decode_side else 1
    try:
        image.draft(image.mode, (image.width // factor, image.height // factor))  # JPEG alone can do this
        image.load()
    except _DAMAGE as error:
        raise BadImage("The picture is damaged or cut short.", "Save it anew or use another one.") from error
    width, height = image.size
    factor = max(1, max(width, height) // decode_side) if decode_side else 1
    rgb = np.empty((-(-height // factor), -(-width // factor), 3), np.uint8)
    transparent = False
    for top in range(0, len(rgb), _BAND):
        bottom = min((top + _BAND) * factor, height)
        band, clear = _on_backdrop(image.crop((0, top * factor, width, bottom)))
        rgb[top : top + _BAND] = band.reduce(factor)
        transparent = transparent or clear
    return rgb, transparent


def _on_backdrop(image: Image.Image) -> tuple[Image.Image, bool]:
    """The picture in mode RGB, and whether the backdrop shows through."""
    if image.mode.startswith("I"):  # 16-bit grey, which Pillow itself would clip
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if not image.has_transparency_data:
        return image.convert("RGB"), False
    image = image.convert("RGBA")
    alpha = image.getchannel("A")
    ground = Image.new("RGB", image.size, BACKDROP)
    ground.paste(image, mask=alpha)
    return ground, alpha.getextrema() != (255, 255)


def _orientation(exif: bytes) -> int:
    """The orientation 1..8 in a block of EXIF data; 1 when there is none or the block makes no sense."""
    tiff = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(tiff[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", tiff, 4)
        (count,) = struct.unpack_from(f"{order}H", tiff, start)
        for entry in range(start + 2, start + 2 + 12 * count, 12):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", tiff, entry)
            if tag == _ORIENTATION and kind == 3:
                return int(value)
    except struct.error:
        return 1
    return 1
