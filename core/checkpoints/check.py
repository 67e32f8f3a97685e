"""Is a file what it should be? Its size, then its content, compared once and again when it changed."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from core.checkpoints.catalogue import Asset
from core.checkpoints.places import Place
from core.checkpoints.record import Checked, HubFile, Record, digest_of
from core.errors import AssetError, CorruptCheckpoint, MissingCheckpoint

_POINTER = b"version https://git-lfs"


class Progress(NamedTuple):
    """How far the work is: `stage` is wait, check or download; `done` and `total` are bytes to fetch."""

    stage: str
    path: str = ""
    done: int = 0
    total: int = 0


Report = Callable[[Progress], None]
"""Hears of progress; what it raises (Cancelled) ends the work, and nothing half-written is left."""


def silent(progress: Progress) -> None:
    """The report of who does not want to hear."""


def survey(
    place: Place, record: Record, assets: Sequence[Asset], report: Report
) -> tuple[dict[str, Path], dict[Asset, AssetError]]:
    """The files that are right, by role, and what is wrong with the others; `record` learns of the checks."""
    files: dict[str, Path] = {}
    wrong: dict[Asset, AssetError] = {}
    for asset in assets:
        try:
            files[asset.role] = checked(place, record, asset, partial(report, Progress("check", asset.path)))
        except AssetError as error:
            wrong[asset] = error
    return files, wrong


def checked(place: Place, record: Record, asset: Asset, look: Callable[[], None]) -> Path:
    """The file of an asset, if its content is right or nobody knows what it should be.

    `look` is called now and then while a file is read. Raises MissingCheckpoint, CorruptCheckpoint.
    """
    path = place.path_of(asset.path, record.commit)
    try:
        expected = record.files.get(asset.path) or place.named(path)
        now = Checked(path.stat().st_size, path.stat().st_mtime_ns, expected.digest if expected else "")
        if expected and record.checked.get(asset.path) == now:
            return path
        record.checked.pop(asset.path, None)
        _refuse_remnant(path, now.size, expected, place)
        if expected:
            digest = digest_of(path, expected.digest, look)
            if digest != expected.digest:
                raise CorruptCheckpoint(f"{path} has the hash {digest}, expected {expected.digest}.")
            record.checked[asset.path] = now
    except (FileNotFoundError, NotADirectoryError) as error:
        raise MissingCheckpoint(f"{asset.path} is not in {place.folder}.") from error
    except OSError as error:
        raise CorruptCheckpoint(f"{path} cannot be read: {error.strerror}.") from error
    return path


def _refuse_remnant(path: Path, size: int, expected: HubFile | None, place: Place) -> None:
    with path.open("rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise CorruptCheckpoint(
                f"{path} is the pointer of a file that Git LFS has not fetched.",
                f"Run in {place.folder}: git lfs install && git lfs pull",
            )
    if expected and size != expected.size:
        raise CorruptCheckpoint(f"{path} has {size} bytes, expected {expected.size}.")
    if not size:
        raise CorruptCheckpoint(f"{path} is empty.")
