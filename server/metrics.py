"""Figures for Prometheus, told by what happened."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_FFD = (0.05, 0.1, 0.2, 0.3, 0.5, 0.8, 1.2, 2.0, 4.0, 8.0)
_RTF = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.5, 5.0, 10.0)


class Metrics:
    """One application's figures, in a registry of their own."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self._ffd = Histogram(
            "visavis_ffd_seconds", "From a request to its first frame", buckets=_FFD, registry=registry
        )
        self._rtf = Histogram(
            "visavis_rtf", "Working time over the length of the sound", buckets=_RTF, registry=registry
        )
        self._fps = Gauge("visavis_fps", "Frames a second of the last clip or session", registry=registry)
        self._frames = Counter("visavis_frames_sent", "Frames sent to live sessions", registry=registry)
        self._dropped = Counter(
            "visavis_frames_dropped", "Frames left out of live sessions", registry=registry
        )
        self._jobs = Counter("visavis_jobs", "Clips asked for", ["state"], registry=registry)
        self._errors = Counter("visavis_errors", "Errors answered", ["code"], registry=registry)
        self._found = Gauge("visavis_cache_hits", "Avatars that were prepared already", registry=registry)
        self._made = Gauge("visavis_cache_misses", "Avatars that had to be prepared", registry=registry)
        self._sessions = Gauge("visavis_sessions", "Live sessions now", registry=registry)
        self._queue = Gauge("visavis_queue", "Requests that wait or run now", registry=registry)

    def watch(
        self,
        sessions: Callable[[], float],
        queue: Callable[[], float],
        hits: Callable[[], float],
        misses: Callable[[], float],
    ) -> None:
        """Where what others count is to be had: live sessions, requests that wait or run, avatars found
        and made."""
        self._sessions.set_function(sessions)
        self._queue.set_function(queue)
        self._found.set_function(hits)
        self._made.set_function(misses)

    def first_frame(self, seconds: float) -> None:
        """A first frame came so long after it was asked for."""
        self._ffd.observe(seconds)

    def clip_done(self, ffd_s: float, rtf: float, fps: float) -> None:
        """A clip was made; `fps` is how fast its frames came."""
        self.first_frame(ffd_s)
        self._rtf.observe(rtf)
        self._fps.set(fps)

    def job_ended(self, state: str) -> None:
        """A clip that was asked for is done, failed or cancelled."""
        self._jobs.labels(state).inc()

    def session_fps(self, fps: float) -> None:
        """A live session sends so many frames a second."""
        self._fps.set(fps)

    def frames_sent(self, count: int = 1) -> None:
        self._frames.inc(count)

    def frames_dropped(self, count: int = 1) -> None:
        self._dropped.inc(count)

    def error(self, code: str) -> None:
        """An error of ours was answered."""
        self._errors.labels(code).inc()

    def text(self) -> bytes:
        """All figures in Prometheus' text format."""
        return generate_latest(self._registry)
