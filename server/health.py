"""Whether the process is up, whether its engine is ready, and figures for Prometheus."""

from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel
from starlette.responses import JSONResponse

from server.house import house_of
from server.metrics import CONTENT_TYPE
from server.owners import check_key

VERSION = "0.1.0"
router = APIRouter(tags=["state"])


class Health(BaseModel):
    """The state of the server. `queue` counts what waits or runs, `sessions` live ones."""

    status: Literal["healthy"]
    version: str
    engine: str
    engine_reason: str
    device: str
    ready: bool
    queue: int
    sessions: int
    max_sessions: int


class State(BaseModel):
    """`ok`, or why not yet."""

    status: str


@router.get("/health")
async def health(request: Request) -> Health:
    """What runs here, and how busy it is."""
    house = house_of(request)
    running = house.studio.running
    return Health(
        status="healthy",
        version=VERSION,
        engine=running.engine.name,
        engine_reason=running.reason,
        device=running.device,
        ready=house.worker.ready,
        queue=house.worker.open,
        sessions=house.admission.active,
        max_sessions=house.admission.most,
    )


@router.get("/healthz")
async def alive() -> State:
    """The process is up."""
    return State(status="ok")


@router.get("/readyz", responses={503: {"model": State, "description": "not yet"}})
async def ready(request: Request) -> Response:
    """The engine is loaded and warm."""
    if house_of(request).worker.ready:
        return JSONResponse({"status": "ok"})
    return JSONResponse({"status": "the engine is being made ready"}, 503, {"Retry-After": "2"})


@router.get("/metrics", include_in_schema=False)
async def metrics(request: Request) -> Response:
    """Prometheus' text format."""
    check_key(request)
    return Response(house_of(request).metrics.text(), media_type=CONTENT_TYPE)
