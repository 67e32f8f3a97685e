"""How the servers start and stop: the engine made warm, a socket of their own, an end that drains."""

import io
import logging
import signal
import socket
from collections.abc import Callable, Sequence
from contextlib import closing

import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image

from core.errors import BadOption
from core.option_table import parse_options
from core.samples import sample_portrait
from core.settings import Settings
from core.studio import Studio
from core.talker import CHUNK, Session
from core.types import AudioChunk, AvatarSource
from server.application import create_app
from server.connections import ImpatientProtocol

_DRAIN_S = 8  # for requests that are under way when the server is told to stop
_WS_BYTES = 2 * 2**20  # of one WebSocket message; the protocols have smaller limits of their own
_log = logging.getLogger(__name__)


def serve(
    settings: Settings,
    host: str,
    port: int,
    parts: Sequence[str],
    prepare: Callable[[FastAPI], None] = lambda app: None,
) -> None:
    """Serve `parts` of the application until SIGINT or SIGTERM. Raises TalkerError.

    `prepare` gets the application before anything of it is used.
    """
    with _listener(host, port) as listener, closing(Studio(settings)) as studio:
        app = create_app(studio, settings, parts)
        prepare(app)
        _log.info("Engine %s: %s", studio.engine.name, studio.running.reason)
        app.state.house.worker.warm_up(lambda: warm(studio))
        config = uvicorn.Config(
            app,
            http=ImpatientProtocol,
            ws="wsproto",  # uvicorn's own choice fails a case of Autobahn's suite
            ws_per_message_deflate=False,  # pictures and sound are as small as they get
            ws_max_size=_WS_BYTES,
            timeout_graceful_shutdown=_DRAIN_S,
            log_config=None,
            access_log=False,
            server_header=False,
        )
        where, at = listener.getsockname()[:2]
        _log.info("Visavis is at http://%s:%d", f"[{where}]" if ":" in where else where, at)
        # uvicorn hands the signal on when it is done: as an exception, so that the studio is closed
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            uvicorn.Server(config).run([listener])
        except KeyboardInterrupt:
            _log.info("Stopped")
        finally:
            signal.signal(signal.SIGTERM, before)


def warm(studio: Studio) -> None:
    """Fetch what the engine needs, and render a frame of the sample portrait, so that nobody waits for it."""
    for _ in studio.ready():
        pass
    options = parse_options({}, defaults=studio.engine.capabilities.defaults)
    with io.BytesIO() as file:
        Image.fromarray(sample_portrait()).save(file, "PNG")
        source = AvatarSource(data=file.getvalue())
    avatar = studio.engine.register(source, options.crop)
    silence = AudioChunk(np.zeros(CHUNK, np.float32), 0)
    with closing(Session(studio.engine, avatar, options).frames([silence])) as frames:
        next(frames)
    _log.info("Engine %s is warm", studio.engine.name)


def _listener(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=2048
        )
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadOption(
            f"The server cannot listen at {host}:{port}: {reason}.",
            "Choose an address of this machine with --host and a free port with --port.",
        ) from error
