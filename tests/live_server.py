"""The whole application under uvicorn, in this process, on a free port of 127.0.0.1."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from core.contracts import Engine
from core.engines import registry
from core.engines.registry import Running
from core.settings import Settings
from core.studio import Studio
from server.application import ALL, create_app
from server.connections import ImpatientProtocol
from server.house import House

_START_S, _STOP_S = 30.0, 20.0


@dataclass(frozen=True)
class LiveServer:
    """Where it listens (`host:port`), and what is behind it."""

    address: str
    house: House

    @property
    def http(self) -> str:
        return f"http://{self.address}"

    @property
    def ws(self) -> str:
        return f"ws://{self.address}"


@contextmanager
def studio_in(home: Path, engine: Engine | None = None, **values: Any) -> Iterator[Studio]:
    """A studio of its own in `home`, with the engine handed in, else lite; `values` are settings."""
    if engine is None:
        studio = Studio(Settings(home=home, engine="lite", **values))
    else:
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(
                registry.ENGINES, "handed-in", lambda settings, report: Running(engine, "for a test")
            )
            studio = Studio(Settings(home=home, engine="handed-in", **values))
    try:
        yield studio
    finally:
        studio.close()


@contextmanager
def live_server(
    home: Path, engine: Engine | None = None, parts: Sequence[str] = ALL, **values: Any
) -> Iterator[LiveServer]:
    """Serve until the block ends: `with live_server(tmp_path, FakeEngine(), max_sessions=2) as server`."""
    with studio_in(home, engine, **values) as studio, socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = create_app(studio, studio.settings, parts)
        config = uvicorn.Config(
            app,
            http=ImpatientProtocol,
            ws="wsproto",
            log_config=None,
            timeout_graceful_shutdown=3,
            access_log=False,
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listener],), name="live-server")
        thread.start()
        try:
            until = time.monotonic() + _START_S
            while not server.started:
                assert thread.is_alive() and time.monotonic() < until, "the server did not start"
                time.sleep(0.01)
            host, port = listener.getsockname()
            yield LiveServer(f"{host}:{port}", app.state.house)
        finally:
            server.should_exit = True
            thread.join(_STOP_S)
            assert not thread.is_alive(), "the server did not stop"
