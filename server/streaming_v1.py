"""One client of the streaming protocol's version 1: messages in, frames out at 25 a second.

A connection has one stream at a time. The stream's work runs on a thread of its own; the frames wait in a
queue for the client, and where that is full they are dropped. A client that takes nothing for a while, or
is gone, ends all of it.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import ExitStack
from pathlib import Path

from starlette.websockets import WebSocket, WebSocketDisconnect

from core.errors import BadPath, InputError, TalkerError, one_line
from core.types import FPS
from server import protocol_v1 as protocol
from server.clip_v1 import Length, Order, Rules, clip_frames, options_of
from server.house import house_of
from server.owners import check_rate, owner_of
from server.pictures_v1 import QUEUE
from server.protocol_v1 import Ping, Start, Stop
from server.pump import pumped

_LEAD_S = 0.3  # frames may leave so much before their time: what a player has in hand
_PATIENCE_S = 10.0  # a client that takes nothing for so long is given up
_TELL = 100  # frames between two lines of the log
_log = logging.getLogger(__name__)
_Queue = asyncio.Queue[str | bytes | None]  # None: the last frame is through


async def serve_v1(socket: WebSocket, client_id: str) -> None:
    """Serve a client that is not accepted yet, until it goes."""
    await socket.accept()
    try:
        async with asyncio.TaskGroup() as tasks:
            await _Connection(socket, one_line(client_id)[:60], tasks).listen()
    except* WebSocketDisconnect:
        pass
    except* TimeoutError:
        _log.warning("%s takes nothing any more: given up", one_line(client_id)[:60])


class _Connection:
    def __init__(self, socket: WebSocket, client: str, tasks: asyncio.TaskGroup) -> None:
        self._socket, self._client, self._tasks = socket, client, tasks
        self._house, self._owner = house_of(socket), owner_of(socket)
        self._rules: Rules = getattr(socket.app.state, "v1", Rules())
        self._stream: asyncio.Task[None] | None = None

    @property
    def _active(self) -> bool:
        return self._stream is not None and not self._stream.done()

    async def listen(self) -> None:
        """Answer messages until the client goes, or is silent for too long without a stream."""
        try:
            while True:
                try:
                    async with asyncio.timeout(self._house.settings.session_idle_s):
                        message = await self._socket.receive()
                except TimeoutError:
                    if self._active:
                        continue
                    await self._socket.close(1001, "idle for too long")
                    return
                if message["type"] == "websocket.disconnect":
                    return
                try:
                    await self._answer(protocol.read_request(message.get("text")))
                except InputError as error:
                    self._house.metrics.error(error.code)
                    await self._send(protocol.error(str(error)))
        finally:
            if self._stream is not None:
                self._stream.cancel()

    async def _answer(self, request: Start | Stop | Ping) -> None:
        if isinstance(request, Ping):
            await self._send(protocol.pong(time.time()))
        elif isinstance(request, Stop):
            await self._stop()
        elif self._active:
            await self._send(protocol.error(protocol.ALREADY_ACTIVE))
        else:
            await self._start(request)

    async def _stop(self) -> None:
        if self._stream is not None and not self._stream.done():
            self._stream.cancel()
            await asyncio.wait({self._stream})
            await self._send(protocol.stopped(time.time()))

    async def _start(self, start: Start) -> None:
        slot = ExitStack()
        try:
            check_rate(self._socket)
            order = self._order(start)
            slot.enter_context(self._house.admission.session())
        except TalkerError as error:
            self._house.metrics.error(error.code)
            at_once = isinstance(error, BadPath)  # these have a text of their own
            text = error.message if at_once else f"Failed to create streaming task: {error}"
            await self._send(protocol.error(text))
            return
        self._stream = self._tasks.create_task(self._run(start, order, slot))
        self._stream.add_done_callback(lambda _: slot.close())  # also where it is cancelled before it began

    def _order(self, start: Start) -> Order:
        """What is asked for. Raises BadPath, BadOption."""
        source = self._uploaded(start.source_path, "Source") if start.source_path else None
        audio = self._uploaded(start.audio_path, "Audio")
        options = options_of(self._house.studio, self._rules, start.options)
        return Order(self._owner, source, start.avatar_token, audio, options)

    def _uploaded(self, given: str, what: str) -> Path:
        try:
            return self._house.uploads.find(given)
        except BadPath as error:
            raise BadPath(f"{what} file not found: {given}") from error

    async def _run(self, start: Start, order: Order, slot: ExitStack) -> None:
        """One stream, from its first message to its last."""
        await self._send(protocol.started(start, time.time()))
        queue = _Queue(QUEUE)
        work = clip_frames(self._house.studio, order, self._rules.pictures, queue.qsize)
        with slot:
            async with pumped(work) as items, asyncio.TaskGroup() as tasks:
                tasks.create_task(self._send_all(queue))
                last = await self._fill(items, queue, start.binary)
                await queue.put(None)
        for text in last:
            await self._send(text)

    async def _fill(
        self, items: AsyncGenerator[Length | bytes, None], queue: _Queue, binary: bool
    ) -> tuple[str, ...]:
        """Put the frames into the queue, each in its time -> the messages that end the stream."""
        clock, asked = asyncio.get_running_loop().time, time.monotonic()
        began, count = 0.0, 0
        try:
            async for item in items:
                if isinstance(item, Length):
                    await self._send(protocol.metadata(item.seconds, item.frames, time.time()))
                    continue
                if not count:
                    began = clock()
                    self._house.metrics.first_frame(time.monotonic() - asked)
                await asyncio.sleep(began + count / FPS - _LEAD_S - clock())
                self._put(queue, count, item, binary)
                count += 1
        except TalkerError as error:
            self._house.metrics.error(error.code)
            return (protocol.error(f"Streaming error: {error}"),)
        except (WebSocketDisconnect, TimeoutError):  # of the client, to whom nothing can be said
            raise
        except Exception:  # the last stop before the client, who is not to see what went wrong inside
            _log.exception("The stream of %s failed", self._client)
            self._house.metrics.error("internal")
            return (protocol.error("Streaming error: something went wrong in the server."),)
        return protocol.writer_closed(count, time.time()), protocol.completed(time.time())

    def _put(self, queue: _Queue, index: int, picture: bytes, binary: bool) -> None:
        if index % _TELL == 0:
            _log.info("%s: frame %d, queue≈%d", self._client, index, queue.qsize())
        if queue.full():
            _log.warning("Dropping frame for %s: queue full (%d)", self._client, QUEUE)
            self._house.metrics.frames_dropped()
            return
        now, mime = time.time(), self._rules.pictures.mime
        if binary:
            queue.put_nowait(protocol.build_binary_frame_payload(index, now, picture))
        else:
            queue.put_nowait(protocol.frame(index, picture, mime, now))

    async def _send_all(self, queue: _Queue) -> None:
        while (message := await queue.get()) is not None:
            await self._send(message)
            self._house.metrics.frames_sent()

    async def _send(self, message: str | bytes) -> None:
        """Raises WebSocketDisconnect, and TimeoutError where the client takes nothing."""
        async with asyncio.timeout(_PATIENCE_S):
            if isinstance(message, bytes):
                await self._socket.send_bytes(message)
            else:
                await self._socket.send_text(message)
