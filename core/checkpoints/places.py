"""Where checkpoints lie: a folder laid out like the repository, or the Hugging Face cache."""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from huggingface_hub import constants

from core.checkpoints.catalogue import REPOSITORY, Asset
from core.checkpoints.record import HubFile
from core.settings import Settings

_BESIDE = Path("checkpoints")  # where a clone of the repository lies by its authors' advice
_NAMED = re.compile(r"[0-9a-f]{40}([0-9a-f]{24})?")


@dataclass(frozen=True)
class Place:
    """A folder laid out like the repository.

    It is ours once it holds a record of ours: what is wrong in it may then be replaced without asking.
    A record of somebody else's folder is kept in `notes`, so that nothing is written into it.
    """

    folder: Path
    notes: Path

    @property
    def own_record(self) -> Path:
        return self.folder / ".visavis.json"

    @property
    def ours(self) -> bool:
        return self.own_record.exists()

    @property
    def record_file(self) -> Path:
        if self.ours:
            return self.own_record
        return self.notes / f"{hashlib.sha256(str(self.folder.absolute()).encode()).hexdigest()[:16]}.json"

    @property
    def lock_file(self) -> Path:
        return self.folder / ".cache" / "huggingface" / "visavis.lock"

    def path_of(self, path: str, commit: str) -> Path:
        """Where the file of the repository with this path lies, or would."""
        return self.folder / path

    def found_commit(self, assets: Iterable[Asset]) -> str:
        """The commit that is there without a record of ours; empty where it is not known."""
        return ""

    def named(self, file: Path) -> HubFile | None:
        """Size and digest of a file as far as its name tells them."""
        return None

    def remove(self, path: str, commit: str) -> None:
        """Remove a file. Raises OSError."""
        self.path_of(path, commit).unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove the unfinished files of downloads that were killed. Only for who holds `lock_file`."""
        for unfinished in self.lock_file.parent.rglob("*.incomplete"):
            unfinished.unlink(missing_ok=True)


@dataclass(frozen=True)
class HubCache(Place):
    """The cache that huggingface_hub shares with other programs: snapshots of links to blobs."""

    @property
    def own_record(self) -> Path:
        return self.notes / "hub.json"

    @property
    def ours(self) -> bool:
        return True

    @property
    def lock_file(self) -> Path:
        return self._locks / "visavis.lock"

    @property
    def _locks(self) -> Path:
        return self.folder / ".locks" / self._repository.name

    @property
    def _repository(self) -> Path:
        return self.folder / f"models--{REPOSITORY.replace('/', '--')}"

    def path_of(self, path: str, commit: str) -> Path:
        return self._repository / "snapshots" / (commit or "unknown") / path

    def found_commit(self, assets: Iterable[Asset]) -> str:
        """The commit another program fetched last, if it fetched all that is needed."""
        ref = self._repository / "refs" / constants.DEFAULT_REVISION
        commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else ""
        whole = all(self.path_of(asset.path, commit).is_file() for asset in assets if asset.needed)
        return commit if whole else ""

    def named(self, file: Path) -> HubFile | None:
        """A blob's name is its digest; what the size should be is not told, so it is taken as it is."""
        blob = file.resolve()
        if blob.parent.name == "blobs" and _NAMED.fullmatch(blob.name):
            return HubFile(blob.stat().st_size, blob.name)
        return None

    def remove(self, path: str, commit: str) -> None:
        """Remove a link and its blob, or what stands for them where there are no links. Raises OSError."""
        self.path_of(path, commit).resolve().unlink(missing_ok=True)
        super().remove(path, commit)

    def sweep(self) -> None:
        """Other programs may be fetching the same: what they hold the lock of is left alone."""
        for unfinished in (self._repository / "blobs").glob("*.incomplete"):
            self._locks.mkdir(parents=True, exist_ok=True)
            try:
                with FileLock(self._locks / f"{unfinished.name.partition('.')[0]}.lock", timeout=0):
                    unfinished.unlink(missing_ok=True)
            except Timeout:
                continue


def is_whole(place: Place, assets: Iterable[Asset]) -> bool:
    return all(place.path_of(asset.path, "").is_file() for asset in assets if asset.needed)


def place_for(settings: Settings, assets: Iterable[Asset], to: Path | None = None) -> Place:
    """Where to look for files, and to put what is missing.

    `to`, else VISAVIS_MODELS, else `./checkpoints` if all is in it, else the Hugging Face cache.
    """
    notes = settings.home_dir / "models"
    if folder := to or settings.models_dir:
        return Place(folder, notes)
    beside = Place(_BESIDE, notes)
    return beside if is_whole(beside, assets) else HubCache(Path(constants.HF_HUB_CACHE), notes)
