"""Whose avatars are whose: a browser is known by a secret that it keeps, a client by its session."""

import hashlib
import re
import secrets

import gradio as gr

_SECRET = re.compile(r"[A-Za-z0-9_-]{43}")


def new_secret() -> str:
    """A secret for a browser that has none: 256 random bits, 43 characters."""
    return secrets.token_urlsafe(32)


def is_secret(value: object) -> bool:
    """Whether a browser's value has the form of our secrets."""
    return isinstance(value, str) and _SECRET.fullmatch(value) is not None


def owner_of(request: gr.Request, secret: object = None) -> str:
    """The owner behind a request. Stores keep this digest, never the secret or the session itself."""
    known = f"browser {secret}" if is_secret(secret) else f"session {request.session_hash}"
    return hashlib.sha256(known.encode()).hexdigest()[:40]
