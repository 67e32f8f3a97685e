"""Uploaded files: whose they are, what is refused, when they go; and bodies that are read no further."""

import asyncio
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.datastructures import UploadFile
from starlette.requests import Request

from core.errors import BadAudio, BadImage, BadPath, BadRequest, Busy, Cancelled, RateLimited, TooLong
from core.settings import Settings
from server import forms
from server.admission import Admission, Rates
from server.forms import form_of
from server.uploads import Uploads
from tests.fakes import FakeEngine
from tests.live_server import LiveServer, live_server

ME, OTHER = "a" * 40, "b" * 40
MIB = 2**20


def save(uploads: Uploads, name: str = "a.wav", data: bytes = b"sound", owner: str = ME) -> Path:
    kind: Any = "audio" if name.lower().endswith((".wav", ".txt")) else "source"
    return asyncio.run(uploads.save(owner, kind, UploadFile(io.BytesIO(data), filename=name)))


@pytest.fixture
def uploads(tmp_path: Path) -> Uploads:
    return Uploads(Settings(home=tmp_path / "home", max_audio_mib=1, max_image_mib=1, max_video_mib=2))


def test_a_file_is_kept_privately_under_a_random_name(uploads: Uploads) -> None:
    path = save(uploads, "../../etc/My Voice.WAV")
    assert path.read_bytes() == b"sound" and path.suffix == ".wav" and "Voice" not in path.name
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert uploads.find(str(path)) == path
    assert save(uploads) != path


@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("a.txt", BadAudio, "unsupported audio extension: .txt"),
        ("a.svg", BadImage, "unsupported image extension: .svg"),
        ("png", BadImage, "unsupported image extension:$"),
        ("x.png\0.svg", BadImage, "unsupported image extension: .svg"),
    ],
)
def test_other_endings_are_refused(uploads: Uploads, name: str, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        save(uploads, name)


def test_a_file_beyond_the_limit_of_its_kind_leaves_nothing(uploads: Uploads, tmp_path: Path) -> None:
    for name, most in (("a.wav", MIB), ("a.png", MIB), ("a.mp4", 2 * MIB)):
        uploads.remove(save(uploads, name, bytes(most)))
        with pytest.raises(TooLong, match=f"{most // MIB} MiB"):
            save(uploads, name, bytes(most + 1))
    assert list((tmp_path / "home").rglob("*.*")) == []


def test_nobody_reaches_what_was_not_uploaded(uploads: Uploads, tmp_path: Path) -> None:
    mine, outside = save(uploads), tmp_path / "secret.wav"
    outside.write_bytes(b"x")
    theirs = save(uploads, owner=OTHER)
    link = mine.with_name("link.wav")
    link.symlink_to(outside)
    loop = mine.with_name("loop.wav")
    loop.symlink_to(loop)
    for path in (
        outside, link, loop, mine.parent, mine.parent / ".." / ME / "none.wav", "", ".",
        "/etc/passwd", "/etc/passwd\0.wav", "a" * 5000, f"file://{mine}", mine.name,
    ):  # fmt: skip
        with pytest.raises(BadPath):
            uploads.find(str(path))
    assert uploads.find(str(mine.parent / ".." / ME / mine.name)) == mine
    assert uploads.find(str(theirs)) == theirs, "a random name is a token"


def test_the_media_folder_is_open_and_ends_at_its_border(tmp_path: Path) -> None:
    media = tmp_path / "media"
    (media / "deep").mkdir(parents=True)
    (media / "deep" / "a.wav").write_bytes(b"x")
    (tmp_path / "b.wav").write_bytes(b"x")
    (media / "out.wav").symlink_to(tmp_path / "b.wav")
    uploads = Uploads(Settings(home=tmp_path / "home", media=media))
    for given in ("deep/a.wav", str(media / "deep" / "a.wav")):
        assert uploads.find(given) == media / "deep" / "a.wav"
    for given in ("../b.wav", "out.wav", "deep", str(tmp_path / "b.wav")):
        with pytest.raises(BadPath):
            uploads.find(given)


def test_old_files_go_and_so_do_those_from_the_future(tmp_path: Path) -> None:
    uploads = Uploads(Settings(home=tmp_path, upload_hours=1))
    old, future, new = (save(uploads) for _ in range(3))
    for path, hours in ((old, -1.1), (future, 1.1)):
        os.utime(path, (time.time() + hours * 3600,) * 2)
    uploads.sweep()
    assert [path.exists() for path in (old, future, new)] == [False, False, True]


def test_beyond_the_room_the_oldest_go(tmp_path: Path) -> None:
    uploads = Uploads(Settings(home=tmp_path, upload_gib=3 / 1024))
    paths = [save(uploads, data=bytes(MIB)) for _ in range(5)]
    for age, path in enumerate(reversed(paths)):
        os.utime(path, (time.time() - age,) * 2)
    uploads.sweep()
    assert [path.exists() for path in paths] == [False, False, True, True, True]


# --- bodies


class Body:
    """A request body that counts what was read of it."""

    def __init__(self, blocks: Iterator[bytes], **headers: str) -> None:
        self.read = 0
        self._blocks = blocks
        self._headers = {"content-type": "multipart/form-data; boundary=X", **headers}

    async def receive(self) -> dict[str, Any]:
        block = next(self._blocks, None)
        if block is None:
            return {"type": "http.disconnect"}
        self.read += len(block)
        return {"type": "http.request", "body": block, "more_body": True}

    def parse(self, most: dict[str, int]) -> None:
        async def work() -> None:
            headers = [
                (name.replace("_", "-").encode(), value.encode()) for name, value in self._headers.items()
            ]
            scope = {"type": "http", "method": "POST", "path": "/", "headers": headers}
            async with form_of(Request(scope, self.receive), most):
                raise AssertionError("the body never ends")

        asyncio.run(work())


def endless(head: str) -> Iterator[bytes]:
    yield f"--X\r\nContent-Disposition: form-data; {head}\r\n\r\n".encode()
    while True:
        yield bytes(65_536)


def fields() -> Iterator[bytes]:
    while True:
        yield b'--X\r\nContent-Disposition: form-data; name="n"\r\n\r\n' + b"v" * 60_000 + b"\r\n"


def headers_only() -> Iterator[bytes]:
    yield b"--X\r\n"
    while True:
        yield b"A: " + b"b" * 60_000 + b"\r\n"


@pytest.mark.parametrize(
    ("blocks", "error", "limit"),
    [
        (endless('name="audio"; filename="a.wav"'), TooLong, MIB),
        (endless('name="other"; filename="a.wav"'), BadRequest, 0),
        (endless('name="text"'), BadRequest, MIB),
        (fields(), TooLong, 4 * MIB),
        (headers_only(), BadRequest, MIB),
        (iter([b"--X\r\n"]), Cancelled, 0),
    ],
)
def test_a_body_is_read_no_further_than_its_limit(
    blocks: Iterator[bytes], error: type[Exception], limit: int
) -> None:
    body = Body(blocks)
    with pytest.raises(error):
        body.parse({"audio": MIB})
    assert body.read <= limit + 2 * 65_536


def test_a_body_that_announces_too_much_is_not_read(tmp_path: Path) -> None:
    body = Body(endless('name="audio"; filename="a.wav"'), content_length=str(2**30))
    with pytest.raises(TooLong):
        body.parse({"audio": MIB})
    assert body.read == 0


def test_a_body_that_stops_coming_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stalled(Body):
        async def receive(self) -> dict[str, Any]:
            return await super().receive() if not self.read else await asyncio.sleep(60, {})

    monkeypatch.setattr(forms, "PATIENCE_S", 0.05)
    with pytest.raises(Cancelled, match="did not come"):
        Stalled(endless('name="audio"; filename="a.wav"')).parse({"audio": MIB})


@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data", ""])
def test_a_body_that_is_no_form(kind: str) -> None:
    with pytest.raises(BadRequest):
        Body(iter([b"{}"]), **{"content-type": kind}).parse({"audio": MIB})


# --- over HTTP


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("home"), FakeEngine(), ("rest",)) as running:
        yield running


