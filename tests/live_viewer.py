"""A client of protocol v2 for tests: it keeps what it is sent, and can say what it saw and heard."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import Any, TypeVar

import av
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from server.protocol_v2 import (
    SUBPROTOCOL,
    Failure,
    Kind,
    MediaMessage,
    Ready,
    ServerMessage,
    read_answer,
    read_media,
)
from tests.live_server import LiveServer

W = TypeVar("W", bound=ServerMessage)
NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_PATIENCE_S = 20.0


class Viewer:
    """One connection; `words` and `media` hold what came, in order."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.words: list[ServerMessage] = []
        self.media: list[MediaMessage] = []
        self.order: list[ServerMessage | MediaMessage] = []

    async def send(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def start(self, **given: Any) -> Ready:
        """Start a session, of the sample where nothing else is said, and wait for `ready`."""
        if not {"source", "avatar_token", "resume"} & given.keys():
            given["source"] = "sample"
        await self.send(type="start", **given)
        return await self.word(Ready)

    async def take(self) -> ServerMessage | MediaMessage:
        """The next message."""
        async with asyncio.timeout(_PATIENCE_S):
            data = await self.socket.recv()
        got: ServerMessage | MediaMessage
        if isinstance(data, str):
            got = read_answer(data)
            self.words.append(got)
        else:
            got = read_media(data)
            self.media.append(got)
        self.order.append(got)
        return got

    async def word(self, kind: type[W], fits: Callable[[W], bool] = lambda word: True) -> W:
        """Go on until such a message comes."""
        while not (isinstance(got := await self.take(), kind) and fits(got)):
            pass
        return got

    async def failure(self) -> Failure:
        return await self.word(Failure)

    async def until(self, media_s: float) -> None:
        """Go on until media from this time on comes."""
        while not (isinstance(got := await self.take(), MediaMessage) and got.time >= media_s):
            pass

    def played(self) -> tuple[list[float], list[float], float, np.ndarray]:
        """Fragments as a player has them: times and brightness of pictures, where sound begins, sound."""
        return decoded([m for m in self.media if m.kind in (Kind.HEADER, Kind.FRAGMENT)])


@asynccontextmanager
async def viewer(
    server: LiveServer,
    client: str = "tests",
    query: str = "",
    headers: Mapping[str, str] = NO_HEADERS,
    max_queue: int | None = None,
) -> AsyncIterator[Viewer]:
    """A connection to the server; `max_queue` messages (None: all) are read ahead."""
    address = f"{server.ws}/ws/{client}{query}"
    async with connect(
        address,
        subprotocols=[SUBPROTOCOL],
        compression=None,
        additional_headers=dict(headers),
        max_queue=max_queue,
    ) as socket:
        assert socket.subprotocol == SUBPROTOCOL
        yield Viewer(socket)


def decoded(media: list[MediaMessage]) -> tuple[list[float], list[float], float, np.ndarray]:
    """What a player makes of headers and fragments: it begins anew at each header."""
    times, levels, sounds, begin = [], [], [], -1.0
    for part in runs(media):
        with av.open(io.BytesIO(b"".join(message.payload for message in part))) as container:
            for packet in container.demux():
                for frame in packet.decode():
                    if isinstance(frame, av.VideoFrame):
                        times.append(round(float(frame.time), 4))
                        levels.append(float(frame.to_ndarray(format="rgb24").mean()))
                    else:
                        begin = float(frame.time) if begin < 0 else begin
                        sounds.append(frame.to_ndarray()[0])
    return times, levels, begin, np.concatenate([np.zeros(0, np.float32), *sounds])


def runs(media: list[MediaMessage]) -> list[list[MediaMessage]]:
    """Cut at the headers."""
    parts: list[list[MediaMessage]] = []
    for message in media:
        if message.kind is Kind.HEADER:
            parts.append([])
        parts[-1].append(message)
    return parts
