"""Who holds which avatar: random tokens, the owners they belong to, the content keys they stand for.

    token          ->  owner, content key, label, times
    owner:<hash>   ->  tokens of an owner
    value:<key>    ->  tokens that stand for a content key

Rows of the index, all gone `ttl_s` after their last use. A row that is not as written here is a miss.
"""

import hashlib
import logging
import re
import secrets
import time
from contextlib import AbstractContextManager

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from core.optimization.avatar_files import KEY
from core.optimization.store import Index

_log = logging.getLogger(__name__)
_TOKEN = re.compile(r"av_[A-Za-z0-9_-]{32}")
_LABEL = 200  # characters kept of a label
_NAMES = TypeAdapter(list[str])


class Entry(BaseModel):
    """The row of a token; `owner` is a hash, times are seconds since 1970."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    owner: str
    key: str = Field(pattern=KEY)
    label: str
    created: float
    used: float


class Tokens:
    """Tokens in an index. What takes several steps must be inside `transaction()`."""

    def __init__(self, index: Index, ttl_s: float | None) -> None:
        self._index, self._ttl_s = index, ttl_s

    def transaction(self) -> AbstractContextManager[None]:
        return self._index.transaction()

    def find(self, token: str) -> Entry | None:
        """The entry of a token; None where there is none, or where its row is not ours (then removed)."""
        text = self._index.read(token) if _TOKEN.fullmatch(token) else None
        if text is None:
            return None
        try:
            return Entry.model_validate_json(text)
        except ValidationError:
            _log.warning("a token's row is corrupt; it is removed")
            self._index.remove(token)
            return None

    def of_owner(self, owner: str) -> dict[str, Entry]:
        """The tokens of an owner (a hash), oldest first."""
        return self._members(f"owner:{owner}")

    def of_key(self, key: str) -> dict[str, Entry]:
        """The tokens that stand for a content key, oldest first."""
        return self._members(f"value:{key}")

    def enter(self, owner: str, key: str, label: str) -> tuple[str, bool]:
        """An owner's token for a content key, and whether it was there before."""
        for token, entry in self.of_key(key).items():
            if entry.owner == owner:
                self.use(token, entry, label)
                return token, True
        token, now = "av_" + secrets.token_urlsafe(24), time.time()
        entry = Entry(owner=owner, key=key, label=_tidy(label), created=now, used=now)
        for group in _groups(entry):
            self._write_group(group, [*self._members(group), token])
        self._index.write(token, entry.model_dump_json(), self._ttl_s)
        return token, False

    def use(self, token: str, entry: Entry, label: str = "") -> None:
        """Mark a token as used just now, and rename it where a label is given."""
        used = entry.model_copy(update={"used": time.time(), "label": _tidy(label) or entry.label})
        self._index.write(token, used.model_dump_json(), self._ttl_s)
        for group in _groups(entry):
            self._index.touch(group, self._ttl_s)

    def leave(self, token: str, entry: Entry) -> None:
        """Forget a token."""
        self._index.remove(token)
        for group in _groups(entry):
            self._write_group(group, [name for name in self._names(group) if name != token])

    def _members(self, group: str) -> dict[str, Entry]:
        entries = {token: self.find(token) for token in self._names(group)}
        return {token: entry for token, entry in entries.items() if entry is not None}

    def _names(self, group: str) -> list[str]:
        text = self._index.read(group)
        try:
            return [] if text is None else _NAMES.validate_json(text)
        except ValidationError:
            _log.warning("a group's row is corrupt; it is removed")
            self._index.remove(group)
            return []

    def _write_group(self, group: str, tokens: list[str]) -> None:
        if tokens:
            self._index.write(group, _NAMES.dump_json(tokens).decode(), self._ttl_s)
        else:
            self._index.remove(group)


def hashed(owner: str) -> str:
    """An owner as it is kept: its name may be a secret of its own."""
    return hashlib.sha256(owner.encode(errors="surrogatepass")).hexdigest()


def _groups(entry: Entry) -> tuple[str, str]:
    return f"owner:{entry.owner}", f"value:{entry.key}"


def _tidy(label: str) -> str:
    """A label that fits, without the half characters that JSON lets in and UTF-8 does not."""
    return label[:_LABEL].encode(errors="replace").decode()
