"""Multipart bodies, read no further than their limits."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager

from python_multipart.exceptions import FormParserError
from starlette.datastructures import FormData, Headers
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from core.errors import BadRequest, Cancelled
from server.uploads import too_long

_FIELD_BYTES = 2**20  # of one field that is no file
_FIELDS_BYTES = 4 * 2**20  # of all of them, and what a form has besides
_MOST_FIELDS = 200
PATIENCE_S = 10.0  # for the next part of a body


class _Bounded(MultiPartParser):
    """Refuses a file as soon as it is larger than its field allows, and fields that are not known."""

    def __init__(self, request: Request, most: Mapping[str, int]) -> None:
        super().__init__(
            Headers(scope=request.scope),
            _bounded(request.stream(), sum(most.values()) + _FIELDS_BYTES),
            max_files=len(most),
            max_fields=_MOST_FIELDS,
            max_part_size=_FIELD_BYTES,
        )
        self._most = most
        self._seen = self._fields = 0

    def on_headers_finished(self) -> None:
        super().on_headers_finished()
        self._seen = 0
        name = self._current_part.field_name
        if self._current_part.file is not None and name not in self._most:
            raise BadRequest(f"'{name:.60}' takes no file.", f"Files: {', '.join(self._most)}.")

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is not None:
            self._seen += end - start
            most = self._most[self._current_part.field_name]
            if self._seen > most:
                raise too_long(most)
        else:
            self._fields += end - start
            if self._fields > _FIELDS_BYTES:
                raise too_long(_FIELDS_BYTES)
        super().on_part_data(data, start, end)


async def _bounded(blocks: AsyncGenerator[bytes, None], most: int) -> AsyncGenerator[bytes, None]:
    read = 0
    while True:
        try:
            block = await asyncio.wait_for(anext(blocks, None), PATIENCE_S)
        except TimeoutError as error:
            raise Cancelled("The rest of the body did not come.", "Send it without a pause.") from error
        if block is None:
            return
        read += len(block)
        if read > most:
            raise too_long(most)
        yield block


@asynccontextmanager
async def form_of(request: Request, most: Mapping[str, int]) -> AsyncIterator[FormData]:
    """The multipart form of a request; its files, at most `most` bytes by field name, are gone afterwards.

    Raises TooLong as soon as that is known, BadRequest, Cancelled where the client went away or pauses.
    """
    content_type = request.headers.get("content-type", "")
    if not content_type.lower().startswith("multipart/form-data"):
        raise BadRequest("The body is not a form.", "Send it as multipart/form-data.")
    length = request.headers.get("content-length", "")
    allowed = sum(most.values()) + _FIELDS_BYTES
    if length.isascii() and length.isdecimal() and int(length) > allowed:
        raise too_long(max(most.values()))
    try:
        form = await _Bounded(request, most).parse()
    except (MultiPartException, FormParserError) as error:
        raise BadRequest("The form cannot be read.", "Send it as multipart/form-data.") from error
    except ClientDisconnect as error:
        raise Cancelled("The client went away.") from error
    try:
        yield form
    finally:
        await form.close()
