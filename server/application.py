"""The application: every route in one place, errors as JSON, and how to hang it beside another one."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from types import MappingProxyType
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.datastructures import URLPath
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Match, NoMatchFound
from starlette.types import Receive, Scope, Send

from core.errors import BadRequest, Busy, TalkerError, Unauthorized, one_line
from core.settings import Settings
from core.studio import Studio
from server import health, landing
from server.admission import Admission
from server.house import House, house_of
from server.metrics import Metrics
from server.owners import OwnerCookie
from server.uploads import Uploads

NO_HEADERS: Mapping[str, str] = MappingProxyType({})
# modules with a `router`, by part
_ROUTERS = {
    "rest": ("server.rest", "server.avatars", "server.uploading"),
    "streaming": ("server.uploading", "server.streaming"),
    "demo": ("server.demo",),
}
ALL = tuple(_ROUTERS)


def create_app(studio: Studio, settings: Settings, parts: Sequence[str] = ALL) -> FastAPI:
    """The application around a studio, which stays its maker's to close; `parts` of ALL.

    What is under way is cancelled when the application's lifespan ends; `beside` serves it without one.
    """
    app = FastAPI(
        title="Visavis",
        version=health.VERSION,
        summary="A portrait and a voice go in, a talking head comes out.",
        docs_url=None,  # their pages fetch scripts from elsewhere
        redoc_url=None,
        lifespan=_life,
    )
    app.state.house = House(studio, settings, Uploads(settings), Admission(settings.max_sessions), Metrics())
    app.state.parts = tuple(parts)
    app.include_router(landing.router)
    app.include_router(health.router)
    for name in dict.fromkeys(module for part in parts for module in _ROUTERS[part]):
        app.include_router(import_module(name).router)
    app.add_exception_handler(TalkerError, _ours)
    app.add_exception_handler(HTTPException, _https)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)
    app.add_middleware(OwnerCookie)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "X-API-Key", "Prefer"],
            expose_headers=["X-Visavis-Token", "X-Visavis-Info", "Location", "Retry-After"],
        )
    return app


@contextmanager
def beside(studio: Studio) -> Iterator[list[BaseRoute]]:
    """All of the application, but its `/`, as routes to hang beside another one's for as long as the block
    lasts."""
    app = create_app(studio, studio.settings)
    try:
        yield routes(app)
    finally:
        app.state.house.close()


def routes(app: FastAPI) -> list[BaseRoute]:
    """An application but its `/` as one route, middleware and all."""
    return [_Beside(app)]


class _Beside(BaseRoute):
    """Hands every request that an application has a route for to it, middleware and all."""

    def __init__(self, app: FastAPI) -> None:
        self._app = app

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if scope["type"] not in ("http", "websocket") or scope["path"] in ("", "/"):
            return Match.NONE, {}
        found = any(route.matches(dict(scope))[0] is not Match.NONE for route in self._app.routes)
        return (Match.FULL if found else Match.NONE), {}

    def url_path_for(self, name: str, /, **path_params: Any) -> URLPath:
        raise NoMatchFound(name, path_params)

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app(scope, receive, send)


@asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    yield
    await asyncio.to_thread(app.state.house.close)


# --- errors as JSON


def _answer(status: int, code: str, message: str, headers: Mapping[str, str] = NO_HEADERS) -> Response:
    return JSONResponse({"error": code, "message": message}, status, headers)


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, TalkerError)
    house_of(request).metrics.error(error.code)
    headers = {}
    if isinstance(error, Busy):
        headers["Retry-After"] = str(math.ceil(error.retry_after_s))
    if isinstance(error, Unauthorized):
        headers["WWW-Authenticate"] = "Bearer"
    return _answer(error.http_status, error.code, str(error), headers)


async def _https(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = error.detail.lower().replace(" ", "_")
    message = f"{request.method} {request.url.path[:200]}: {error.detail.lower()}."
    return _answer(error.status_code, code, one_line(message), error.headers or NO_HEADERS)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    return await _ours(request, BadRequest(f"'{first['loc'][-1]!s:.60}': {first['msg']}."))


async def _unexpected(request: Request, error: Exception) -> Response:
    house_of(request).metrics.error("error")
    return _answer(500, "error", "Something went wrong on the server; its log tells more.")
