"""What is known of the files of one place: their commit, their hashes, and which were already checked."""

import hashlib
import json
import logging
import os
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_log = logging.getLogger(__name__)
_FORMAT = 1
_BLOCK = 4 << 20


class HubFile(NamedTuple):
    """A file as the hub describes it; the digest is a SHA-256 (64 hex) or a git blob id (40 hex)."""

    size: int
    digest: str


class Checked(NamedTuple):
    """A file as it was when its content was found to be right."""

    size: int
    mtime_ns: int
    digest: str


def digest_of(path: Path, like: str, look: Callable[[], None]) -> str:
    """The digest of a file's content, of the same kind as `like`; `look` is called once a block."""
    hasher = hashlib.sha256() if len(like) == 64 else hashlib.sha1(usedforsecurity=False)
    with path.open("rb") as file:
        if len(like) != 64:
            hasher.update(b"blob %d\0" % os.fstat(file.fileno()).st_size)
        while block := file.read(_BLOCK):
            look()
            hasher.update(block)
    return hasher.hexdigest()


@dataclass
class Record:
    """The commit that a place holds, what the hub says of its files, and which of them were checked."""

    revision: str = ""
    commit: str = ""
    files: dict[str, HubFile] = field(default_factory=dict)
    checked: dict[str, Checked] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Replace the file `path` as a whole. Raises OSError."""
        text = json.dumps(
            {
                "format": _FORMAT,
                "revision": self.revision,
                "commit": self.commit,
                "files": self.files,
                "checked": self.checked,
            },
            indent=1,
        )
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            temporary.write_text(text + "\n", encoding="utf-8")
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def load_record(path: Path) -> Record:
    """The record at `path`; an empty one where there is none that can be read."""
    try:
        found: Any = json.loads(path.read_text(encoding="utf-8"))
        if found["format"] != _FORMAT:
            raise ValueError(f"format {found['format']}")
        return Record(
            str(found["revision"]),
            str(found["commit"]),
            {str(name): HubFile(int(size), str(digest)) for name, (size, digest) in found["files"].items()},
            {
                str(name): Checked(int(size), int(mtime), str(digest))
                for name, (size, mtime, digest) in found["checked"].items()
            },
        )
    except FileNotFoundError:
        return Record()
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        _log.warning("the record %s cannot be read (%s); the files are looked at anew", path, error)
        return Record()
