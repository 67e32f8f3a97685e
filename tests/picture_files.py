"""Picture files for tests, as bytes: good, odd, damaged and hostile ones. All are deterministic."""

import io
import struct
import zlib
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from tests.faces import astronaut_portrait, grey, mirrored

ORIENTATIONS = range(1, 9)  # of EXIF


def png(rgb: np.ndarray | None = None) -> bytes:
    """A PNG file; of the portrait unless told otherwise, like the next three."""
    return _file(_picture(rgb), "PNG", compress_level=1)


def jpeg(rgb: np.ndarray | None = None, orientation: int = 1) -> bytes:
    """A JPEG file whose pixels lie so that EXIF `orientation` (1..8) makes the picture upright."""
    stored = _stored(np.asarray(_picture(rgb)), orientation)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return _file(Image.fromarray(stored), "JPEG", quality=95, subsampling=0, exif=exif)


def webp(rgb: np.ndarray | None = None) -> bytes:
    """A lossless WebP file."""
    return _file(_picture(rgb), "WEBP", lossless=True, quality=10, method=0)


def bmp(rgb: np.ndarray | None = None) -> bytes:
    """A BMP file, 24 bits."""
    return _file(_picture(rgb), "BMP")


def cmyk_jpeg() -> bytes:
    """Four inks, as printers have it."""
    return _file(_picture().convert("CMYK"), "JPEG", quality=95)


def grey_png() -> bytes:
    """One channel, 8 bits."""
    return _file(_picture().convert("L"), "PNG")


def grey16_png() -> bytes:
    """One channel, 16 bits, over the whole range."""
    return _file(Image.fromarray(np.asarray(_picture().convert("L")).astype(np.uint16) * 257), "PNG")


def rgb16_png() -> bytes:
    """Three channels, 16 bits, over the whole range."""
    wide = cv2.cvtColor(astronaut_portrait(), cv2.COLOR_RGB2BGR).astype(np.uint16) * 257
    return cv2.imencode(".png", wide)[1].tobytes()


def palette_png() -> bytes:
    """256 colours."""
    return _file(_picture().quantize(256), "PNG")


def rgba_png(alpha: int = 0) -> bytes:
    """The portrait opaque inside an ellipse, with `alpha` (0..255) outside it."""
    rgb = astronaut_portrait()
    mask = np.full(rgb.shape[:2], alpha, np.uint8)
    cv2.ellipse(mask, (256, 240), (170, 230), 0, 0, 360, [255], -1)
    return _file(Image.fromarray(np.dstack([rgb, mask])), "PNG", compress_level=1)


def animated(kind: Literal["WEBP", "PNG", "GIF"]) -> bytes:
    """Three frames of 100 ms: the portrait, its mirror image, grey."""
    frames = [Image.fromarray(frame) for frame in (astronaut_portrait(), mirrored(), grey())]
    lossless = {"lossless": True, "quality": 10, "method": 0} if kind == "WEBP" else {}
    return _file(frames[0], kind, save_all=True, append_images=frames[1:], duration=100, **lossless)


def truncated(data: bytes, keep: float = 0.5) -> bytes:
    """The first part of a file."""
    return data[: int(len(data) * keep)]


def bomb_png(side: int = 50_000) -> bytes:
    """A few bytes of PNG that claim (side, side) pixels."""
    chunks = [
        struct.pack(">4sIIBBBBB", b"IHDR", side, side, 8, 2, 0, 0, 0),
        b"IDAT" + zlib.compress(bytes(1000)),
        b"IEND",
    ]
    framed = (struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _picture(rgb: np.ndarray | None = None) -> Image.Image:
    return Image.fromarray(astronaut_portrait() if rgb is None else rgb)


def _file(image: Image.Image, kind: str, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


def _stored(rgb: np.ndarray, orientation: int) -> np.ndarray:
    """The inverse of what EXIF `orientation` asks a viewer to do."""
    stored = {
        2: rgb[:, ::-1],
        3: rgb[::-1, ::-1],
        4: rgb[::-1],
        5: rgb.transpose(1, 0, 2),
        6: np.rot90(rgb, 1),
        7: rgb[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(rgb, -1),
    }.get(orientation, rgb)
    return np.ascontiguousarray(stored)
