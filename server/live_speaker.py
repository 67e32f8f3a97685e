"""Files that a live session speaks, one after another, read while they are spoken."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

from core.errors import Busy, TalkerError
from core.live import LiveSession
from core.media.audio import AudioLimits, open_audio
from core.talker import CHUNK
from server.pump import pumped

_AHEAD_S, _POLL_S = 4.0, 0.1  # so much is read before it is spoken
_MOST = 8  # files that wait


class Speaker:
    """For the event loop. What is wrong with a file goes to `failed`; the next one is spoken then."""

    def __init__(
        self, live: LiveSession, limits: AudioLimits, failed: Callable[[TalkerError], Awaitable[None]]
    ) -> None:
        self._live, self._limits, self._failed = live, limits, failed
        self._files: deque[Path] = deque()
        self._task: asyncio.Task[None] | None = None

    @property
    def is_busy(self) -> bool:
        return self._task is not None

    def say(self, audio: Path) -> None:
        """Speak a file behind those that wait. Raises Busy where too many do."""
        if len(self._files) >= _MOST:
            raise Busy(f"{_MOST} files wait to be spoken already.", "Wait, or interrupt.")
        self._files.append(audio)
        if self._task is None:
            self._task = asyncio.create_task(self._speak(), name="visavis-speaker")

    def hush(self) -> None:
        """Nothing more of any file."""
        task, self._task = self._task, None
        self._files.clear()
        if task is not None:
            task.cancel()

    async def _speak(self) -> None:
        while self._files:
            try:
                await self._speak_file(self._files.popleft())
            except TalkerError as error:
                await self._failed(error)
        self._task = None

    async def _speak_file(self, path: Path) -> None:
        sound = await asyncio.to_thread(open_audio, path, self._limits)
        async with pumped(sound.chunks(CHUNK)) as chunks:
            async for chunk in chunks:
                while self._live.waiting_s > _AHEAD_S:
                    await asyncio.sleep(_POLL_S)
                self._live.push(chunk.samples)
        self._live.finish()
