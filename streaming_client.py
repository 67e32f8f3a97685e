"""A client of the streaming server: sends a portrait and a voice, takes the frames, tells figures.

    python streaming_client.py --audio_path speech.wav --source_path portrait.jpg --save talk.mp4

Files that lie here are uploaded; other paths are taken for the server's own.
"""

import argparse
import base64
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any
from urllib.parse import quote, urlsplit

import cv2
import httpx2
import numpy as np
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidURI
from websockets.sync.client import ClientConnection, connect

from core.errors import BadOption, BadPath, Cancelled, ComputeError, TalkerError
from core.media.mp4 import check_target
from core.media.writer import VideoWriter
from streaming_protocol import parse_binary_frame

_SCHEMES = {"ws": "http", "http": "http", "wss": "https", "https": "https"}


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description="Take a stream of frames from a server, with figures.")
    made.add_argument("--server", default="ws://localhost:8000", help="address: ws(s):// or http(s)://")
    made.add_argument("--client_id", default="client", help="a name for the server's log")
    made.add_argument("--audio_path", required=True, help="speech: a file here, or a path on the server")
    made.add_argument("--source_path", required=True, help="portrait: a file here, or a path on the server")
    made.add_argument(
        "--save_frames", nargs="?", const="received_frames", metavar="FOLDER",
        help="keep every frame as it came (default folder: received_frames)",
    )  # fmt: skip
    made.add_argument("--timeout", type=float, default=60, help="longest wait for a message, in seconds")
    made.add_argument("--transport", choices=("binary", "json"), default="binary", help="how frames come")
    made.add_argument("--save", type=Path, metavar="FILE.mp4", help="make a video of it, with its sound")
    made.add_argument("--key", default="", help="API key, where the server asks for one")
    return made


@dataclass
class Figures:
    """Frames as they arrived. Times in seconds of the monotonic clock."""

    asked: float = field(default_factory=time.monotonic)
    arrived: list[float] = field(default_factory=list)
    decoding: list[float] = field(default_factory=list)
    size: int = 0  # bytes of the pictures
    total: int = 0  # frames that the server made

    def add(self, picture: bytes) -> None:
        """Note a frame, now. Raises ComputeError where it is no picture."""
        self.arrived.append(time.monotonic())
        self.size += len(picture)
        _decoded(picture)
        self.decoding.append(time.monotonic() - self.arrived[-1])

    def lines(self) -> Iterator[str]:
        """The figures for people; none before a frame has come."""
        if not self.arrived:
            return
        duration = self.arrived[-1] - self.arrived[0]
        gaps = [1000 * (b - a) for a, b in zip(self.arrived, self.arrived[1:], strict=False)]
        per_second = 1 / duration if duration else 0.0
        yield f"frames: {len(self.arrived)} of {self.total or len(self.arrived)}"
        yield f"duration: {duration:.2f} s"
        yield f"time to first frame: {self.arrived[0] - self.asked:.3f} s"
        yield f"FPS: {len(gaps) * per_second:.1f}"
        yield f"data: {self.size / 1e6:.2f} MB, {8e-6 * self.size * per_second:.2f} Mbps"
        yield f"interval: {_spread(gaps)}"
        yield f"decoding: {_spread([1000 * each for each in self.decoding])}"


def _spread(values: list[float]) -> str:
    if not values:
        return "none"
    return (
        f"mean {statistics.fmean(values):.1f} ms, median {statistics.median(values):.1f} ms, "
        f"deviation {statistics.pstdev(values):.1f} ms, {min(values):.1f} .. {max(values):.1f} ms"
    )


def _decoded(picture: bytes) -> np.ndarray:
    rgb = cv2.imdecode(np.frombuffer(picture, np.uint8), cv2.IMREAD_COLOR) if picture else None
    if rgb is None:
        raise ComputeError("The server sent a frame that is no picture.")
    return rgb[..., ::-1]


