"""A face that goes on: sound comes when it comes, frames leave at 25 a second, and in between it idles.

The engine hears one endless stream: what was pushed, and silence where nothing was; so speech begins and ends
without a jump. A frame and its sound leave together, and their count is the clock of both.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass

import numpy as np

from core.contracts import Engine
from core.errors import Busy
from core.options import GenerationOptions
from core.talker import Session
from core.types import FPS, SAMPLE_RATE, SAMPLES_PER_FRAME, AudioChunk, RegisteredAvatar

_POLL_S = 0.01
_STALLED_S = 1.0  # more than so much behind its clock the stream does not make up for
_SILENCE = np.zeros(SAMPLES_PER_FRAME, np.float32)
_IN_HAND = 3 * SAMPLES_PER_FRAME  # of sound with which speech begins: it seldom comes evenly
_STALE = 5  # frames after which what there is is spoken, the rest of its frame silent


@dataclass(frozen=True)
class Packet:
    """One frame and the sound that goes with it.

    `index` counts what leaves, from 0: media time is index / FPS. rgb uint8 (H, W, 3); sound float32 (640,),
    16 kHz. `epoch` counts interruptions; `speaking` tells pushed sound from idling.
    """

    index: int
    rgb: np.ndarray
    sound: np.ndarray
    epoch: int
    speaking: bool


@dataclass(frozen=True)
class _Heard:
    """What the engine was given for one frame."""

    sound: np.ndarray
    epoch: int
    speaking: bool


@dataclass(frozen=True)
class LiveClock:
    """What time it is and how to wait; another one for tests that run faster."""

    now: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


class LiveSession:
    """One listener's live stream. `packets` is pulled on one thread; all else may be called from others.

    `lead_s` seconds of packets may leave before their time, so that a player has something in hand. At most
    `most_s` seconds of sound wait.
    """

    def __init__(
        self,
        engine: Engine,
        avatar: RegisteredAvatar,
        options: GenerationOptions,
        *,
        lead_s: float = 0.3,
        most_s: float = 60.0,
        clock: LiveClock = LiveClock(),
    ) -> None:
        self._session: Session | None = Session(engine, avatar, options)
        self._lead = lead_s + engine.lookahead(options) / SAMPLE_RATE
        self._most = int(most_s * SAMPLE_RATE)
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting = np.zeros(0, np.float32)
        self._ended = True  # no more sound is to come for the utterance that waits
        self._speaks = False  # the frame before was of pushed sound
        self._short = 0  # frames for which less sound waits than is needed
        self._heard: deque[_Heard] = deque()
        self._epoch = self._epoch_from = 0
        self._left = 0  # packets that have left
        self._began: float | None = None
        self._closed = threading.Event()

    # --- from any thread

    def push(self, samples: np.ndarray) -> None:
        """Sound to be spoken, float32 (n,) at 16 kHz, behind what waits. Raises Busy where too much does."""
        with self._lock:
            if len(self._waiting) + len(samples) > self._most:
                waits = len(self._waiting) / SAMPLE_RATE
                raise Busy(f"{waits:.0f} s of sound wait to be spoken already.", "Send it in real time.")
            self._waiting = np.concatenate([self._waiting, samples])
            self._ended = False

    def finish(self) -> None:
        """The utterance is whole: the rest of its last frame is silence."""
        with self._lock:
            self._ended = True

    def interrupt(self) -> int:
        """Be silent from now on: what waits, and what is on its way, is dropped -> the new epoch."""
        with self._lock:
            self._epoch, self._epoch_from = self._epoch + 1, self._left
            self._waiting, self._ended = self._waiting[:0], True
            if self._began is not None:  # a player drops what it has in hand, and needs as much again
                self._began = self._clock.now() - self._left / FPS
            return self._epoch

    def close(self) -> None:
        """End the stream: `packets` returns soon."""
        self._closed.set()

    @property
    def epoch(self) -> int:
        return self._epoch

    @property
    def epoch_from(self) -> int:
        """The index of the first packet of this epoch."""
        return self._epoch_from

    @property
    def waiting_s(self) -> float:
        """Seconds of sound that wait to be spoken."""
        return len(self._waiting) / SAMPLE_RATE

    @property
    def late_s(self) -> float:
        """By how much the stream is behind its clock; below 0 it has something in hand."""
        began = self._began
        return 0.0 if began is None else self._clock.now() - began - self._left / FPS

    # --- from the thread that pulls

    def packets(self) -> Generator[Packet, None, None]:
        """The stream, until it is closed. Raises what the engine raises."""
        session, self._session = self._session, None  # with the stream's end the avatar's files are let go
        if session is None:
            raise ValueError("the packets of a live session are taken once")
        with closing(session.frames(self._sound())) as frames:
            for frame in frames:
                with self._lock:
                    if not self._heard:  # the end: some lengths of sound have a frame more than they fill
                        return
                    heard = self._heard.popleft()
                    if heard.epoch != self._epoch:
                        continue
                    index, self._left = self._left, self._left + 1
                yield Packet(index, frame.rgb, heard.sound, heard.epoch, heard.speaking)
                if self._closed.is_set():
                    return

    def _sound(self) -> Iterator[AudioChunk]:
        """A frame of sound whenever one is due."""
        self._began = self._clock.now()
        start = 0
        while self._due():
            with self._lock:
                heard = self._next()
                self._heard.append(heard)
            yield AudioChunk(heard.sound, start)
            start += SAMPLES_PER_FRAME

    def _due(self) -> bool:
        """Wait until the next frame may be made; False where the stream was closed."""
        while not self._closed.is_set():
            with self._lock:
                assert self._began is not None
                under_way = sum(heard.epoch == self._epoch for heard in self._heard)
                early = self._began + (self._left + under_way) / FPS - self._lead - self._clock.now()
                if early < -_STALLED_S - self._lead:  # nobody took packets for a while
                    self._began -= early + self._lead
            if early <= 0:
                return True
            self._clock.sleep(min(early, _POLL_S))
        return False

    def _next(self) -> _Heard:
        waiting = self._waiting
        least = SAMPLES_PER_FRAME if self._speaks else _IN_HAND
        self._short = self._short + 1 if 0 < len(waiting) < least else 0
        ready = len(waiting) >= least or self._ended or self._short > _STALE
        self._speaks = ready and len(waiting) > 0
        if not self._speaks:
            return _Heard(_SILENCE, self._epoch, False)
        sound, self._waiting = waiting[:SAMPLES_PER_FRAME], waiting[SAMPLES_PER_FRAME:]
        return _Heard(np.pad(sound, (0, SAMPLES_PER_FRAME - len(sound))), self._epoch, True)
