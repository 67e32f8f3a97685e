"""HTTP connections that do not wait for ever: who does not finish a request's head is let go."""

import asyncio

from uvicorn.protocols.http.h11_impl import H11Protocol

HEAD_S = 10.0  # from the connection's beginning to the end of its first request's head


class ImpatientProtocol(H11Protocol):
    """uvicorn's HTTP/1.1, with a limit for the first head; kept-alive connections have uvicorn's own."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._limit = self.loop.call_later(HEAD_S, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        self._limit.cancel()
        super().connection_lost(exc)

    def _give_up(self) -> None:
        upgraded = self.transport.get_protocol() is not self  # it speaks WebSocket by now
        if self.cycle is None and not upgraded:
            self.transport.close()