def test_upload_answers_as_streaming_clients_know_it(server: LiveServer) -> None:
    with httpx.Client(base_url=server.http) as client:
        sent = {"audio": ("a.mp3", b"1"), "source": ("b.webp", b"2")}
        paths = client.post("/upload", files=sent).json()
        assert set(paths) == {"audio_path", "source_path"} and paths["audio_path"].endswith(".mp3")
        assert Path(paths["source_path"]).read_bytes() == b"2"
        assert set(client.post("/upload", files={"audio": ("a.flac", b"1")}).json()) == {"audio_path"}
        for files, text in (
            ({"audio": ("a.txt", b"1")}, "unsupported audio extension: .txt"),
            ({"source": ("a.gif", b"1"), "audio": ("a.wav", b"1")}, "unsupported image extension: .gif"),
            ({"audio": ("", b"")}, "no files provided"),
        ):
            answer = client.post("/upload", files=files)
            assert (answer.status_code, answer.json()["error"]) == (400, text)


def test_a_browser_gets_one_cookie_and_keeps_it(server: LiveServer) -> None:
    with httpx.Client(base_url=server.http) as client:
        first = client.get("/healthz").headers["set-cookie"]
        assert "HttpOnly" in first and "SameSite=Lax" in first
        assert "set-cookie" not in client.get("/healthz").headers
    forged = httpx.get(server.http + "/healthz", headers={"Cookie": "visavis-owner=../../x"})
    assert "set-cookie" in forged.headers


# --- how many


def test_live_sessions_are_counted_and_refused() -> None:
    admission = Admission(2)
    with admission.session(), admission.session():
        with pytest.raises(Busy) as refused, admission.session():
            pass
        assert refused.value.retry_after_s > 0 and admission.active == 2
    with pytest.raises(RuntimeError), admission.session():
        raise RuntimeError
    assert admission.active == 0


def test_requests_flow_back_with_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    rates = Rates(60)
    for _ in range(60):
        rates.count("me")
    with pytest.raises(RateLimited) as refused:
        rates.count("me")
    assert refused.value.retry_after_s == pytest.approx(1)
    rates.count("another")
    now += 1.01
    rates.count("me")
    with pytest.raises(RateLimited):
        rates.count("me")
