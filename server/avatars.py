"""REST: portraits that are prepared once, and tokens that stand for them."""

import asyncio
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from core.errors import UnknownToken
from core.optimization.avatar_cache import AvatarInfo
from core.order import idle_options, options_of
from server.answers import FAULTS
from server.forms import form_of
from server.house import house_of
from server.orders import Fields, Registration, file_in, result_of
from server.owners import keyed, owner_of, rated
from server.schema import AVATAR
from server.uploads import limits_of

router = APIRouter(tags=["avatars"], dependencies=[Depends(keyed)], responses=FAULTS)
Token = Annotated[
    str, Path(pattern="^[A-Za-z0-9_-]{1,64}$", description="of an avatar: who holds it may use it")
]


Size = Annotated[list[int], Field(min_length=2, max_length=2)]


class Registered(BaseModel):
    """A prepared portrait. `size` is its width and height in pixels."""

    token: str
    engine: str
    is_image: bool
    frames: int
    size: Size
    notes: list[str]
    warnings: list[str]


class Avatar(BaseModel):
    """An avatar. Times in seconds since 1970; `thumbnail` tells where its picture is, if it has one."""

    token: str
    label: str
    created: float
    last_used: float
    size: Size
    frames: int
    thumbnail: str | None


class Deleted(BaseModel):
    """The token that is no more."""

    deleted: str


@router.post(
    "/avatars",
    status_code=201,
    response_model=Registered,
    openapi_extra=AVATAR,
    dependencies=[Depends(rated)],
)
async def register(request: Request) -> Response:
    """Prepare a portrait once -> its token. An equal portrait of yours has the same one."""
    house, owner = house_of(request), owner_of(request)
    house.worker.admit()  # before anything is read
    path = None
    try:
        async with form_of(request, {"source": limits_of(house.settings)["source"]}) as form:
            fields = Fields(form)
            if (file := file_in(form, "source")) is not None:
                path = await house.uploads.save(owner, "source", file)
        work = await asyncio.to_thread(Registration, house.studio, owner, path, fields)
        token, avatar = await result_of(request, house.worker.submit(work.make, work.stop), work.stop)
    finally:
        house.uploads.remove(path)
    options = options_of(house.studio, work.values, work.preset)
    answer = Registered(
        token=token,
        engine=avatar.engine,
        is_image=avatar.is_image,
        frames=avatar.n_frames,
        size=list(avatar.size),
        notes=list(avatar.notes),
        warnings=list(idle_options(house.studio, work.preset, options, avatar.is_image)),
    )
    return JSONResponse(answer.model_dump(), 201, {"Location": f"/avatars/{token}"})


@router.get("/avatars")
def avatars(request: Request) -> list[Avatar]:
    """Your avatars, newest first."""
    return [_shown(avatar) for avatar in house_of(request).studio.gallery(owner_of(request))]


@router.get("/avatars/{token}")
def avatar(request: Request, token: Token) -> Avatar:
    """One avatar."""
    return _shown(house_of(request).studio.avatars.info(token))


@router.get(
    "/avatars/{token}/thumbnail",
    response_class=Response,
    responses={200: {"content": {"image/jpeg": {}}, "description": "a small picture"}},
)
def thumbnail(request: Request, token: Token) -> Response:
    """The picture of an avatar."""
    found = house_of(request).studio.avatars.info(token)
    if not found.thumbnail:
        raise UnknownToken("This avatar has no picture.")
    return Response(
        found.thumbnail, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"}
    )


@router.delete("/avatars/{token}")
def forget(request: Request, token: Token) -> Deleted:
    """Delete an avatar of yours."""
    house_of(request).studio.forget(owner_of(request), token)
    return Deleted(deleted=token)


def _shown(avatar: AvatarInfo) -> Avatar:
    return Avatar(
        token=avatar.token,
        label=avatar.label,
        created=avatar.created,
        last_used=avatar.last_used,
        size=list(avatar.size),
        frames=avatar.n_frames,
        thumbnail=f"/avatars/{avatar.token}/thumbnail" if avatar.thumbnail else None,
    )
