"""How live is live? Sessions of the protocol `visavis.v2` against a server on this machine, and a long stream
at an accelerated clock.

    python scripts/bench_live.py [--sessions 1,2] [--admitted 8] [--seconds 20] [--resolution 512]
    python scripts/bench_live.py --soak 30 [--resolution 320]
    python scripts/bench_live.py --visits 200 [--resolution 320]

The first starts api_server.py (engine lite), warms it up with a short session, and then measures for each
number of sessions at once: start to first media (ms), frames a second as they arrive, how late the latest
fragments come (ms, behind the clock that the first one sets), frames missing, how far the tracks' ends are
apart (ms; the coder of sound holds up to 192), and the time from an interrupt to the first media of the new
epoch (ms). `--soak MINUTES` makes so much media in this process as fast as it goes, speech and silence in
turn, and tells memory and the tracks' times along the way. `--visits N` counts what the server holds while
connections come and go, half of them without a word. The last line is one JSON object.
"""

import argparse
import asyncio
import io
import json
import os
import resource
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import av
import numpy as np
from websockets.asyncio.client import ClientConnection, connect

from core.live import LiveClock, LiveSession
from core.media.audio import open_audio
from core.media.fragments import FragmentStream
from core.option_table import parse_options
from core.samples import SPEECH, sample_portrait
from core.settings import Settings
from core.talker import audio_limits
from core.types import FPS, SAMPLE_RATE, AvatarSource
from server.protocol_v2 import SUBPROTOCOL, Kind, MediaMessage, read_media

_FRAGMENT = 5  # frames


@dataclass
class Session:
    """What one client saw."""

    first_media_ms: float = 0.0
    fps: float = 0.0
    late_p95_ms: float = 0.0
    missing: int = 0
    tracks_apart_ms: float = 0.0
    drift_ms: float = 0.0
    interrupt_ms: float = 0.0
    _arrived: list[tuple[float, MediaMessage]] = field(default_factory=list, repr=False)

    def told(self) -> dict[str, float]:
        return {name: round(value, 2) for name, value in asdict(self).items() if not name.startswith("_")}


class Refused(Exception):
    """The server has no room for this session."""


def speech() -> np.ndarray:
    """The sample speech, float32 at 16 kHz."""
    return np.concatenate([chunk.samples for chunk in open_audio(SPEECH, audio_limits(Settings())).chunks()])


async def listen(address: str, name: str, seconds: float, resolution: str) -> Session:
    """One session: it pushes the sample speech in real time, and interrupts itself at the end."""
    seen = Session()
    samples = (speech() * 32767).astype("<i2")
    async with connect(f"{address}/ws/{name}", subprotocols=[SUBPROTOCOL], max_size=2**24) as socket:  # type: ignore[list-item]
        began = time.perf_counter()
        await socket.send(
            json.dumps({"type": "start", "source": "sample", "options": {"resolution": resolution}})
        )
        talk = asyncio.create_task(_talk(socket, samples, seconds))
        while not seen._arrived or time.perf_counter() - seen._arrived[0][0] < seconds:
            _note(seen, await socket.recv())
        seen.first_media_ms = 1000 * (seen._arrived[0][0] - began)
        talk.cancel()
        count = len(seen._arrived)
        asked = time.perf_counter()
        await socket.send(json.dumps({"type": "interrupt"}))
        while not any(message.epoch for _, message in seen._arrived[count:]):
            _note(seen, await socket.recv())
        seen.interrupt_ms = 1000 * (seen._arrived[-1][0] - asked)
        await socket.send(json.dumps({"type": "stop"}))
    _judge(seen, seen._arrived[:count])
    return seen


async def _talk(socket: ClientConnection, samples: np.ndarray, seconds: float) -> None:
    began = time.perf_counter()
    for start in range(0, int(seconds * SAMPLE_RATE), 1600):
        await socket.send(np.roll(samples, -start)[:1600].tobytes())
        await asyncio.sleep(max(0.0, began + (start + 1600) / SAMPLE_RATE - time.perf_counter()))


def _note(seen: Session, data: str | bytes) -> None:
    if isinstance(data, bytes):
        seen._arrived.append((time.perf_counter(), read_media(data)))
        return
    told = json.loads(data)
    if told["type"] == "error":
        raise Refused if told["code"] == "busy" else RuntimeError(told["message"])
    if told["type"] == "stats":
        seen.drift_ms = max(seen.drift_ms, abs(told["drift_ms"]))


def _judge(seen: Session, arrived: list[tuple[float, MediaMessage]]) -> None:
    fragments = [(at, message) for at, message in arrived if message.kind is Kind.FRAGMENT]
    media = b"".join(
        message.payload for _, message in arrived if message.kind in (Kind.HEADER, Kind.FRAGMENT)
    )
    frames, ends = _decoded(media)
    first_at, first = fragments[0]
    late = [1000 * (at - first_at - (message.time - first.time)) for at, message in fragments]
    seen.late_p95_ms = statistics.quantiles(late, n=20)[-1]
    seen.fps = (len(frames) - _FRAGMENT) / (fragments[-1][0] - first_at)
    seen.missing = round((frames[-1] - frames[0]) * FPS) + 1 - len(frames)
    seen.tracks_apart_ms = 1000 * abs(ends[0] - ends[1])


def _decoded(media: bytes) -> tuple[list[float], tuple[float, float]]:
    """Times of the pictures, and where the tracks of pictures and sound end, seconds."""
    pictures, sound = [], 0.0
    with av.open(io.BytesIO(media), "r") as container:
        for packet in container.demux():
            for frame in packet.decode():
                if isinstance(frame, av.VideoFrame):
                    pictures.append(float(frame.time or 0))
                elif isinstance(frame, av.AudioFrame):
                    sound = float(frame.time or 0) + frame.samples / SAMPLE_RATE
    return pictures, (pictures[-1] + 1 / FPS, sound)


