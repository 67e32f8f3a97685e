"""Who asks: an API key, a browser that keeps a cookie, or else just this connection."""

import hashlib
import re
import secrets

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from core.errors import Unauthorized
from server.house import house_of

COOKIE = "visavis-owner"
_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")
_YEAR_S = 365 * 86_400
_FRESH = "visavis.secret"  # in the scope: the secret made for a connection that brought none


def owner_of(connection: HTTPConnection) -> str:
    """The owner behind a connection, 40 hex digits. Stores keep this digest, never key or secret."""
    key = _key(connection)
    known = f"key {key}" if key and _is_valid(connection, key) else f"browser {_secret(connection)}"
    return hashlib.sha256(known.encode(errors="surrogatepass")).hexdigest()[:40]


def check_key(connection: HTTPConnection) -> None:
    """Raises Unauthorized where keys are asked for and none, or a wrong one, was given."""
    if not house_of(connection).settings.keys:
        return
    key = _key(connection)
    if key is None:
        raise Unauthorized("An API key is needed.", "Send it as 'Authorization: Bearer KEY' or 'X-API-Key'.")
    if not _is_valid(connection, key):
        raise Unauthorized("This API key is not known.", "Check it.")


def check_rate(connection: HTTPConnection) -> None:
    """Count a request that costs something. Raises RateLimited beyond VISAVIS_RATE_PER_MINUTE.

    Counted by key, or by address: whoever has no key could be a new owner with every request.
    """
    key = _key(connection)
    if key is not None and _is_valid(connection, key):
        caller = f"key {key}"
    else:
        caller = f"address {connection.client.host if connection.client else ''}"
    house_of(connection).rates.count(caller)


class OwnerCookie:
    """ASGI middleware: a browser without our cookie gets one with its answer, and owns by it at once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_cookie(message: Message) -> None:
            if message["type"] == "http.response.start" and _FRESH in scope:
                secure = "; Secure" if scope.get("scheme") == "https" else ""
                cookie = f"{COOKIE}={scope[_FRESH]}; Max-Age={_YEAR_S}; Path=/; HttpOnly; SameSite=Lax"
                MutableHeaders(scope=message).append("Set-Cookie", cookie + secure)
            await send(message)

        _secret(HTTPConnection(scope))
        await self._app(scope, receive, send_with_cookie)


def _secret(connection: HTTPConnection) -> str:
    """The browser's secret, or a fresh one that this connection keeps."""
    given = connection.cookies.get(COOKIE, "")
    if _SECRET.fullmatch(given):
        return given
    fresh: str = connection.scope.setdefault(_FRESH, secrets.token_urlsafe(32))
    return fresh


def _key(connection: HTTPConnection) -> str | None:
    scheme, _, bearer = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and bearer.strip():
        return bearer.strip()
    if header := connection.headers.get("x-api-key"):
        return header
    # browsers cannot set headers of a WebSocket; in the address of anything else a key would be logged
    return connection.query_params.get("key") if connection.scope["type"] == "websocket" else None


def _is_valid(connection: HTTPConnection, key: str) -> bool:
    given = key.encode(errors="surrogatepass")
    known = [secrets.compare_digest(given, each.encode()) for each in house_of(connection).settings.keys]
    return any(known)


async def keyed(connection: HTTPConnection) -> None:
    """`check_key` as a dependency of routes."""
    check_key(connection)


async def rated(connection: HTTPConnection) -> None:
    """`check_rate` as a dependency of routes."""
    check_rate(connection)
