"""The work people asked for: how far it is, how it ended, where its result lies, and how to stop it.

One store serves page, REST and chat. Jobs live in memory and end with the process; each has a folder
for its result, below a folder that only this process uses. What a process that died has left there is
removed by the next one to start, which tells the dead by their lock.

    create -> queued -> running -> done | failed | cancelled -> (expired, cleared: gone with its files)
"""

import logging
import secrets
import shutil
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any

from core.errors import Busy, Cancelled, NotYours, StoreFailed, TalkerError, UnknownJob
from core.optimization.store import locked, private_folder

_log = logging.getLogger(__name__)


class State(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"


NO_FIGURES: Mapping[str, Any] = MappingProxyType({})
_STOPPED = "The job was cancelled."
_OPEN = (State.QUEUED, State.RUNNING)


@dataclass(frozen=True)
class JobStatus:
    """A job at one moment. `fraction` is 0..1; `eta_s` None while unknown; `error` is (code, message);
    `figures`, JSON-ready, tell what was made."""

    state: State = State.QUEUED
    fraction: float = 0.0
    stage: str = ""
    eta_s: float | None = None
    result: Path | None = None
    error: tuple[str, str] | None = None
    figures: Mapping[str, Any] = field(default_factory=dict)


class Job:
    """One piece of work. Anyone may read `status` and call `cancel`; the rest is for who does the work:

        with job.running():
            while ...:
                job.progress(fraction, stage, eta_s)   # raises Cancelled once cancel() was called
            job.done(job.folder / "clip.mp4")

    What ends the block early is recorded, and goes on to the caller; the folder is then removed.
    """

    def __init__(self, job_id: str, owner: str, folder: Path) -> None:
        self.id, self.owner, self.folder = job_id, owner, folder
        self.status = JobStatus()
        self.changed = time.monotonic()
        self.result_bytes = 0
        self._lock = threading.Lock()
        self._stop = threading.Event()

    @property
    def cancelled(self) -> bool:
        """True once cancel() was called: the work should end soon."""
        return self._stop.is_set()

    def cancel(self) -> None:
        """Ask for the end; a job that waits ends at once, one that runs at its next look."""
        with self._lock:
            if self.status.state in _OPEN:
                self._stop.set()
            if self.status.state is State.QUEUED:
                self._end(State.CANCELLED, (Cancelled.code, _STOPPED))

    @contextmanager
    def running(self) -> Iterator["Job"]:
        """Do the work inside. Raises Cancelled where the job was cancelled before it began."""
        with self._lock:
            if self.status.state is State.CANCELLED:
                raise Cancelled(_STOPPED)
            if self.status.state is not State.QUEUED:
                raise ValueError(f"a job runs once; this one is {self.status.state}")
            self._set(replace(self.status, state=State.RUNNING))
        state, error = State.FAILED, ("error", "The work broke off unexpectedly.")
        try:
            yield self
        except (Cancelled, GeneratorExit, KeyboardInterrupt) as stopped:
            state, error = State.CANCELLED, (Cancelled.code, str(stopped) or _STOPPED)
            raise
        except TalkerError as failure:
            error = (failure.code, str(failure))
            raise
        finally:
            with self._lock:
                if self.status.state is State.RUNNING:
                    self._end(state, error)

    def progress(self, fraction: float, stage: str, eta_s: float | None = None) -> None:
        """Tell how far the work is. Raises Cancelled once cancel() was called."""
        self._check()
        with self._lock:
            self._set(replace(self.status, fraction=min(max(fraction, 0.0), 1.0), stage=stage, eta_s=eta_s))

    def done(self, result: Path, figures: Mapping[str, Any] = NO_FIGURES) -> None:
        """The work is finished and its result, a file in the job's folder, complete. May raise Cancelled."""
        self._check()
        if result.parent != self.folder or not result.is_file():
            raise ValueError(f"the result of a job is a file in its folder, not {result}")
        with self._lock:
            self.result_bytes = result.stat().st_size
            self._set(
                replace(
                    self.status, state=State.DONE, fraction=1.0, eta_s=0.0, result=result, figures=figures
                )
            )

    def _check(self) -> None:
        if self.cancelled:
            raise Cancelled(_STOPPED)

    def _set(self, status: JobStatus) -> None:
        self.status = status
        self.changed = time.monotonic()

    def _end(self, state: State, error: tuple[str, str]) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        self._set(replace(self.status, state=state, eta_s=None, error=error))


class JobStore:
    """The jobs of this process. Safe to use from any number of threads; owners see their own only.

    Jobs that do not run expire `ttl_s` after their last change (by the monotonic clock, which no one
    sets), with their files. Of more than `max_jobs`, or of results of more than `max_bytes` in all, the
    oldest finished ones go as the next job is made, the asker's own before others'. Raises BadPath
    where `root` cannot be used, StoreFailed where the disk is full.
    """

    def __init__(
        self, root: Path, *, ttl_s: float = 86_400.0, max_jobs: int = 256, max_bytes: int = 4 * 2**30
    ) -> None:
        self._ttl_s, self._max_jobs, self._max_bytes = ttl_s, max_jobs, max_bytes
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()
        self._alive = ExitStack()
        private_folder(root)
        with locked(root / "start.lock", 60):
            _sweep(root)
            self._folder = root / secrets.token_hex(8)
            self._alive.enter_context(locked(_life(self._folder), 0))
            private_folder(self._folder)

    def create(self, owner: str) -> Job:
        """A new job, queued, with an empty folder. Raises Busy where too many are open."""
        with self._lock:
            self._expire()
            self._make_room(owner)
            job_id = secrets.token_urlsafe(24)
            job = Job(job_id, owner, self._folder / job_id)
            try:
                job.folder.mkdir(mode=0o700)
            except OSError as error:
                raise StoreFailed(
                    f"No folder for the result: {error.strerror}.", "Free disk space in VISAVIS_HOME."
                ) from error
            self._jobs[job_id] = job
            return job

    def find(self, job_id: str) -> Job:
        """A job by its id, which is unguessable: who holds it may look. Raises UnknownJob."""
        with self._lock:
            self._expire()
            job = self._jobs.get(job_id)
        if job is None:
            raise _unknown()
        return job

    def get(self, owner: str, job_id: str) -> Job:
        """Raises UnknownJob where the owner has no such job, any more or at all."""
        job = self.find(job_id)
        if job.owner != owner:
            raise _unknown()
        return job

    def remove(self, owner: str, job_id: str) -> Job:
        """Cancel an open job, forget an ended one with its result. Raises UnknownJob, NotYours."""
        job = self.find(job_id)
        if job.owner != owner:
            raise NotYours("This job is not yours.", "Only who started it can end it.")
        job.cancel()
        with self._lock:
            if job.id in self._jobs and job.status.state not in _OPEN:
                self._drop(job)
        return job

    def list(self, owner: str) -> list[Job]:
        """The owner's jobs, newest first."""
        with self._lock:
            self._expire()
            return [job for job in reversed(self._jobs.values()) if job.owner == owner]

    def clear(self, owner: str) -> int:
        """Remove the owner's ended jobs -> how many results went; what is under way goes on."""
        with self._lock:
            self._expire()
            gone = [
                job for job in self._jobs.values() if job.owner == owner and job.status.state not in _OPEN
            ]
            for job in gone:
                self._drop(job)
            return sum(job.status.state is State.DONE for job in gone)

    def close(self) -> None:
        """Cancel what is under way and remove all results."""
        with self._lock:
            for job in self._jobs.values():
                job.cancel()
            self._jobs.clear()
            shutil.rmtree(self._folder, ignore_errors=True)
            _life(self._folder).unlink(missing_ok=True)
            self._alive.close()

    def _make_room(self, owner: str) -> None:
        finished = [job for job in self._jobs.values() if job.status.state not in _OPEN]
        finished.sort(key=lambda job: (job.owner != owner, job.changed), reverse=True)
        kept = sum(job.result_bytes for job in finished)
        while finished and (len(self._jobs) >= self._max_jobs or kept > self._max_bytes):
            oldest = finished.pop()
            kept -= oldest.result_bytes
            self._drop(oldest)
        if len(self._jobs) >= self._max_jobs:
            raise Busy(f"{len(self._jobs)} jobs wait already.", "Try again later.")

    def _expire(self) -> None:
        oldest = time.monotonic() - self._ttl_s
        for job in list(self._jobs.values()):
            if job.status.state is not State.RUNNING and job.changed < oldest:
                job.cancel()  # one that still waits must not start any more
                self._drop(job)

    def _drop(self, job: Job) -> None:
        del self._jobs[job.id]
        shutil.rmtree(job.folder, ignore_errors=True)


def _unknown() -> UnknownJob:
    return UnknownJob("There is no such job: it was never made or has expired.", "Start a new one.")


def _life(folder: Path) -> Path:
    """The lock that a process holds as long as it uses `folder`."""
    return folder.with_suffix(".lock")


def _sweep(root: Path) -> None:
    """Remove the folders of processes that are no more."""
    for life in root.glob("*.lock"):
        folder = life.with_suffix("")
        if life.name == "start.lock":
            continue
        with locked(life, 0) as dead:
            if dead:
                _log.info("results of an earlier process in %s are removed", folder.name)
                shutil.rmtree(folder, ignore_errors=True)
                life.unlink(missing_ok=True)
