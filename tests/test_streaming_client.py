"""The command-line client against a running server, and against servers that fail it."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image
from websockets.sync.server import ServerConnection, serve

import streaming_client
from core.errors import BadOption
from server.protocol_v1 import build_binary_frame_payload
from streaming_client import Figures, Film, addresses
from tests.fakes import FakeEngine
from tests.live_server import LiveServer, live_server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    with live_server(tmp_path_factory.mktemp("home"), FakeEngine(), ("streaming",)) as server:
        yield server


@contextmanager
def odd_server(answer: Callable[[ServerConnection], None]) -> Iterator[str]:
    """A server that takes the order and then does something else."""

    def handle(connection: ServerConnection) -> None:
        connection.recv()
        answer(connection)

    with serve(handle, "127.0.0.1", 0) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        try:
            yield f"ws://127.0.0.1:{running.socket.getsockname()[1]}"
        finally:
            running.shutdown()
            thread.join()


def picture(level: int) -> bytes:
    return cv2.imencode(".webp", np.full((32, 48, 3), level, np.uint8))[1].tobytes()


def greys(video: Path) -> list[float]:
    with av.open(str(video)) as file:
        return [float(frame.to_ndarray(format="gray").mean()) for frame in file.decode(video=0)]


@pytest.mark.parametrize("transport", ["binary", "json"])
def test_a_stream_ends_in_figures_frames_and_a_video(
    server: LiveServer,
    portrait: Path,
    short_speech: Path,
    tmp_path: Path,
    transport: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = ["--audio_path", str(short_speech), "--source_path", str(portrait)]
    keep = ["--save", str(tmp_path / "talk.mp4"), "--save_frames", str(tmp_path / "frames")]
    scheme = server.ws if transport == "binary" else server.http
    assert streaming_client.main(["--server", scheme, "--transport", transport, *files, *keep]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said["frames"] == "20 of 20" and 20 < float(said["FPS"]) < 60
    assert set(said) == {
        "frames", "duration", "time to first frame", "FPS", "data", "interval", "decoding", "saved",
    }  # fmt: skip
    kept = sorted((tmp_path / "frames").iterdir())
    assert [path.name for path in kept] == [f"frame_{index:06d}.webp" for index in range(20)]
    assert np.asarray(Image.open(kept[7]).convert("L")).mean() == pytest.approx(7, abs=2)
    with av.open(str(tmp_path / "talk.mp4")) as video:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in video.decode(audio=0)])
        assert np.abs(sound).max() > 0.1 and video.duration == pytest.approx(800_000, abs=50_000)
    assert len(greys(tmp_path / "talk.mp4")) == 20


def test_frames_that_did_not_come_are_the_ones_before(tmp_path: Path, short_speech: Path) -> None:
    with (tmp_path / "film").open("w+b") as file:
        film = Film(file)
        for index, level in ((0, 40), (1, 80), (4, 200)):
            film.add(index, picture(level))
        film.make(tmp_path / "made.mp4", short_speech)
    assert greys(tmp_path / "made.mp4") == pytest.approx([40, 80, 80, 80, 200], abs=4)


def test_figures_are_those_of_what_came() -> None:
    figures = Figures(10.0, [10.5, 10.54, 10.60, 10.62], [0.001, 0.002, 0.003, 0.002], 60_000, 5)
    assert list(figures.lines()) == [
        "frames: 4 of 5",
        "duration: 0.12 s",
        "time to first frame: 0.500 s",
        "FPS: 25.0",
        "data: 0.06 MB, 4.00 Mbps",
        "interval: mean 40.0 ms, median 40.0 ms, deviation 16.3 ms, 20.0 .. 60.0 ms",
        "decoding: mean 2.0 ms, median 2.0 ms, deviation 0.7 ms, 1.0 .. 3.0 ms",
    ]
    assert list(Figures().lines()) == []
    assert "interval: none" in list(Figures(0.0, [1.0], [0.001], 10).lines())


def test_addresses_of_a_server() -> None:
    assert addresses("ws://host:8000", "a b/c") == ("http://host:8000", "ws://host:8000/ws/a%20b%2Fc")
    assert addresses("https://host/app/", "") == ("https://host/app", "wss://host/app/ws/client")
    for wrong in ("host:8000", "ftp://host", "ws://", ""):
        with pytest.raises(BadOption, match="no address of a server"):
            addresses(wrong, "a")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    """Exit code and what was said to be wrong."""
    code = streaming_client.main(list(arguments))
    return code, capsys.readouterr().err


def test_what_the_server_refuses_is_told(
    server: LiveServer,
    portrait: Path,
    short_speech: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    text = tmp_path / "speech.txt"
    text.write_text("hello")
    here = ("--server", server.ws, "--source_path", str(portrait))
    assert run(capsys, *here, "--audio_path", str(text)) == (
        4, "error: The upload was refused: unsupported audio extension: .txt.\n",
    )  # fmt: skip
    assert run(capsys, *here, "--audio_path", "/no/such.wav")[1] == (
        "error: Audio file not found: /no/such.wav\n"
    )
    code, said = run(capsys, *here, "--audio_path", "/no/such.wav", "--save", str(tmp_path / "a.mp4"))
    assert code == 2 and "--save needs the speech" in said
    code, said = run(capsys, *here, "--audio_path", str(short_speech), "--save", str(tmp_path / "a.avi"))
    assert code == 2 and "not an .mp4" in said


def test_a_server_that_is_not_there_is_told(portrait: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for source in (str(portrait), "/theirs.png"):
        code, said = run(
            capsys, "--server", "ws://127.0.0.1:1", "--audio_path", "/a.wav", "--source_path", source
        )
        assert code == 4 and said.endswith("Is the server running?\n") and said.count("\n") == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda socket: socket.close(1012), "The server closed the connection"),
        (lambda socket: socket.send(b"short"), "no message of this protocol"),
        (lambda socket: socket.send("[1"), "no message of this protocol"),
        (lambda socket: socket.send("7"), "no message of this protocol"),
        (lambda socket: socket.send('{"type": "frame"}'), "no message of this protocol"),
        (lambda socket: socket.send(build_binary_frame_payload(0, 0.0, b"nothing")), "no picture"),
        (lambda socket: socket.send(json.dumps({"type": "error", "message": "no\x1b"})), "error: no?\n"),
        (lambda socket: socket.recv(), "said nothing for 0.3 s"),
    ],
)
def test_a_server_that_fails_is_told(
    answer: Callable[[ServerConnection], None], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with odd_server(answer) as address:
        code, told = run(
            capsys, "--server", address, "--audio_path", "/a", "--source_path", "/b", "--timeout", "0.3"
        )
    assert code == 4 and said in told


def test_what_came_before_the_end_is_still_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, short_speech: Path
) -> None:
    def answer(socket: ServerConnection) -> None:
        socket.send(build_binary_frame_payload(0, 0.0, picture(9)))
        socket.close(1011)

    with odd_server(answer) as address:
        code = streaming_client.main(["--server", address, "--audio_path", "/a", "--source_path", "/b"])
    assert code == 4 and capsys.readouterr().out.startswith("frames: 1 of 1\n")
