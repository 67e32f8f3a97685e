"""The WebSocket of protocol v2: what a client says, done with its session (docs/protocol.md)."""

import asyncio
import io
import logging
import time
from contextlib import ExitStack
from functools import cache

from PIL import Image
from starlette.types import Message
from starlette.websockets import WebSocket

from core.errors import InputError, TalkerError, UnknownToken, one_line
from core.live import LiveSession
from core.option_table import parse_options
from core.options import GenerationOptions
from core.samples import sample_portrait
from core.types import AvatarSource, RegisteredAvatar
from server.house import House, house_of
from server.live_ear import ear_for
from server.live_line import Gone, Line
from server.live_media import Coder, FragmentCoder, PictureCoder
from server.live_quality import Quality
from server.live_room import Room
from server.owners import check_rate, owner_of
from server.protocol_v2 import (
    SUBPROTOCOL,
    End,
    Interrupt,
    Ping,
    Pong,
    Report,
    Say,
    Start,
    check_sound,
    failure,
    read_message,
)

HELLO_S = 10.0  # from the connection to `start`
_SAMPLE = "sample"
_CLEAN = {1000, 1001}  # codes of a client that closes, unlike one that is lost
_log = logging.getLogger(__name__)


async def serve_v2(socket: WebSocket, client_id: str) -> None:
    """One connection, from its acceptance to its end. `client_id` is for the log alone."""
    await socket.accept(subprotocol=SUBPROTOCOL)
    guest = _Guest(socket, house_of(socket))
    _log.info("Live client %s has come.", one_line(client_id)[:64])
    try:
        async with asyncio.TaskGroup() as tasks:
            listening = tasks.create_task(guest.listen())
            await guest.line.over.wait()
            listening.cancel()
        await guest.line.close()
    finally:
        guest.leave()


class _Rooms:
    """The sessions of one application by their secret."""

    def __init__(self) -> None:
        self._rooms: dict[str, tuple[Room, asyncio.Task[None]]] = {}

    def open(self, room: Room) -> None:
        """Let a session live."""
        task = asyncio.create_task(room.run(), name=f"visavis-room {room.name}")
        self._rooms[room.secret] = room, task
        task.add_done_callback(lambda done: self._ended(room, done))

    def find(self, secret: str) -> Room:
        """The session of a secret. Raises UnknownToken."""
        if secret not in self._rooms:
            raise UnknownToken("This session is over, or there was none.", "Start a new one.")
        return self._rooms[secret][0]

    def _ended(self, room: Room, task: asyncio.Task[None]) -> None:
        del self._rooms[room.secret]
        error = None if task.cancelled() else task.exception()
        if error is not None:
            _log.error("Live session %s failed.", room.name, exc_info=error)


def _rooms(socket: WebSocket) -> _Rooms:
    """The sessions of the application that a connection came to."""
    state = socket.app.state
    if not hasattr(state, "live_rooms"):
        state.live_rooms = _Rooms()
    rooms: _Rooms = state.live_rooms
    return rooms


class _Guest:
    """One connection."""

    def __init__(self, socket: WebSocket, house: House) -> None:
        self._socket, self._house = socket, house
        self.line = Line(socket)
        self._room: Room | None = None

    async def listen(self) -> None:
        """Do what the client says until it goes; what is wrong with it is answered, and goes on."""
        until = asyncio.get_running_loop().time() + HELLO_S
        try:
            while (message := await self._next(until)) is not None:
                try:
                    await self._act(message.get("text"), message.get("bytes"))
                except TalkerError as error:
                    self._house.metrics.error(error.code)
                    await self.line.tell(failure(error))
        except Gone:
            return
        finally:
            self.line.end()

    async def _next(self, until: float) -> Message | None:
        """The next message; none where the client is gone, or does not start before `until`."""
        try:
            async with asyncio.timeout_at(None if self._room else until):
                message = await self._socket.receive()
        except TimeoutError:
            await self.line.tell(failure(InputError(f"No start within {HELLO_S:.0f} s.")))
            return None
        if message["type"] != "websocket.disconnect":
            return message
        self.line.lost()
        if self._room is not None:
            self._room.leave(self.line, is_done=message["code"] in _CLEAN)
        return None

    def leave(self) -> None:
        """The connection is over; its session may wait for another one."""
        if self._room is not None:
            self._room.leave(self.line)

    async def _act(self, text: str | None, data: bytes | None) -> None:
        message = None if text is None else read_message(text)
        if isinstance(message, Ping):
            await self.line.tell(Pong(t=message.t))
        elif isinstance(message, Start):
            await self._start(message)
        elif self._room is None:
            raise InputError("There is no session yet.", "Send start first.")
        elif data is not None:
            check_sound(data)
            await self._room.hear(data)
        elif isinstance(message, Say):
            self._room.say(await asyncio.to_thread(self._house.uploads.find, message.audio))
        elif isinstance(message, End):
            await self._room.end_utterance()
        elif isinstance(message, Interrupt):
            await self._room.interrupt()
        elif isinstance(message, Report):
            self._room.report(message)
        else:
            self._room.stop()

    async def _start(self, start: Start) -> None:
        if self._room is not None:
            raise InputError("This connection has a session already.", "Open another connection.")
        rooms = _rooms(self._socket)
        if start.resume is not None:
            room = rooms.find(start.resume)
            await room.attach(self.line, start.last)
            self._room = room
            return
        asked = time.monotonic()
        check_rate(self._socket)
        with ExitStack() as slot:
            slot.enter_context(self._house.admission.session())
            room = await self._made(start, slot, asked)
        rooms.open(room)
        try:
            await room.attach(self.line, 0)
        except Gone:  # nobody knows its secret
            room.stop()
            raise
        self._room = room

    async def _made(self, start: Start, slot: ExitStack, asked: float) -> Room:
        """The session that was asked for; what `slot` holds is its own from now on."""
        engine = self._house.studio.engine
        options = parse_options(start.options, start.preset, engine.capabilities.defaults)
        avatar = await asyncio.to_thread(_avatar, self._house, owner_of(self._socket), start, options)
        size, quality = engine.canvas_size(avatar, options), Quality()
        coder: Coder = FragmentCoder(size, quality)
        if start.media == "frames":
            coder = PictureCoder(start.image, quality)
        live, ear = LiveSession(engine, avatar, options), ear_for(start.audio_in)
        return Room(self._house, live, coder, quality, ear, size, slot.pop_all(), asked)


def _avatar(house: House, owner: str, start: Start, options: GenerationOptions) -> RegisteredAvatar:
    """The face: of a token, of an upload, or the sample's. Takes its time. Raises InputError."""
    studio = house.studio
    if (start.source is None) == (start.avatar_token is None):
        raise InputError("Either 'source' or 'avatar_token' is needed, and not both.")
    if start.avatar_token is not None:
        return studio.avatar(start.avatar_token)
    if start.source == _SAMPLE:
        source, label = AvatarSource(data=_sample()), _SAMPLE
    else:
        path = house.uploads.find(start.source or "")
        source, label = AvatarSource(path=path), path.stem
    return studio.preload(owner, source, options, label)[1]


@cache
def _sample() -> bytes:
    """The sample portrait as a PNG."""
    with io.BytesIO() as buffer:
        Image.fromarray(sample_portrait()).save(buffer, "PNG")
        return buffer.getvalue()
