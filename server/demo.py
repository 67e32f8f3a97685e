"""The browser demo: a page that speaks `visavis.v2`, its scripts, its styles and the samples it offers."""

import asyncio
import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from PIL import Image
from starlette.responses import JSONResponse

from core.samples import SPEECH, sample_portrait
from server.house import house_of

router = APIRouter(include_in_schema=False)

_FOLDER = Path(__file__).parent / "static"
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".jpg": "image/jpeg",
          ".wav": "audio/wav", ".svg": "image/svg+xml"}  # fmt: skip
_ALWAYS_ASK, _A_DAY = "no-cache", "public, max-age=86400"
_QUALITY = 88

# Nothing comes from elsewhere, nothing inline; the media are blobs that the page makes itself. A Space shows
# its app in a frame of its hub.
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'self' https://huggingface.co",
    )
)
_GUARDS = {
    "Content-Security-Policy": _POLICY,
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


@dataclass(frozen=True)
class _Asset:
    """What one address gives: its bytes, kind, how long it may be kept, and what tells it from another."""

    data: bytes
    kind: str
    keep: str
    tag: str


@router.get("/demo")
async def page(request: Request) -> Response:
    """The page itself."""
    return await _answer(request, "demo.html")


@router.get("/demo/server.json")
async def server(request: Request) -> Response:
    """What the page may ask for: whether there is a list of avatars, and whether a key is needed."""
    offers = {
        "avatars": "rest" in request.app.state.parts,
        "needs_key": bool(house_of(request).settings.keys),
    }
    return JSONResponse(offers, headers={**_GUARDS, "Cache-Control": _ALWAYS_ASK})


@router.get("/demo/{name}")
async def part(request: Request, name: str) -> Response:
    """A script, a style sheet or a sample; 404 for any other name."""
    return await _answer(request, name)


async def _answer(request: Request, name: str) -> Response:
    if name not in _SOURCES:
        return Response("There is no such file.", 404, _GUARDS, "text/plain")
    asset = await asyncio.to_thread(_asset, name)
    headers = {**_GUARDS, "Cache-Control": asset.keep, "ETag": asset.tag}
    if request.headers.get("if-none-match") == asset.tag:
        return Response(status_code=304, headers=headers)
    return Response(asset.data, 200, headers, asset.kind)


def _portrait() -> bytes:
    with io.BytesIO() as buffer:
        Image.fromarray(sample_portrait()).save(buffer, "JPEG", quality=_QUALITY)
        return buffer.getvalue()


_SOURCES: dict[str, tuple[Callable[[], bytes], str]] = {
    "portrait.jpg": (_portrait, _A_DAY),
    "speech.wav": (SPEECH.read_bytes, _A_DAY),
    **{path.name: (path.read_bytes, _ALWAYS_ASK) for path in _FOLDER.iterdir() if path.suffix in _KINDS},
}


@cache
def _asset(name: str) -> _Asset:
    read, keep = _SOURCES[name]
    data = read()
    return _Asset(data, _KINDS[Path(name).suffix], keep, f'"{hashlib.sha256(data).hexdigest()[:20]}"')