@contextmanager
def served(most: int) -> Iterator[tuple[str, int]]:
    """api_server.py at a free port, for so many sessions -> its address for WebSockets, and its process."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    command = [sys.executable, str(ROOT / "api_server.py"), "--host", "127.0.0.1", "--port", str(port)]
    room = {**os.environ, "VISAVIS_MAX_SESSIONS": str(most)}
    with subprocess.Popen(command, cwd=ROOT, env=room) as server:  # noqa: S603  our own program
        try:
            for _ in range(600):
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0:
                        break
                time.sleep(0.1)
            yield f"ws://127.0.0.1:{port}", server.pid
        finally:
            server.terminate()


def resident_mb(pid: int) -> float:
    """Memory of a process, MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1000


async def _many(address: str, count: int, seconds: float, resolution: str) -> list[Session]:
    """What those saw that were admitted."""
    asked = (listen(address, f"bench{number}", seconds, resolution) for number in range(count))
    seen = await asyncio.gather(*asked, return_exceptions=True)
    for each in seen:
        if isinstance(each, BaseException) and not isinstance(each, Refused):
            raise each
    return [each for each in seen if isinstance(each, Session)]


def live(options: argparse.Namespace) -> dict[str, Any]:
    """Measure sessions -> by their number what each saw, and the server's memory."""
    found: dict[str, Any] = {}
    with served(options.admitted) as (address, pid):
        asyncio.run(_many(address, 1, 2.0, options.resolution))
        for count in (int(part) for part in options.sessions.split(",")):
            before = resident_mb(pid)
            seen = asyncio.run(_many(address, count, options.seconds, options.resolution))
            found[str(count)] = {
                "sessions": [session.told() for session in seen],
                "refused": count - len(seen),
                "memory_mb": [round(before, 1), round(resident_mb(pid), 1)],
            }
            for session in seen:
                print(
                    f"{count} at once: "
                    + ", ".join(f"{name} {value}" for name, value in session.told().items())
                )
    return found


async def _visit(address: str, number: int, resolution: str) -> None:
    """Come, see three messages of media, and go; every second one without a word."""
    options = {"resolution": resolution}
    async with connect(f"{address}/ws/visit{number}", subprotocols=[SUBPROTOCOL], max_size=2**24) as socket:  # type: ignore[list-item]
        await socket.send(json.dumps({"type": "start", "source": "sample", "options": options}))
        seen = 0
        while seen < 3:
            seen += isinstance(await socket.recv(), bytes)
        if number % 2:
            socket.transport.abort()
        else:
            await socket.send(json.dumps({"type": "stop"}))


def visits(options: argparse.Namespace) -> dict[str, Any]:
    """Connections that come and go -> the server's memory, threads and open files along the way."""
    rows = []
    with served(options.admitted) as (address, pid):
        for number in range(1, options.visits + 1):
            asyncio.run(_visit(address, number, options.resolution))
            if number % 50 and number != options.visits:
                continue
            time.sleep(12 if number == options.visits else 1)  # lost sessions wait for 10 s
            open_now = {name: len(os.listdir(f"/proc/{pid}/{name}")) for name in ("task", "fd")}
            rows.append({"visits": number, "memory_mb": round(resident_mb(pid), 1), **open_now})
            print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    return {"rows": rows}


class _FastTime:
    """A clock that goes on only when somebody waits."""

    def __init__(self) -> None:
        self.now = 0.0

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def soak(options: argparse.Namespace) -> dict[str, Any]:
    """Make minutes of media as fast as it goes -> memory and the tracks' times along the way."""
    from core.engines.lite.engine import LiteEngine

    fast, rows = _FastTime(), []
    engine = LiteEngine(Settings())
    chosen = parse_options({"resolution": options.resolution})
    source = io.BytesIO()
    from PIL import Image

    Image.fromarray(sample_portrait()).save(source, "PNG")
    avatar = engine.register(AvatarSource(data=source.getvalue()), chosen.crop)
    session = LiveSession(engine, avatar, chosen, clock=LiveClock(lambda: fast.now, fast.sleep))
    words, began = speech(), time.process_time()
    with closing(session.packets()) as packets, FragmentStream(engine.canvas_size(avatar, chosen)) as stream:
        for packet in packets:
            if packet.index % (20 * FPS) == 0:
                session.push(words)
            stream.add([(packet.rgb, packet.sound)])
            if packet.index % (60 * FPS) == 0:
                row = {
                    "minutes": packet.index / FPS / 60,
                    "memory_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000, 1),
                    "drift_ms": round(1000 * stream.drift_s, 3),
                }
                rows.append(row)
                print(", ".join(f"{name} {value}" for name, value in row.items()), flush=True)
            if packet.index >= options.soak * 60 * FPS:
                break
    engine.close()
    spent = time.process_time() - began
    return {"rows": rows, "cpu_s": round(spent, 1), "times_real": round(options.soak * 60 / spent, 1)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--sessions", default="1,2", help="numbers of sessions at once, with commas")
    parser.add_argument("--admitted", type=int, default=8, help="how many the server has room for")
    parser.add_argument("--seconds", type=float, default=20.0, help="length of each")
    parser.add_argument("--resolution", default="512", choices=("320", "512"))
    parser.add_argument("--soak", type=float, default=0.0, help="minutes of media at an accelerated clock")
    parser.add_argument("--visits", type=int, default=0, help="connections that come and go, one by one")
    options = parser.parse_args()
    found = soak(options) if options.soak else visits(options) if options.visits else live(options)
    print(json.dumps({"resolution": options.resolution, "seconds": options.seconds, **found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
