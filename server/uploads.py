"""Files that clients hand in: checked by kind, bounded, under random names, gone after a while."""

import asyncio
import re
import secrets
import threading
import time
from pathlib import Path
from typing import BinaryIO, Literal

from starlette.datastructures import UploadFile

from core.errors import BadAudio, BadImage, BadPath, InputError, StoreFailed, TooLong
from core.optimization.store import private_folder
from core.settings import Settings

Kind = Literal["audio", "source"]
AUDIO = frozenset((".wav", ".mp3", ".m4a", ".flac", ".ogg"))
IMAGES = frozenset((".png", ".jpg", ".jpeg", ".webp"))
VIDEOS = frozenset((".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v"))
_BLOCK = 2**18
_SWEEP_S = 60.0  # at most so often is looked for what has expired
_OWNER = re.compile(r"[0-9a-f]{40}")


def limits_of(settings: Settings) -> dict[str, int]:
    """Most bytes of an uploaded file by the name of its form field."""
    source = max(settings.max_image_mib, settings.max_video_mib)
    return {"audio": int(settings.max_audio_mib * 2**20), "source": int(source * 2**20)}


def suffix_of(kind: Kind, name: str) -> str:
    """The ending of a client's file name, in small letters. Raises BadAudio, BadImage."""
    suffix = Path(name.replace("\\", "/")).suffix.lower()
    if kind == "audio" and suffix not in AUDIO:
        raise BadAudio(f"unsupported audio extension: {suffix[:20]}")
    if kind == "source" and suffix not in IMAGES | VIDEOS:
        raise BadImage(f"unsupported image extension: {suffix[:20]}")
    return suffix


class Uploads:
    """Uploaded files in a private folder, one below it for each owner. Safe to use from any thread."""

    def __init__(self, settings: Settings) -> None:
        self._root = private_folder(settings.home_dir / "uploads-api").resolve()
        self._media = settings.media.expanduser().resolve() if settings.media else None
        self._ttl_s = settings.upload_hours * 3600
        self._most_bytes = int(settings.upload_gib * 2**30)
        self._image_bytes = int(settings.max_image_mib * 2**20)
        self._limits = limits_of(settings)
        self._swept: float | None = None
        self._lock = threading.Lock()

    async def save(self, owner: str, kind: Kind, file: UploadFile) -> Path:
        """Keep an uploaded file -> its path. Raises BadAudio, BadImage (ending), TooLong, StoreFailed."""
        suffix = suffix_of(kind, file.filename or "")
        most = self._limits[kind]
        if suffix in IMAGES:
            most = self._image_bytes
        return await asyncio.to_thread(self._keep, owner, suffix, file.file, most)

    def find(self, given: str) -> Path:
        """The file behind a path from a client: one that `save` gave, or one in VISAVIS_MEDIA.

        An upload's name is random and as good as a token: whoever holds it may use it, for known clients
        upload without keeping a cookie. Links are followed before it is judged. Raises BadPath.
        """
        try:
            path = Path(given)
            real = (path if path.is_absolute() or not self._media else self._media / path).resolve()
            uploaded = real.parent.parent == self._root.resolve()
            offered = self._media is not None and real.is_relative_to(self._media)
            if (uploaded or offered) and real.is_file():
                return real
        except (OSError, RuntimeError, ValueError):  # a name too long, a circle of links, a null byte
            pass
        raise BadPath("This file was not uploaded, or has expired.", "Upload it first.")

    def remove(self, path: Path | None) -> None:
        """Forget a file that `save` gave, before its time."""
        if path is not None and path.is_relative_to(self._root):
            path.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what has expired, then the oldest files until the rest fits."""
        files = []
        for path in self._root.glob("*/*"):
            try:
                status = path.stat()
            except FileNotFoundError:  # removed meanwhile
                continue
            files.append((status.st_mtime, status.st_size, path))
        now, total = time.time(), sum(size for _, size, _ in files)
        for when, size, path in sorted(files):
            if abs(now - when) > self._ttl_s or total > self._most_bytes:  # abs: the clock may be set back
                path.unlink(missing_ok=True)
                total -= size

    def _folder(self, owner: str) -> Path:
        if not _OWNER.fullmatch(owner):
            raise ValueError("an owner is 40 hex digits")
        return self._root / owner

    def _keep(self, owner: str, suffix: str, file: BinaryIO, most: int) -> Path:
        self._sweep_sometimes()
        target = private_folder(self._folder(owner)) / (secrets.token_urlsafe(24) + suffix)
        try:
            with target.open("xb") as out:
                kept = 0
                while block := file.read(_BLOCK):
                    kept += len(block)
                    if kept > most:
                        raise too_long(most)
                    out.write(block)
        except (OSError, InputError) as error:
            target.unlink(missing_ok=True)
            if isinstance(error, InputError):
                raise
            raise StoreFailed(
                f"The upload cannot be kept: {error.strerror}.", "Free disk space in VISAVIS_HOME."
            ) from error
        return target

    def _sweep_sometimes(self) -> None:
        with self._lock:
            now = time.monotonic()
            if self._swept is not None and now - self._swept < _SWEEP_S:
                return
            self._swept = now
        self.sweep()


def too_long(most: int) -> TooLong:
    return TooLong(f"The file is larger than the limit of {most / 2**20:g} MiB.", "Send a smaller one.")
