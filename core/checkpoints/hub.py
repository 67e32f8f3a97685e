"""The seam to the Hugging Face hub: which commit, which files, and their bytes. Its errors become ours."""

import errno
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from httpx2 import HTTPError
from huggingface_hub import HfApi, constants, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    FileMetadataError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.hf_api import RepoFile

from core.checkpoints.catalogue import REPOSITORY
from core.checkpoints.places import HubCache, Place
from core.checkpoints.record import HubFile
from core.errors import BadOption, EngineUnavailable, MissingCheckpoint, StoreFailed

_ANSWER_S = 10.0  # how long the hub may take to say which commit a revision is
_COMMIT = re.compile(r"[0-9a-f]{40}")
_AWAY = "Check the network and try again, or use a folder of checkpoints with VISAVIS_MODELS."

constants.HF_HUB_DISABLE_XET = True  # its threads hear neither a cancel nor a full disk; plain HTTP does
constants.HF_HUB_DISABLE_TELEMETRY = True  # it costs a request of its own


def is_offline() -> bool:
    """True where the environment forbids every request to the hub (HF_HUB_OFFLINE)."""
    return constants.is_offline_mode()


class Hub:
    """The published repository on the hub at `endpoint` (None: HF_ENDPOINT, else huggingface.co).

    All methods raise EngineUnavailable where the hub cannot be reached or answers with an error.
    """

    def __init__(self, endpoint: str | None = None) -> None:
        self._endpoint = endpoint

    def commit(self, revision: str) -> str:
        """The commit (40 hex) that a branch, tag or commit stands for. Raises BadOption: no such revision."""
        with _translated(revision):
            sha = HfApi(self._endpoint).model_info(REPOSITORY, revision=revision, timeout=_ANSWER_S).sha
        if not sha or not _COMMIT.fullmatch(sha):
            raise EngineUnavailable(f"The hub names no commit for the revision '{revision}'.", _AWAY)
        return sha

    def files(self, commit: str) -> dict[str, HubFile]:
        """Every file of a commit: path -> size and digest."""
        with _translated(commit):
            return {
                entry.path: HubFile(entry.size, entry.lfs.sha256 if entry.lfs else entry.blob_id)
                for entry in HfApi(self._endpoint).list_repo_tree(REPOSITORY, recursive=True, revision=commit)
                if isinstance(entry, RepoFile)
            }

    def fetch(
        self, path: str, commit: str, place: Place, anew: bool, on_bytes: Callable[[int], None]
    ) -> None:
        """Bring one file into a place; `anew` instead of one that is there.

        `on_bytes` hears how many bytes came, about every 10 MiB; what it raises ends the download, of
        which then nothing is left. Raises MissingCheckpoint, StoreFailed (disk full).
        """
        into_cache = isinstance(place, HubCache)
        with _translated(commit, path):
            if anew:
                place.remove(path, commit)  # where links are not to be had, an old copy would stay
            hf_hub_download(
                REPOSITORY,
                path,
                revision=commit,
                cache_dir=place.folder if into_cache else None,
                local_dir=None if into_cache else place.folder,
                force_download=anew,
                endpoint=self._endpoint,
                tqdm_class=_counter(on_bytes),
            )


def _counter(on_bytes: Callable[[int], None]) -> type:
    """What huggingface_hub takes for a progress bar."""

    class Counter:
        def __init__(self, **_: object) -> None:
            """How a bar should look is of no interest here."""

        def update(self, count: float = 1) -> None:
            on_bytes(int(count))

        def __enter__(self) -> Self:
            return self

        def __exit__(
            self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
        ) -> None:
            """Nothing is held."""

    return Counter


@contextmanager
def _translated(revision: str, path: str = "") -> Iterator[None]:
    """Errors of huggingface_hub, of its HTTP library and of the disk, as ours."""
    what = f"{path} of {REPOSITORY}" if path else REPOSITORY
    try:
        yield
    except RevisionNotFoundError as error:
        raise BadOption(
            f"{REPOSITORY} has no revision '{revision}'.", "Name a branch, a tag or a commit that exists."
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
            raise EngineUnavailable(
                f"The hub does not give {what}: it is not there, or not open to this account ({status}).",
                "Check HF_ENDPOINT and HF_TOKEN, or use a folder of checkpoints with VISAVIS_MODELS.",
            ) from error
        if isinstance(error, EntryNotFoundError):
            raise MissingCheckpoint(
                f"The hub has no {path} in commit {revision}.",
                "Choose another --revision, or update Visavis.",
            ) from error
        raise EngineUnavailable(f"The hub answers {status} for {what}.", "Try again later.") from error
    except (HTTPError, LocalEntryNotFoundError, OfflineModeIsEnabled, FileMetadataError) as error:
        raise EngineUnavailable(f"The hub cannot be reached for {what}: {_reason(error)}.", _AWAY) from error
    except OSError as error:
        if error.errno is None:  # huggingface_hub's own, about a size that is not the promised one
            raise EngineUnavailable(f"The download of {what} broke off.", _AWAY) from error
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise StoreFailed(
            f"{what} cannot be written: {error.strerror}.",
            "Free disk space, or choose another folder with --to or VISAVIS_MODELS."
            if full
            else "Choose another folder with --to or VISAVIS_MODELS.",
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        if path:
            raise
        raise EngineUnavailable(
            f"What answers for {what} is not the hub.", "Check HF_ENDPOINT, proxy and network login."
        ) from error


def _reason(error: BaseException) -> str:
    """The first words of the innermost cause: huggingface_hub wraps the story twice."""
    while error.__cause__ is not None:
        error = error.__cause__
    return (str(error).partition("\n")[0] or type(error).__name__).rstrip(".")
