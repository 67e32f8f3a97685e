"""The WebSocket route: one address, two versions of the protocol, told apart by the subprotocol."""

from fastapi import APIRouter
from starlette.responses import JSONResponse
from starlette.websockets import WebSocket

from core.errors import TalkerError
from server.owners import check_key
from server.protocol_v2 import SUBPROTOCOL
from server.streaming_v1 import serve_v1
from server.streaming_v2 import serve_v2

router = APIRouter()


@router.websocket("/ws/{client_id:path}")  # any id: it names a client in the log and nothing else
async def stream(socket: WebSocket, client_id: str) -> None:
    """Version 1, or version 2 for clients that offer its subprotocol."""
    try:
        check_key(socket)
    except TalkerError as error:
        answer = {"error": error.code, "message": str(error)}
        await socket.send_denial_response(JSONResponse(answer, error.http_status))
        return
    if SUBPROTOCOL in socket.scope["subprotocols"]:
        await serve_v2(socket, client_id)
    else:
        await serve_v1(socket, client_id)
