"""Registered avatars, kept over restarts and shared by the processes of one machine.

    root/index    who holds which token      (`tokens`, on `store.Index`)
    root/values   content key -> the avatar  (`avatar_files`)
    root/locks    one maker per content key

A token is random: who holds it may use the avatar, and it tells nothing about the content. A value
lives as long as a token stands for it, it was used within `ttl_s`, and there is room. A token whose
value is gone is answered with UnknownToken, and works again once anyone registers the same content.

Times are the wall clock's, since they outlive the process. Set forward, the clock expires what it
makes old; set back, nothing is lost, and every use and every start counts anew from the earlier time.
"""

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from core.errors import ComputeError, NotYours, UnknownToken
from core.optimization.avatar_files import AvatarFiles, check_key
from core.optimization.store import Index, locked, private_folder
from core.optimization.tokens import Entry, Tokens, hashed
from core.types import RegisteredAvatar

_PATIENCE_S = 900.0  # how long one registration waits for an equal one that is under way


@dataclass(frozen=True)
class AvatarInfo:
    """One avatar of an owner. Times in seconds since 1970; `size` is (width, height) of the source.

    `thumbnail` is the bytes of a picture file, empty where none was made.
    """

    token: str
    label: str
    created: float
    last_used: float
    size: tuple[int, int]
    n_frames: int
    thumbnail: bytes


class AvatarCache:
    """Token -> registered avatar. Safe to use from any number of threads and processes.

    `root` becomes private to the user. `max_bytes` holds for the values in all, `ttl_s` (None: never)
    counts from the last use. Where disk or index fail, every method raises StoreFailed.
    """

    def __init__(
        self, root: Path, *, max_bytes: int = 4 * 2**30, ttl_s: float | None = 30 * 86_400.0
    ) -> None:
        private_folder(root)
        self._locks = private_folder(root / "locks")
        self._files = AvatarFiles(root / "values", max_bytes, ttl_s)
        with locked(self._locks / "start.lock", 60):  # two that start at once must not mend one index twice
            self._index = Index(root / "index")
        self._tokens = Tokens(self._index, ttl_s)
        self.found = self.made = 0  # avatars that were there when asked for, and that had to be made
        self._sweep()

    def register(
        self,
        owner: str,
        key: str,
        make: Callable[[], RegisteredAvatar],
        *,
        thumbnail: Callable[[RegisteredAvatar], bytes] | None = None,
        label: str = "",
    ) -> tuple[str, RegisteredAvatar]:
        """The owner's token for a content key (hex), and its avatar, made only where it is not there.

        Equal keys are made once, however many threads and processes ask at a time; what `make` raises
        reaches the caller, and then nothing is kept. Raises TooLong where the avatar is larger than
        the cache, ComputeError where an equal registration hangs, ValueError for a key that is not hex.
        """
        check_key(key)
        with locked(self._lock(key), _PATIENCE_S) as mine, ExitStack() as undo:
            if not mine:
                raise ComputeError("The same portrait is still being registered.", "Try again later.")
            # the token comes first: it keeps another owner's delete() from removing the value meanwhile
            with self._tokens.transaction():
                token, known = self._tokens.enter(hashed(owner), key, label)
            if not known:
                undo.callback(self._forget, token)
            avatar = self._files.load(key)
            if avatar is None:
                avatar = self._made(key, make, thumbnail)
                self.made += 1
            else:
                self.found += 1
            undo.pop_all()
        return token, avatar

    def get(self, token: str) -> RegisteredAvatar:
        """The avatar of a token, its arrays mapped and read-only; this counts as a use.

        Raises UnknownToken where there was never one, or it has expired or made room for others.
        """
        with self._tokens.transaction():
            entry = self._tokens.find(token)
            if entry is not None:
                self._tokens.use(token, entry)
        avatar = None if entry is None else self._files.load(entry.key)
        if avatar is None:
            raise _unknown()
        self.found += 1
        return avatar

    def info(self, token: str) -> AvatarInfo:
        """What is known of the avatar of a token; this is no use. Raises UnknownToken."""
        entry = self._tokens.find(token)
        found = None if entry is None else self._info(token, entry)
        if found is None:
            raise _unknown()
        return found

    def list(self, owner: str) -> list[AvatarInfo]:
        """The owner's avatars that can be used, newest first."""
        tokens = self._tokens.of_owner(hashed(owner))
        found = [self._info(token, entry) for token, entry in tokens.items()]
        return [each for each in reversed(found) if each is not None]

    def delete(self, owner: str, token: str) -> None:
        """Forget a token, and its avatar unless another owner has it too. Raises UnknownToken, NotYours."""
        with self._tokens.transaction():
            entry = self._tokens.find(token)
            if entry is None:
                raise _unknown()
            if entry.owner != hashed(owner):
                raise NotYours("This avatar is not yours.", "Only who registered it can delete it.")
            self._forget(token)

    def clear(self, owner: str) -> int:
        """Forget all avatars of an owner -> how many there were."""
        with self._tokens.transaction():
            tokens = self._tokens.of_owner(hashed(owner))
            for token in tokens:
                self._forget(token)
        return len(tokens)

    def close(self) -> None:
        """Close the index; avatars handed out stay valid."""
        self._index.close()

    def _info(self, token: str, entry: Entry) -> AvatarInfo | None:
        card = self._files.card(entry.key)
        if card is None:
            return None
        return AvatarInfo(
            token=token,
            label=entry.label,
            created=entry.created,
            last_used=entry.used,
            size=card.size,
            n_frames=card.n_frames,
            thumbnail=card.thumbnail,
        )

    def _made(
        self,
        key: str,
        make: Callable[[], RegisteredAvatar],
        thumbnail: Callable[[RegisteredAvatar], bytes] | None,
    ) -> RegisteredAvatar:
        avatar = make()
        if avatar.key != key:
            raise ValueError(f"the avatar made for key {key} says its key is {avatar.key}")
        self._files.save(avatar, thumbnail(avatar) if thumbnail else b"")
        return avatar

    def _forget(self, token: str) -> None:
        """Forget a token; its avatar goes with the last one."""
        with self._tokens.transaction():
            entry = self._tokens.find(token)
            if entry is not None:
                self._tokens.leave(token, entry)
                if not self._tokens.of_key(entry.key):
                    self._files.remove(entry.key)

    def _sweep(self) -> None:
        """Remove what has expired, what a process that died left half-written, and what no token names.

        A key whose lock is held is being registered by a process alive, and is left alone.
        """
        self._files.trim()
        unnamed = {key for key in self._files.stored() if not self._tokens.of_key(key)}
        for key in self._files.half_written() | unnamed:
            with locked(self._lock(key), 0) as mine:
                if mine:
                    self._files.drop_half_written(key)
                    if not self._tokens.of_key(key):
                        self._files.remove(key)

    def _lock(self, key: str) -> Path:
        """One of 256 lock files, so that they need no tidying; keys that share one wait for each other."""
        return self._locks / f"{key[:2]}.lock"


def _unknown() -> UnknownToken:
    return UnknownToken(
        "This avatar token is unknown: it was never given, has expired, or its avatar made room for others.",
        "Register the portrait again.",
    )
