"""Files that cross the page's border: what comes in must have been uploaded, what goes out is a result."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.errors import BadPath


def received(payload: object, uploads: Path) -> Path | None:
    """The file behind what a client sent (gradio's FileData as a dict), None where it sent nothing.

    Raises BadPath unless the file really lies inside the upload folder, links followed: gradio looks
    too, but only while its own launch() serves the app.
    """
    if payload is None or payload == "":
        return None
    path = payload.get("path") if isinstance(payload, Mapping) else None
    if not isinstance(path, str):
        raise BadPath("A file was expected.", "Upload it first, with gradio_client's handle_file.")
    try:
        real = Path(path).resolve()
        if real.is_relative_to(uploads.resolve()) and real.is_file():
            return real
    except (OSError, RuntimeError, ValueError):  # a name too long, a circle of links, a null byte
        pass
    raise BadPath("This file was not uploaded.", "Only uploaded files can be used.")


def sent(path: Path) -> dict[str, Any]:
    """A result as gradio's clients take it."""
    return {"path": str(path), "orig_name": path.name, "meta": {"_type": "gradio.FileData"}}
