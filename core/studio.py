"""What every door works with: one engine, the avatars it knows, and the results people asked for."""

import io
import time
from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from PIL import Image

from core.contracts import Engine
from core.engines.registry import AUTO, Running, start_engine
from core.errors import InputError, UnknownToken
from core.optimization.avatar_cache import AvatarCache, AvatarInfo
from core.optimization.jobs import JobStore
from core.optimization.parallel_processing import with_progress
from core.options import GenerationOptions
from core.settings import Settings
from core.talker import ClipInfo, Progress, audio_limits, clip
from core.types import AvatarSource, RegisteredAvatar

if TYPE_CHECKING:
    from core.checkpoints import check
    from core.checkpoints.check import Report

Scope = Literal["results", "avatars", "all"]
_THUMBNAIL = 160  # pixels


@dataclass(frozen=True)
class Talk:
    """A finished clip, the token its avatar can be used by again, and how its registration went."""

    clip: ClipInfo
    token: str
    register_ms: float
    is_image: bool


class Studio:
    """One per process. Safe to use from several threads; every call names the owner it acts for.

    `ready` and `switch` put another engine in the place of `running`: call them one at a time, and not
    while a portrait is registered or a clip made. What the engine of the settings needs is fetched at the
    start, where `report` hears of it; what `auto` would fetch is left to `ready`.
    """

    def __init__(self, settings: Settings, report: "Report | None" = None) -> None:
        self.settings = settings
        self.running: Running = start_engine(settings.engine, settings, report, later=True)
        self.avatars = AvatarCache(
            settings.home_dir / "avatars",
            max_bytes=int(settings.cache_gib * 2**30),
            ttl_s=settings.avatar_days * 86_400,
        )
        self.jobs = JobStore(
            settings.home_dir / "results",
            ttl_s=settings.result_hours * 3600,
            max_bytes=int(settings.result_gib * 2**30),
        )

    @property
    def engine(self) -> Engine:
        return self.running.engine

    def ready(self) -> Generator[Progress, None, None]:
        """Fetch and start the engine that `auto` has put off, if it has: yields progress.

        Where that fails lite stays, with a warning in `running`.
        """
        if self.running.wanted:
            yield from self.switch(AUTO, self.settings)

    def switch(self, name: str, settings: Settings) -> Generator[Progress, None, None]:
        """Another engine from now on: yields progress while its files are fetched and checked.

        Raises as `start_engine`; then, and when closed before the end, the engine before stays. Avatars of
        that engine have to be registered again.
        """
        made: list[Running] = []
        began = time.perf_counter()

        def work(report: Callable[[float], None]) -> None:
            told = partial(_tell, report)
            made.append(start_engine(name, settings, told))

        try:
            with closing(with_progress(work)) as steps:
                for fraction in steps:
                    spent = time.perf_counter() - began
                    left = spent * (1 - fraction) / fraction if fraction else None
                    yield Progress("fetch", fraction or None, left)
            before, self.running = self.running, made.pop()
            before.engine.close()
        finally:
            for running in made:  # stopped after it was made
                running.engine.close()

    def preload(
        self,
        owner: str,
        source: AvatarSource,
        options: GenerationOptions,
        label: str = "",
        progress: Callable[[float], None] = lambda fraction: None,
    ) -> tuple[str, RegisteredAvatar]:
        """Register a portrait once -> its token and the avatar; equal portraits of an owner share one."""
        return self.avatars.register(
            owner,
            self.engine.fingerprint(source, options.crop),
            lambda: self.engine.register(source, options.crop, progress),
            thumbnail=self._thumbnail,
            label=label,
        )

    def avatar(self, token: str) -> RegisteredAvatar:
        """The avatar of a token, for whoever holds it. Raises UnknownToken, also for another engine's."""
        found = self.avatars.get(token)
        if found.engine != self.engine.name:
            raise UnknownToken(
                f"This avatar was registered for engine '{found.engine}'.", "Register the portrait again."
            )
        return found

    def talk(
        self, owner: str, source: AvatarSource | None, token: str, audio: Path, options: GenerationOptions
    ) -> Generator[Progress, None, Talk]:
        """Make a clip of a portrait, or of the avatar behind `token`; the result lies in the job store.

        Yields progress and returns the result. Closing it cancels: neither a file nor a thread is left.
        """
        job = self.jobs.create(owner)
        work = self.talk_into(job.folder, owner, source, token, audio, options)
        with job.running() as run, closing(work):
            while True:
                try:
                    step = next(work)
                except StopIteration as stop:
                    run.done(stop.value.clip.output)
                    return stop.value
                run.progress(step.fraction or 0.0, step.stage, step.eta_s)
                yield step

    def talk_into(
        self,
        folder: Path,
        owner: str,
        source: AvatarSource | None,
        token: str,
        audio: Path,
        options: GenerationOptions,
        label: str = "",
    ) -> Generator[Progress, None, Talk]:
        """The same, into a folder of the caller's."""
        yield from self.ready()
        started = time.perf_counter()
        yield Progress("register", None, None)
        if source is not None:
            token, avatar = yield from self._preloading(owner, source, options, label)
        elif token:
            avatar = self.avatar(token)
        else:
            raise InputError("No portrait was given.", "Give an image or a video, or an avatar token.")
        register_ms = 1000 * (time.perf_counter() - started)
        output = folder / "talking_head.mp4"
        made = yield from clip(self.engine, avatar, audio, output, options, audio_limits(self.settings))
        return Talk(made, token, register_ms, avatar.is_image)

    def _preloading(
        self, owner: str, source: AvatarSource, options: GenerationOptions, label: str
    ) -> Generator[Progress, None, tuple[str, RegisteredAvatar]]:
        label = label or (source.path.stem if source.path else "")
        work = with_progress(lambda report: self.preload(owner, source, options, label, report))
        with closing(work):
            while True:
                try:
                    yield Progress("register", next(work), None)
                except StopIteration as stop:
                    return stop.value

    def gallery(self, owner: str) -> list[AvatarInfo]:
        """The owner's avatars, newest first."""
        return self.avatars.list(owner)

    def forget(self, owner: str, token: str) -> None:
        """Delete one avatar. Raises UnknownToken, NotYours."""
        self.avatars.delete(owner, token)

    def clear(self, owner: str, scope: Scope) -> dict[str, int]:
        """Delete the owner's results, avatars or both -> how many of each."""
        return {
            "results": self.jobs.clear(owner) if scope in ("results", "all") else 0,
            "avatars": self.avatars.clear(owner) if scope in ("avatars", "all") else 0,
        }

    def close(self) -> None:
        self.engine.close()
        self.avatars.close()
        self.jobs.close()

    def _thumbnail(self, avatar: RegisteredAvatar) -> bytes:
        picture = Image.fromarray(self.engine.preview(avatar))
        picture.thumbnail((_THUMBNAIL, _THUMBNAIL))
        with io.BytesIO() as buffer:
            picture.save(buffer, "JPEG", quality=85)
            return buffer.getvalue()


def _tell(report: Callable[[float], None], progress: "check.Progress") -> None:
    """Bytes of a download as a fraction; 0 while files are looked at."""
    report(progress.done / progress.total if progress.total else 0.0)
