"""Connections that never say what they want are closed; others are not."""

import socket
import time
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

from server import connections
from tests.fakes import FakeEngine
from tests.live_server import live_server

LIMIT = 0.3


def closed_within(connection: socket.socket, seconds: float) -> bool:
    connection.settimeout(seconds)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


@pytest.mark.parametrize("head", [b"", b"G", b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: "])
def test_a_head_that_does_not_end_is_not_waited_for(
    head: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "HEAD_S", LIMIT)
    with live_server(tmp_path, FakeEngine()) as server:
        host, port = server.address.split(":")
        with closing(socket.create_connection((host, int(port)))) as slow:
            slow.sendall(head)
            assert closed_within(slow, 20 * LIMIT)


def test_who_speaks_in_time_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An HTTP connection that is kept, and a WebSocket, are older than the limit."""
    monkeypatch.setattr(connections, "HEAD_S", LIMIT)
    with (
        live_server(tmp_path, FakeEngine()) as server,
        httpx.Client(base_url=f"http://{server.address}") as client,
        connect(f"ws://{server.address}/ws/me") as live,
    ):
        assert client.get("/healthz").status_code == 200
        time.sleep(2 * LIMIT)
        assert client.get("/healthz").status_code == 200
        live.send('{"type": "ping"}')
        assert "pong" in str(live.recv(timeout=5))
