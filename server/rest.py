"""REST: a portrait and a voice in, a video out, at once or as a job."""

import asyncio
import json
from pathlib import Path as FilePath
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel
from starlette.responses import FileResponse, JSONResponse

from core.errors import BadRequest, NotDone, TalkerError, UnknownJob
from core.optimization.jobs import Job, State
from core.studio import Scope
from server.answers import FAULTS, Fault
from server.forms import form_of
from server.house import house_of
from server.orders import Fields, order_of, place, result_of
from server.owners import keyed, owner_of, rated
from server.schema import GENERATE
from server.uploads import limits_of

router = APIRouter(tags=["clips"], dependencies=[Depends(keyed)], responses=FAULTS)
JobId = Annotated[str, Path(pattern="^[A-Za-z0-9_-]{1,64}$", description="of a job: who holds it may look")]
_WAIT = {"": True, "true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_VIDEO: dict[str, Any] = {
    "content": {"video/mp4": {"schema": {"type": "string", "format": "binary"}}},
    "headers": {
        "X-Visavis-Token": {"description": "of the avatar", "schema": {"type": "string"}},
        "X-Visavis-Info": {"description": "figures as JSON", "schema": {"type": "string"}},
    },
}


class JobState(BaseModel):
    """A job at one moment. `fraction` is 0..1; `eta_s` is null while unknown; `result` the video's path."""

    job: str
    state: State
    fraction: float
    stage: str
    eta_s: float | None
    error: Fault | None
    result: str | None
    info: dict[str, Any]


class Cleared(BaseModel):
    """How many were deleted."""

    scope: Scope
    results: int
    avatars: int


@router.post(
    "/generate",
    response_class=FileResponse,
    responses={200: {"description": "the video", **_VIDEO}, 202: {"model": JobState}},
    openapi_extra=GENERATE,
    dependencies=[Depends(rated)],
)
async def generate(request: Request) -> Response:
    """Make a portrait (`source`, or the `avatar_token` of one) say what is in `audio`.

    Waits for the video; with `wait=false`, or the header `Prefer: respond-async`, answers 202 with a job.
    """
    house, owner = house_of(request), owner_of(request)
    house.worker.admit()  # before anything is read
    async with form_of(request, limits_of(house.settings)) as form:
        fields = Fields(form)
        wait = _waits(request, fields.take("wait"))
        order = await order_of(house, owner, form, fields)
    try:
        job, future = await asyncio.to_thread(place, house, order)
    except TalkerError:
        house.uploads.remove(order.source)
        house.uploads.remove(order.audio)
        raise
    if not wait:
        return JSONResponse(
            state_of(job).model_dump(mode="json"),
            202,
            {"Location": f"/jobs/{job.id}", "Preference-Applied": "respond-async"},
        )
    await result_of(request, future, job.cancel)
    return _video(job)


@router.get("/jobs")
def jobs(request: Request) -> list[JobState]:
    """Your jobs, newest first."""
    return [state_of(job) for job in house_of(request).studio.jobs.list(owner_of(request))]


@router.get("/jobs/{job_id}")
def job(request: Request, job_id: JobId) -> JobState:
    """How far a job is."""
    return state_of(house_of(request).studio.jobs.find(job_id))


@router.get(
    "/jobs/{job_id}/result",
    response_class=FileResponse,
    responses={
        200: {"description": "the video", **_VIDEO},
        206: {"description": "a part of the video", **_VIDEO},
        416: {"description": "there is no such part"},
    },
)
def result(request: Request, job_id: JobId) -> Response:
    """The video of a job that is done."""
    return _video(house_of(request).studio.jobs.find(job_id))


@router.delete("/jobs/{job_id}")
def remove_job(request: Request, job_id: JobId) -> JobState:
    """Cancel your job; one that has ended is forgotten, with its video."""
    return state_of(house_of(request).studio.jobs.remove(owner_of(request), job_id))


@router.post("/clear_cache")
def clear_cache(request: Request, scope: Scope = "results") -> Cleared:
    """Delete your `results` (default), `avatars` or `all`."""
    house = house_of(request)
    return Cleared(scope=scope, **house.studio.clear(owner_of(request), scope))


def state_of(job: Job) -> JobState:
    """A job as clients see it."""
    status = job.status
    return JobState(
        job=job.id,
        state=status.state,
        fraction=status.fraction,
        stage=status.stage,
        eta_s=status.eta_s,
        error=Fault(error=status.error[0], message=status.error[1]) if status.error else None,
        result=f"/jobs/{job.id}/result" if status.result else None,
        info=dict(status.figures),
    )


def _video(job: Job) -> Response:
    status = job.status
    if status.error is not None:
        raise NotDone(f"The job has no result: {status.error[1]}")
    if status.result is None:
        raise NotDone(f"The job is {status.state}.", f"Ask /jobs/{job.id} how far it is.")
    if not FilePath(status.result).is_file():
        raise UnknownJob("The result of this job has expired.", "Start a new one.")
    about = {
        "X-Visavis-Token": str(status.figures.get("token", "")),
        "X-Visavis-Info": json.dumps(dict(status.figures), separators=(",", ":")),
        "X-Visavis-Job": job.id,
        "Cache-Control": "private, no-store",
    }
    return FileResponse(status.result, media_type="video/mp4", filename="talking_head.mp4", headers=about)


def _waits(request: Request, field: str) -> bool:
    if field.lower() not in _WAIT:
        raise BadRequest(f"'wait' is true or false, not '{field:.20}'.")
    prefers = [part.strip().lower() for part in request.headers.get("prefer", "").split(",")]
    return _WAIT[field.lower()] and "respond-async" not in prefers
