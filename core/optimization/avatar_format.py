"""One registered avatar as one safetensors file: its arrays, and all else of it as JSON in the header.

    8 bytes   length of the header, little endian
    header    JSON: name -> dtype, shape, data_offsets; "__metadata__" -> card (JSON text), crc32
    data      the arrays one after another, widest numbers first so that each lies aligned

The format is public (https://huggingface.co/docs/safetensors) and every safetensors reader opens these
files. They are written and read here because the package's numpy side copies all arrays into memory,
where a long video's avatar has to be mapped, and cannot make sure that a file has reached the disk.

The checksum guards against flipped bits and cut files, not against forgery (the folder is private to
the user); CRC-32 runs at several GB/s, so that every load can afford to check the whole file.
"""

import json
import mmap
import os
import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydantic import BaseModel, ConfigDict

from core.mapped import blocks
from core.types import RegisteredAvatar

_DTYPES = {
    name: np.dtype(code)
    for name, code in (
        ("F64", "<f8"), ("F32", "<f4"), ("F16", "<f2"), ("C64", "<c8"), ("BOOL", "?"),
        ("I64", "<i8"), ("I32", "<i4"), ("I16", "<i2"), ("I8", "i1"),
        ("U64", "<u8"), ("U32", "<u4"), ("U16", "<u2"), ("U8", "u1"),
    )
}  # fmt: skip
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_ABOUT = "__metadata__"
_BLOCK = 1 << 20  # bytes read at a time for the checksum

Table = dict[str, dict[str, Any]]


class CorruptAvatar(Exception):
    """The file is not what was once written."""


class AvatarCard(BaseModel):
    """What an avatar is besides its arrays; `thumbnail` is the bytes of a picture file, or empty."""

    model_config = ConfigDict(
        frozen=True, ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants"
    )

    key: str
    engine: str
    is_image: bool
    n_frames: int
    size: tuple[int, int]
    meta: dict[str, Any]
    notes: tuple[str, ...]
    thumbnail: bytes


def write_avatar(path: Path, avatar: RegisteredAvatar, thumbnail: bytes) -> None:
    """Write `path` anew and see it onto the disk. Raises OSError, TypeError for dtypes without a name."""
    plain = [(name, _plain(name, array)) for name, array in avatar.arrays.items()]
    arrays = sorted(plain, key=lambda item: (-item[1].itemsize, item[0]))
    table: Table = {}
    end = 0
    for name, array in arrays:
        offsets = [end, end + array.nbytes]
        table[name] = {"dtype": _NAMES[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
        end += array.nbytes
    card = AvatarCard(
        key=avatar.key,
        engine=avatar.engine,
        is_image=avatar.is_image,
        n_frames=avatar.n_frames,
        size=avatar.size,
        meta=dict(avatar.meta),
        notes=avatar.notes,
        thumbnail=thumbnail,
    ).model_dump_json()
    about = {
        "card": card,
        "crc32": _checksum(card, table, (block for _, array in arrays for block in blocks(array))),
    }
    header = json.dumps({_ABOUT: about, **table}).encode()
    header += b" " * (-len(header) % 8)
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for _, array in arrays:
            for block in blocks(array):
                file.write(block)
        file.flush()
        os.fsync(file.fileno())


def read_avatar(path: Path) -> RegisteredAvatar:
    """The avatar in `path`, its arrays mapped and read-only. Raises OSError, CorruptAvatar.

    The whole file is read once for its checksum, in blocks: no memory is held by that.
    """
    with path.open("rb") as file:
        about, table = _read_header(file)
        start = file.tell()
        if _checksum(about["card"], table, iter(partial(file.read, _BLOCK), b"")) != about["crc32"]:
            raise CorruptAvatar("The checksum is wrong.")
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    card = _read_card(about)
    arrays: dict[str, np.ndarray] = {
        name: np.ndarray(spec["shape"], _DTYPES[spec["dtype"]], mapped, start + spec["data_offsets"][0])
        for name, spec in table.items()
    }
    return RegisteredAvatar(
        key=card.key,
        engine=card.engine,
        is_image=card.is_image,
        n_frames=card.n_frames,
        size=card.size,
        arrays=arrays,
        meta=card.meta,
        notes=card.notes,
    )


def read_card(path: Path) -> AvatarCard:
    """The card alone, without a look at the arrays. Raises OSError, CorruptAvatar."""
    with path.open("rb") as file:
        return _read_card(_read_header(file)[0])


def _read_header(file: BinaryIO) -> tuple[dict[str, str], Table]:
    try:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(length, os.fstat(file.fileno()).st_size)))
        about = header.pop(_ABOUT)
        return {"card": str(about["card"]), "crc32": str(about["crc32"])}, header
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise CorruptAvatar("The header cannot be read.") from error


def _read_card(about: dict[str, str]) -> AvatarCard:
    try:
        return AvatarCard.model_validate_json(about["card"])
    except ValueError as error:
        raise CorruptAvatar("The card is of another version, or broken.") from error


def _plain(name: str, array: np.ndarray) -> np.ndarray:
    """The array as it lies in the file: C order, little endian."""
    dtype = array.dtype.newbyteorder("<")
    if dtype not in _NAMES:
        raise TypeError(f"array '{name}': {array.dtype} cannot be stored")
    return np.asarray(array, dtype, order="C")


def _checksum(card: str, table: Table, data: Iterable[bytes | memoryview]) -> str:
    crc = zlib.crc32(card.encode())
    crc = zlib.crc32(json.dumps(table, sort_keys=True).encode(), crc)
    for block in data:
        crc = zlib.crc32(block, crc)
    return f"{crc:08x}"
