"""How faults look in the API's description."""

from typing import Any

from pydantic import BaseModel

from core import errors


class Fault(BaseModel):
    """What went wrong: a code for programs, a line for people."""

    error: str
    message: str


def _described() -> dict[int | str, dict[str, Any]]:
    """Every status that an error of ours has, with the codes that come with it."""
    codes: dict[int, list[str]] = {}
    kinds = [errors.TalkerError]
    while kinds:
        kind = kinds.pop()
        codes.setdefault(kind.http_status, []).append(kind.code)
        kinds += kind.__subclasses__()
    codes.setdefault(400, []).append("bad_request")
    return {
        status: {"model": Fault, "description": ", ".join(sorted(set(names)))}
        for status, names in sorted(codes.items())
    }


FAULTS = _described()
