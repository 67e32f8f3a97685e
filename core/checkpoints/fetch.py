"""Bring files into a place: one download at a time, with room on the disk, every byte checked."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from core.checkpoints.catalogue import Asset
from core.checkpoints.check import Progress, Report, checked
from core.checkpoints.hub import Hub
from core.checkpoints.places import Place
from core.checkpoints.record import HubFile, Record
from core.errors import CorruptCheckpoint, StoreFailed

_MARGIN = 64 << 20  # bytes that stay free on the disk
_ELSEWHERE = "Choose another folder with --to or VISAVIS_MODELS."


@contextmanager
def alone(place: Place, report: Report) -> Iterator[None]:
    """One download into a place at a time, whatever the process; the lock falls when its holder dies."""
    lock = FileLock(place.lock_file, thread_local=False)
    try:
        place.lock_file.parent.mkdir(parents=True, exist_ok=True)
        while not lock.is_locked:
            try:
                lock.acquire(timeout=0.5)
            except Timeout:
                report(Progress("wait"))
    except OSError as error:
        raise StoreFailed(f"{place.folder} cannot be written: {error.strerror}.", _ELSEWHERE) from error
    try:
        yield
    finally:
        lock.release()


def fetch_all(
    hub: Hub, place: Place, record: Record, todo: Sequence[Asset], report: Report
) -> dict[str, Path]:
    """Fetch what is in `record.files` file by file -> role -> path; each that is right is recorded at once.

    Raises StoreFailed (disk full), CorruptCheckpoint, and as `Hub.fetch`.
    """
    _check_space(place, [record.files[asset.path] for asset in todo])
    write(record, place.own_record)
    files = {}
    done, total = 0, sum(record.files[asset.path].size for asset in todo)
    for asset in todo:
        start = Progress("download", asset.path, done, total)
        files[asset.role] = _fetch(hub, place, record, asset, start, report)
        done += record.files[asset.path].size
        report(start._replace(done=done))
        write(record, place.own_record)
    return files


def write(record: Record, path: Path) -> None:
    """Save a record that must not be lost. Raises StoreFailed."""
    try:
        record.save(path)
    except OSError as error:
        raise StoreFailed(f"{path} cannot be written: {error.strerror}.", _ELSEWHERE) from error


def _check_space(place: Place, files: Sequence[HubFile]) -> None:
    free, needed = shutil.disk_usage(place.folder).free, sum(file.size for file in files) + _MARGIN
    if files and free < needed:
        raise StoreFailed(
            f"{needed / 1e6:,.0f} MB are needed in {place.folder}, {free / 1e6:,.0f} MB are free.",
            f"Free disk space. {_ELSEWHERE}",
        )


def _fetch(hub: Hub, place: Place, record: Record, asset: Asset, start: Progress, report: Report) -> Path:
    """One file, checked; what comes wrong twice is removed."""
    path = place.path_of(asset.path, record.commit)
    last, wrong = start, ""

    def on_bytes(count: int) -> None:
        nonlocal last
        last = last._replace(done=last.done + count)
        report(last)

    def look() -> None:
        report(last._replace(stage="check"))

    for anew in (path.exists(), True):
        last = start
        report(last)
        hub.fetch(asset.path, record.commit, place, anew, on_bytes)
        try:
            return checked(place, record, asset, look)
        except CorruptCheckpoint as error:
            wrong = error.message
    place.remove(asset.path, record.commit)
    raise CorruptCheckpoint(f"Fetched twice and wrong: {wrong}", "Try again later, or on another network.")
