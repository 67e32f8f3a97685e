"""One live session of protocol v2. It outlives a lost connection for a while, and ends by itself."""

import asyncio
import secrets
import time
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Literal

from core.errors import InputError, TalkerError
from core.live import LiveSession
from core.talker import audio_limits
from core.types import FPS
from server.house import House
from server.live_ear import Ear
from server.live_line import STUCK_S, Gone, Kept, Line, Ring, Stuck
from server.live_media import Coder, Media, coded
from server.live_quality import Quality
from server.live_speaker import Speaker
from server.protocol_v2 import (
    Bye,
    Interrupted,
    MediaMessage,
    Ready,
    Report,
    ServerMessage,
    Speaking,
    Stats,
    failure,
    pack_media,
)
from server.pump import pumped

RESUME_S = 10.0  # so long a session waits for a client that was lost
MOST_KEPT = 4 * 2**20  # bytes of media that a client can ask for again, or has not confirmed
_STATS_S = 1.0


class _Ended(Exception):
    """The session is to end, for a reason that the client is told."""

    def __init__(self, reason: Literal["idle", "slow", "stopped"]) -> None:
        self.reason = reason


class Room:
    """One session, for the event loop. `run` is its life; everything else is asked by its connection.

    `slot` holds what is given back at the end; `asked` is when the session was asked for, monotonic.
    """

    def __init__(
        self,
        house: House,
        live: LiveSession,
        coder: Coder,
        quality: Quality,
        ear: Ear,
        size: tuple[int, int],
        slot: ExitStack,
        asked: float,
    ) -> None:
        self.name, self.secret = secrets.token_hex(4), secrets.token_urlsafe(32)
        self._house, self._live, self._coder, self._quality = house, live, coder, quality
        self._ear, self._size, self._slot, self._asked = ear, size, slot, asked
        self._ring = Ring(MOST_KEPT)
        self._line: Line | None = None
        self._sent = 0  # the last sequence that this line was given
        self._news = asyncio.Event()  # a line, a confirmation, or the end
        self._is_over = False
        self._voice: Speaking | None = None
        self._speaker = Speaker(live, audio_limits(house.settings), self._failed)
        self._confirms = False
        self._until = 0.0  # media time up to which was sent
        self._frames = 0  # sent since the last figures
        self._told = self._sign = time.monotonic()

    # --- the connection's side

    async def attach(self, line: Line, last: int) -> None:
        """Go on over this line behind sequence `last`; a line before it is ended. Raises InputError, Gone."""
        if not self._ring.oldest - 1 <= last <= self._ring.newest:
            raise InputError(f"Media after sequence {last} is not there any more.", "Start a new session.")
        before, self._line = self._line, None
        if before is not None:
            before.end()
        epoch = self._live.epoch
        await line.tell(
            Ready(session=self.name, resume=self.secret, epoch=epoch, mime=self._coder.mime, size=self._size)
        )
        if self._voice is not None:
            await line.tell(self._voice)
        self._line, self._sent = line, last
        self._quality.forget()
        self._news.set()

    def leave(self, line: Line, is_done: bool = False) -> None:
        """This line is no more; the session waits for another one, or ends where the client is done."""
        if self._line in (line, None):
            self._line = None
            if is_done:
                self.stop()

    def stop(self) -> None:
        """End the session, soon."""
        self._is_over = True
        self._live.close()
        self._news.set()

    async def hear(self, data: bytes) -> None:
        """Sound from the client, to be spoken. Raises BadAudio, Busy, InputError."""
        if self._speaker.is_busy:
            raise InputError("A file is being spoken.", "Wait for its end, or interrupt it.")
        self._sign = time.monotonic()
        samples = await asyncio.to_thread(self._ear.hear, data)
        if len(samples):
            self._live.push(samples)

    async def end_utterance(self) -> None:
        """What was pushed is whole. Raises Busy."""
        samples = await asyncio.to_thread(self._ear.rest)
        if len(samples):
            self._live.push(samples)
        self._live.finish()

    def say(self, audio: Path) -> None:
        """Speak a file behind what waits. Raises Busy where too many files wait."""
        self._sign = time.monotonic()
        self._speaker.say(audio)

    async def interrupt(self) -> None:
        """Be silent at once, and tell the client from which media time on all is new."""
        self._speaker.hush()
        epoch = self._live.interrupt()
        self._ear.forget()
        await self.tell(Interrupted(epoch=epoch, time=self._live.epoch_from / FPS))

    def report(self, report: Report) -> None:
        """How the client's player is."""
        self._sign = time.monotonic()
        self._quality.heard(report, self._until)
        if report.last is not None:
            self._confirms = True
            self._ring.confirm(min(report.last, self._sent))
            self._news.set()

    async def tell(self, message: ServerMessage) -> None:
        """Send words, where there is anyone to hear them."""
        if self._line is not None:
            try:
                await self._line.tell(message)
            except Gone:
                self.leave(self._line)

    # --- the session's own life

    async def run(self) -> None:
        """Send what the session makes until it ends; the client is told why, if it is there."""
        reason: Literal["stopped", "idle", "slow", "failed"] = "failed"
        try:
            async with pumped(coded(self._live.packets(), self._coder)) as stream:
                async for made in stream:
                    for each in made:
                        await self._deliver(each)
                    await self._look_after()
            reason = "stopped"
        except _Ended as ended:
            reason = ended.reason
        except TalkerError as error:
            await self._failed(error)
        finally:
            self._speaker.hush()
            self._slot.close()
            line = self._line
            await self.tell(Bye(reason=reason))
            if line is not None:
                line.end()

    async def _deliver(self, made: Media | Speaking) -> None:
        if not self._is_new(made.epoch):
            return
        if isinstance(made, Speaking):
            self._voice = made
            await self.tell(made)
            return
        metrics, number = self._house.metrics, self._ring.newest + 1
        packed = pack_media(MediaMessage(made.kind, made.epoch, number, made.time, made.payload))
        await self._have_room(len(packed))
        self._ring.add(Kept(made.epoch, packed))
        await self._flush()
        if made.frames and not self._until:
            metrics.first_frame(time.monotonic() - self._asked)
        self._until = made.until
        self._frames += made.frames
        metrics.frames_sent(made.frames)
        metrics.frames_dropped(made.left_out)

    async def _failed(self, error: TalkerError) -> None:
        self._house.metrics.error(error.code)
        await self.tell(failure(error))

    async def _have_room(self, more: int) -> None:
        """A client that confirms what it gets is waited for before anything it lacks is forgotten."""
        since = time.monotonic()
        while self._confirms and self._ring.bytes + more > MOST_KEPT:
            await self._here()
            await self._something_new(STUCK_S - (time.monotonic() - since), "slow")

    async def _flush(self) -> None:
        while self._sent < self._ring.newest:
            line, number = await self._here(), self._sent + 1
            kept = self._ring.get(number)
            try:
                await line.media(kept.data, partial(self._is_new, kept.epoch))
            except Stuck as error:
                raise _Ended("slow") from error
            except Gone:
                self.leave(line)
                continue
            if line is self._line:
                self._sent = number

    def _is_new(self, epoch: int) -> bool:
        return epoch >= self._live.epoch

    async def _here(self) -> Line:
        """The line to the client; where it was lost, another one, which is waited for."""
        until = time.monotonic() + RESUME_S
        while self._line is None:
            await self._something_new(until - time.monotonic(), "stopped")
        return self._line

    async def _something_new(self, within_s: float, otherwise: Literal["slow", "stopped"]) -> None:
        if self._is_over:
            raise _Ended("stopped")
        self._news.clear()
        try:
            async with asyncio.timeout(within_s):
                await self._news.wait()
        except TimeoutError as error:
            raise _Ended(otherwise) from error

    async def _look_after(self) -> None:
        """End a session that nobody uses; once a second judge the line and tell the figures."""
        now = time.monotonic()
        if self._speaker.is_busy or self._live.waiting_s:
            self._sign = now
        if now - self._sign > self._house.settings.session_idle_s:
            raise _Ended("idle")
        if self._line is not None and now - self._told >= _STATS_S:
            await self._figures(self._line, now - self._told)
            self._told = now

    async def _figures(self, line: Line, seconds: float) -> None:
        fps, self._frames = self._frames / seconds, 0
        blocked, line.blocked_s = line.blocked_s / seconds, 0.0
        self._quality.judge(blocked, self._ring.bytes if self._confirms else 0)
        self._house.metrics.session_fps(fps)
        step = self._quality.step
        await self.tell(
            Stats(
                late_s=round(self._live.late_s, 4),
                drift_ms=round(1000 * self._coder.drift_s, 3),
                fps=round(fps, 2),
                crf=step.crf,
                rate_divisor=step.divisor,
                waiting_s=round(self._live.waiting_s, 3),
                sessions=self._house.admission.active,
            )
        )
