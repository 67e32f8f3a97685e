"""A Hugging Face hub on the loopback: one repository, small files, and the faults that a test asks for."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from core.checkpoints.catalogue import REPOSITORY, VARIANTS

FIRST, SECOND = "1" * 40, "2" * 40


def published() -> dict[str, bytes]:
    """A content for every file of the catalogue; the same in every process."""
    paths = sorted({asset.path for variant in VARIANTS.values() for asset in variant.assets})
    return {path: hashlib.sha256(path.encode()).digest() * (40 + index) for index, path in enumerate(paths)}


def git_id(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


class FakeHub:
    """What the hub holds and how it misbehaves. `requests` keeps the method and path of each request."""

    def __init__(self) -> None:
        self.commits = {FIRST: published()}
        self.branches = {"main": FIRST}
        self.requests: list[str] = []
        self.cut: dict[str, int] = {}  # path -> how many of its next downloads break off in the middle
        self.wrong: dict[str, int] = {}  # path -> how many of its next downloads have another content
        self.short: set[str] = set()  # paths whose content is one byte shorter than the hub says
        self.hold: dict[str, threading.Event] = {}  # path -> its download halts in the middle until set
        self.resumed: list[str] = []  # paths of downloads that went on where they had broken off
        self.status = 200
        self.endpoint = ""

    def fetched(self) -> list[str]:
        return [
            line.partition("/resolve/")[2][41:] for line in self.requests if line.startswith("GET /digital")
        ]

    def tree(self, commit: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for path, content in self.commits[commit].items():
            row: dict[str, Any] = {"type": "file", "path": path, "size": len(content), "oid": git_id(content)}
            if not path.endswith(".pkl"):  # these lie in git itself
                digest = hashlib.sha256(content).hexdigest()
                row["lfs"] = {"oid": digest, "size": len(content), "pointerSize": 130}
            rows.append(row)
        return rows


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        hub, path = self.hub, unquote(self.path.partition("?")[0])
        hub.requests.append(f"{self.command} {path}")
        api = f"/api/models/{REPOSITORY}/"
        if hub.status != 200:
            self._answer(hub.status, b"{}")
        elif path.startswith(f"{api}revision/"):
            self._revision(path.rpartition("/")[2])
        elif path.startswith(f"{api}tree/"):
            self._answer(200, json.dumps(hub.tree(path.split("/")[6])).encode())
        elif found := re.fullmatch(f"/{REPOSITORY}/resolve/([0-9a-f]{{40}})/(.+)", path):
            self._file(found[1], found[2])
        else:
            self._answer(404, b"{}")

    def _revision(self, name: str) -> None:
        commit = self.hub.branches.get(name, name)
        if commit not in self.hub.commits:
            self._answer(404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        else:
            self._answer(200, json.dumps({"id": REPOSITORY, "sha": commit, "siblings": []}).encode())

    def _file(self, commit: str, path: str) -> None:
        content = self.hub.commits[commit].get(path)
        if content is None:
            self._answer(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
            return
        row = next(row for row in self.hub.tree(commit) if row["path"] == path)
        etag = row["lfs"]["oid"] if "lfs" in row else row["oid"]
        headers = {"X-Repo-Commit": commit, "ETag": f'"{etag}"', "X-Linked-Etag": f'"{etag}"',
                   "X-Linked-Size": str(len(content)), "Accept-Ranges": "bytes"}  # fmt: skip
        if self.command == "GET" and self._due(self.hub.wrong, path):
            content = bytes(len(content))
        if self.command == "GET" and path in self.hub.short:
            content = content[:-1]
        start = int((re.match(r"bytes=(\d+)-", self.headers.get("Range", "")) or [0, 0])[1])
        if start:
            self.hub.resumed.append(path)
        self._answer(206 if start else 200, content[start:], headers, path)

    def _due(self, faults: dict[str, int], path: str) -> bool:
        faults[path] = faults.get(path, 0) - 1
        return faults[path] >= 0

    def _answer(
        self, status: int, content: bytes, headers: dict[str, str] | None = None, path: str = ""
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        half = len(content) // 2
        if path in self.hub.hold:
            self.wfile.write(content[:half])
            self.wfile.flush()
            self.hub.hold[path].wait(60)
            content = content[half:]
        elif path and self._due(self.hub.cut, path):
            self.wfile.write(content[:half])
            return
        try:
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):
            return  # who asked is dead


@contextmanager
def serving(hub: FakeHub) -> Iterator[FakeHub]:
    """Serve until the block ends; `hub.endpoint` is the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        for event in hub.hold.values():
            event.set()
        server.shutdown()
        server.server_close()
        thread.join()
