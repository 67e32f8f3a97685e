"""Checkpoints for an engine: what is there and right is used, what is missing is fetched and checked.

    files = ensure(find_variant("ditto-onnx"), settings).files    # role -> path

A commit is recorded at first use and stays until another revision is asked for. No file is given out
before its content was compared with what the hub says of it; what was compared once is compared again
when its size or time changes, or on `verify`.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from core.checkpoints.catalogue import Asset, Variant
from core.checkpoints.check import Report, silent, survey
from core.checkpoints.fetch import alone, fetch_all, write
from core.checkpoints.hub import Hub, is_offline
from core.checkpoints.places import Place, place_for
from core.checkpoints.record import Record, load_record
from core.errors import AssetError, CorruptCheckpoint, EngineUnavailable, MissingCheckpoint
from core.settings import Settings

_log = logging.getLogger(__name__)
_BRANCH = "main"


@dataclass(frozen=True)
class Checkpoints:
    """Files ready for use: role -> path. `commit` is empty where nobody knows it."""

    variant: str
    commit: str
    folder: Path
    files: Mapping[str, Path]


STATES = ("right", "wrong", "missing", "unknown")  # of a file; unknown: nobody here knows its hash


class Finding(NamedTuple):
    """What `verify` has to say of one file; `state` is one of STATES."""

    asset: Asset
    state: str
    error: AssetError | None = None


def may_ask(settings: Settings) -> bool:
    """True where requests to the hub are allowed at all."""
    return settings.download != "never" and not is_offline()


def ensure(
    variant: Variant, settings: Settings, report: Report = silent, hub: Hub | None = None
) -> Checkpoints:
    """The files of a variant, fetched if VISAVIS_DOWNLOAD is `auto` and some are missing.

    A folder that somebody else filled is compared with the hub where it answers, and never changed except
    for files that it lacks. Raises MissingCheckpoint, CorruptCheckpoint, EngineUnavailable (hub away),
    StoreFailed (disk full).
    """
    assets = variant.files(settings.license_profile)
    place = place_for(settings, assets)
    record = _known(place, assets)
    may_fetch = settings.download == "auto" and may_ask(settings)
    filled = any(place.path_of(asset.path, record.commit).exists() for asset in assets)
    unasked = may_fetch and filled and not place.ours
    if unasked and not record.commit:
        record, unasked = _published(hub or Hub(), place, record), False
    files, wrong = survey(place, record, assets, report)
    if unasked and _broken(wrong):  # or else somebody has brought the folder to a newer commit
        record = _published(hub or Hub(), place, record)
        files, wrong = survey(place, record, assets, report)
    _keep(record, place)
    errors = _broken(wrong) or [error for asset, error in wrong.items() if asset.needed]
    if not errors:
        return Checkpoints(variant.name, record.commit, place.folder, files)
    if may_fetch and (place.ours or not _broken(wrong)):
        return download(variant, settings, report, hub=hub)
    raise type(errors[0])(errors[0].message, errors[0].hint or _remedy(variant, settings)) from errors[0]


def download(
    variant: Variant,
    settings: Settings,
    report: Report = silent,
    *,
    revision: str = "",
    to: Path | None = None,
    hub: Hub | None = None,
) -> Checkpoints:
    """Fetch what is missing or wrong of a variant, into `to` or where `ensure` looks.

    Without a revision the recorded commit stays; at first use it is that of the branch `main`. Raises as
    `ensure`, and BadOption where there is no such revision.
    """
    if not may_ask(settings):
        raise EngineUnavailable(f"{variant.name} may not be fetched.", _remedy(variant, settings))
    hub = hub or Hub()
    assets = variant.files(settings.license_profile)
    place = place_for(settings, assets, to)
    with alone(place, report):
        place.sweep()
        record = _known(place, assets)
        if revision or not record.commit:
            record = _pinned(hub, revision or _BRANCH, record)
        files, wrong = survey(place, record, assets, report)
        if wrong and not record.files:
            record = _pinned(hub, record.commit, record)
        elif wrong and not revision:
            hub.commit(record.commit)  # an absent hub is told at once, not after many retries
        absent = [asset.path for asset in wrong if asset.path not in record.files and asset.needed]
        if absent:
            raise MissingCheckpoint(
                f"The hub has no {absent[0]} in commit {record.commit}.",
                "Choose another --revision, or update Visavis.",
            )
        todo = [asset for asset in wrong if asset.path in record.files]
        files |= fetch_all(hub, place, record, todo, report)
        write(record, place.own_record)
    return Checkpoints(variant.name, record.commit, place.folder, files)


def verify(
    variant: Variant,
    settings: Settings,
    report: Report = silent,
    *,
    to: Path | None = None,
    hub: Hub | None = None,
) -> list[Finding]:
    """Compare every byte of a variant's files with what the hub says, or said when they were fetched.

    Nothing is fetched or replaced; what is wrong is not used until it was fetched anew.
    """
    assets = variant.files(settings.license_profile)
    place = place_for(settings, assets, to)
    record = _known(place, assets)
    if not record.files and may_ask(settings):
        record = _published(hub or Hub(), place, record, record.commit)
    record.checked.clear()
    _, wrong = survey(place, record, assets, report)
    _keep(record, place)
    findings = []
    for asset in assets:
        error = wrong.get(asset)
        gone = isinstance(error, MissingCheckpoint)
        if error is None:
            state = "right" if asset.path in record.checked else "unknown"
        else:
            state = "missing" if gone else "wrong"
        if asset.needed or not gone:
            findings.append(Finding(asset, state, error))
    return findings


def locate(
    variant: Variant, settings: Settings, to: Path | None = None
) -> tuple[Place, Record, dict[Asset, Path]]:
    """Where a variant's files lie or would lie, and what is known of them. Asks and changes nothing."""
    assets = variant.files(settings.license_profile)
    place = place_for(settings, assets, to)
    record = _known(place, assets)
    return place, record, {asset: place.path_of(asset.path, record.commit) for asset in assets}


def _known(place: Place, assets: Sequence[Asset]) -> Record:
    record = load_record(place.record_file)
    return record if record.commit else Record(commit=place.found_commit(assets))


def _pinned(hub: Hub, revision: str, before: Record) -> Record:
    """What the hub says of a revision now. Earlier checks stay: they are of contents, not of commits."""
    commit = hub.commit(revision)
    return Record(revision, commit, hub.files(commit), before.checked)


def _published(hub: Hub, place: Place, before: Record, revision: str = "") -> Record:
    """What the files that somebody else fetched should be; as before where the hub is away."""
    try:
        return _pinned(hub, revision or _BRANCH, before)
    except EngineUnavailable as error:
        _log.warning("nothing new is known of the files in %s: %s", place.folder, error)
        return before


def _broken(wrong: Mapping[Asset, AssetError]) -> list[AssetError]:
    return [error for error in wrong.values() if isinstance(error, CorruptCheckpoint)]


def _keep(record: Record, place: Place) -> None:
    """Remember what was checked; where nothing can be written, it is checked again next time."""
    if record == load_record(place.record_file):
        return
    try:
        record.save(place.record_file)
    except OSError as error:
        _log.info("%s cannot be written: %s", place.record_file, error)


def _remedy(variant: Variant, settings: Settings) -> str:
    if not may_ask(settings):
        which = "HF_HUB_OFFLINE" if is_offline() else "VISAVIS_DOWNLOAD"
        return f"Unset {which} to fetch it, or name a folder that has it with VISAVIS_MODELS."
    return f"Run: python model_manager.py download {variant.name}"