class Film:
    """Frames kept on disk as they came, until a video is made of them."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._places: list[tuple[int, int]] = []  # frame number, bytes

    def add(self, index: int, picture: bytes) -> None:
        self._places.append((index, self._file.write(picture)))

    def make(self, output: Path, audio: Path) -> None:
        """Write the video. A frame that did not come is the one before, so that the sound stays in time."""
        self._file.seek(0)
        first = _decoded(self._file.read(self._places[0][1]))
        self._file.seek(0)
        shown = first
        with VideoWriter(output, (first.shape[1], first.shape[0]), audio=audio) as writer:
            for index, size in self._places:
                while writer.frames < index:
                    writer.write(shown)
                shown = _decoded(self._file.read(size))
                writer.write(shown)


def receive(arguments: argparse.Namespace, figures: Figures, film: Film | None) -> None:
    """One stream, to its end. Raises TalkerError."""
    http, address = addresses(arguments.server, arguments.client_id)
    headers = {"X-API-Key": arguments.key} if arguments.key else {}
    paths, cookie = uploaded(http, arguments, headers)
    order = {
        "type": "start_streaming", **paths, "setup_kwargs": {}, "run_kwargs": {},
        "binary": arguments.transport == "binary",
    }  # fmt: skip
    try:
        with connect(
            address, additional_headers={**headers, **cookie}, compression=None, max_size=None,
            open_timeout=arguments.timeout,
        ) as socket:  # fmt: skip
            figures.asked = time.monotonic()
            socket.send(json.dumps(order))
            _take(socket, arguments, figures, film)
    except TimeoutError as error:
        raise ComputeError(f"The server said nothing for {arguments.timeout:g} s.") from error
    except ConnectionClosed as error:
        raise ComputeError(f"The server closed the connection: {error}.") from error
    except (OSError, InvalidHandshake, InvalidURI) as error:
        raise ComputeError(f"Cannot connect to {address}: {error}.", "Is the server running?") from error


def _take(
    socket: ClientConnection, arguments: argparse.Namespace, figures: Figures, film: Film | None
) -> None:
    while True:
        message = socket.recv(timeout=arguments.timeout)
        try:
            kind, number, content = _told(message)
        except (ValueError, KeyError, TypeError) as error:
            raise ComputeError("The server sent what is no message of this protocol.") from error
        if kind == "streaming_completed":
            return
        if kind == "error":
            raise ComputeError(content.decode())
        if kind == "frame":
            _keep(number, content, arguments.save_frames, figures, film)
        elif kind == "writer_closed":
            figures.total = number


def _told(message: str | bytes) -> tuple[str, int, bytes]:
    """A message's kind, the number in it, and the picture or text. Raises ValueError, KeyError, TypeError."""
    if isinstance(message, bytes):
        index, _, picture = parse_binary_frame(message)
        return "frame", index, picture
    told = json.loads(message)
    kind = str(told["type"])
    if kind == "frame":
        return kind, int(told["frame_id"]), base64.b64decode(told["frame_data"])
    return kind, int(told.get("total_frames", 0)), str(told.get("message", "")).encode(errors="replace")


def _keep(index: int, picture: bytes, folder: str | None, figures: Figures, film: Film | None) -> None:
    figures.add(picture)
    if film:
        film.add(index, picture)
    if folder:
        kind = "webp" if picture[8:12] == b"WEBP" else "jpg"
        (Path(folder) / f"frame_{index:06d}.{kind}").write_bytes(picture)


def addresses(server: str, client_id: str) -> tuple[str, str]:
    """The server's HTTP address, and that of the WebSocket. Raises BadOption."""
    parts = urlsplit(server)
    if parts.scheme not in _SCHEMES or not parts.netloc:
        raise BadOption(f"'{server}' is no address of a server.", "Example: ws://localhost:8000")
    http = f"{_SCHEMES[parts.scheme]}://{parts.netloc}{parts.path.rstrip('/')}"
    return http, f"ws{http.removeprefix('http')}/ws/{quote(client_id, safe='') or 'client'}"


def uploaded(
    http: str, arguments: argparse.Namespace, headers: Mapping[str, str]
) -> tuple[dict[str, Any], dict[str, str]]:
    """Send what lies here -> the paths as the server knows them, and the cookie by which it knows us."""
    given = {"audio": arguments.audio_path, "source": arguments.source_path}
    paths: dict[str, Any] = {f"{name}_path": path for name, path in given.items()}
    here = {name: Path(path) for name, path in given.items() if Path(path).is_file()}
    if not here:
        return paths, {}
    try:
        with ExitStack() as opened, httpx2.Client(headers=headers, timeout=arguments.timeout) as client:
            files = {name: (path.name, opened.enter_context(path.open("rb"))) for name, path in here.items()}
            answer = client.post(f"{http}/upload", files=files)
            cookies = "; ".join(f"{name}={value}" for name, value in client.cookies.items())
    except (httpx2.HTTPError, OSError) as error:
        raise ComputeError(f"Cannot upload to {http}: {error}.", "Is the server running?") from error
    try:
        said = answer.json()
    except ValueError:
        said = {}
    if not answer.is_success or not isinstance(said, dict):
        reason = said.get("message") or said.get("error") if isinstance(said, dict) else None
        raise ComputeError(f"The upload was refused: {reason or f'HTTP {answer.status_code}'}.")
    return paths | said, {"Cookie": cookies} if cookies else {}


def run(arguments: argparse.Namespace) -> None:
    """Take the stream, print its figures, and make the video that is asked for. Raises TalkerError."""
    if arguments.save:
        check_target(arguments.save)
        if not Path(arguments.audio_path).is_file():
            raise BadPath("--save needs the speech as a file here.", "Give --audio_path a local file.")
    if arguments.save_frames:
        Path(arguments.save_frames).mkdir(parents=True, exist_ok=True)
    figures = Figures()
    with tempfile.TemporaryFile() as file:
        film = Film(file) if arguments.save else None
        try:
            receive(arguments, figures, film)
        finally:
            for line in figures.lines():
                print(line)
        if film and figures.arrived:
            film.make(arguments.save, Path(arguments.audio_path))
            print(f"saved: {arguments.save}")


def main(argv: list[str] | None = None) -> int:
    """Run the command line -> exit code."""
    try:
        run(parser().parse_args(argv))
    except TalkerError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return Cancelled.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
