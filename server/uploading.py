"""`POST /upload`: files for the streams, which name them by path. Streaming clients know this contract."""

from fastapi import APIRouter, Depends, Request, Response
from pydantic import BaseModel
from starlette.datastructures import UploadFile
from starlette.responses import JSONResponse

from core.errors import BadAudio, BadImage, BadRequest, TalkerError
from server.answers import FAULTS
from server.forms import form_of
from server.house import house_of
from server.owners import keyed, owner_of, rated
from server.uploads import Kind, limits_of, suffix_of

router = APIRouter(tags=["uploads"], dependencies=[Depends(keyed), Depends(rated)])
_KINDS: tuple[Kind, ...] = ("audio", "source")
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "properties": {kind: {"type": "string", "format": "binary"} for kind in _KINDS},
                    "minProperties": 1,
                    "additionalProperties": False,
                }
            }
        },
    }
}


class Uploaded(BaseModel):
    """What the paths are to be used as; only those of the files that were sent."""

    audio_path: str | None = None
    source_path: str | None = None


@router.post("/upload", response_model=Uploaded, responses=FAULTS, openapi_extra=_BODY)
async def upload(request: Request) -> Response:
    """Hand in `audio` (.wav .mp3 .m4a .flac .ogg), `source` (.png .jpg .jpeg .webp, or a video), or both."""
    house, owner = house_of(request), owner_of(request)
    async with form_of(request, limits_of(house.settings)) as form:
        files = {kind: file for kind in _KINDS if isinstance(file := form.get(kind), UploadFile)}
        unknown = [name for name in form if name not in _KINDS]
        if unknown:
            raise BadRequest(f"Unknown field '{unknown[0]:.60}'.", f"Fields: {', '.join(_KINDS)}.")
        if not files:
            return _refused("no files provided")
        try:
            for kind, file in files.items():
                suffix_of(kind, file.filename or "")
        except (BadAudio, BadImage) as error:
            return _refused(error.message)
        saved = {}
        try:
            for kind, file in files.items():
                saved[kind] = await house.uploads.save(owner, kind, file)
        except TalkerError:
            for path in saved.values():
                house.uploads.remove(path)
            raise
    return JSONResponse({f"{kind}_path": str(path) for kind, path in saved.items()})


def _refused(text: str) -> Response:
    """A refusal as streaming clients know it: the text stands where elsewhere the code does."""
    return JSONResponse({"error": text, "message": text}, 400)
