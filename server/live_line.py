"""The way to one client, and what is kept of what went over it until the client has it."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

from starlette.websockets import WebSocket, WebSocketDisconnect

from server.protocol_v2 import ServerMessage

STUCK_S = 10.0  # a client that takes nothing for so long is dropped
_CLOSE_S = 1.0  # for its answer to our closing


class Gone(Exception):
    """The connection is no more."""


class Stuck(Gone):
    """The client takes nothing."""


class Line:
    """The outgoing side of one connection, for the event loop. One message at a time goes out."""

    def __init__(self, socket: WebSocket) -> None:
        self._socket, self._lock = socket, asyncio.Lock()
        self._is_lost = False
        self.over = asyncio.Event()
        self.blocked_s = 0.0  # spent waiting for the client to take something, in all

    async def tell(self, message: ServerMessage) -> None:
        """Send words. Raises Gone, Stuck."""
        async with self._turn():
            await self._socket.send_text(message.model_dump_json(exclude_none=True))

    async def media(self, data: bytes, is_wanted: Callable[[], bool]) -> None:
        """Send media, unless it is not wanted any more when its turn comes. Raises Gone, Stuck."""
        async with self._turn():
            if is_wanted():
                await self._socket.send_bytes(data)

    def end(self) -> None:
        """Nothing more goes out."""
        self.over.set()

    def lost(self) -> None:
        """The client has closed, or is not there any more."""
        self._is_lost = True
        self.end()

    async def close(self) -> None:
        """Close the connection, if it still stands."""
        self.end()
        if self._is_lost:
            return
        try:
            async with asyncio.timeout(_CLOSE_S):
                await self._socket.close()
        except (TimeoutError, WebSocketDisconnect):
            return  # the server's transport is closed when the route returns

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None, None]:
        """One message's time on the line: alone, bounded, measured."""
        began = time.monotonic()
        try:
            async with asyncio.timeout(STUCK_S), self._lock:
                if self._is_lost or self.over.is_set():
                    raise Gone
                yield
        except TimeoutError as error:
            raise Stuck from error
        except WebSocketDisconnect as error:
            self._is_lost = True  # whoever listens learns how the client went, and ends the line
            raise Gone from error
        finally:
            self.blocked_s += time.monotonic() - began


class Kept(NamedTuple):
    """A packed media message and its epoch."""

    epoch: int
    data: bytes


class Ring:
    """The last media messages by their sequence, from 1: at most so many bytes of them, and the newest."""

    def __init__(self, most_bytes: int) -> None:
        self._most, self._held = most_bytes, deque[Kept]()
        self.newest = self.bytes = 0

    @property
    def oldest(self) -> int:
        """The first sequence that is held; one more than `newest` where nothing is."""
        return self.newest - len(self._held) + 1

    def add(self, kept: Kept) -> None:
        """The next message; the oldest make room for it."""
        self._held.append(kept)
        self.newest += 1
        self.bytes += len(kept.data)
        while self.bytes > self._most and len(self._held) > 1:
            self._drop()

    def get(self, sequence: int) -> Kept:
        """A message that is held."""
        return self._held[sequence - self.oldest]

    def confirm(self, last: int) -> None:
        """The client has all up to `last`."""
        while self._held and self.oldest <= last:
            self._drop()

    def _drop(self) -> None:
        self.bytes -= len(self._held.popleft().data)
