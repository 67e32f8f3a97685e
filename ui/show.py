"""The pieces of HTML that the server writes: progress, figures, the gallery. Everything is escaped."""

import base64
import html
from collections.abc import Iterable
from typing import Any

from core.engines.registry import Running
from core.optimization.avatar_cache import AvatarInfo
from core.talker import Progress
from ui.texts import say

# A click on a card or on its cross becomes an event of the gallery, with the token in it.
GALLERY = """
element.addEventListener('click', (event) => {
  const button = event.target.closest('button[data-token]');
  if (button) trigger(button.dataset.what, {token: button.dataset.token});
});
"""
_FACE = (
    '<svg class="vv-face" viewBox="0 0 96 96" aria-hidden="true"><circle cx="48" cy="38" r="20"/>'
    '<path d="M14 90c2-20 16-30 34-30s32 10 34 30"/><path class="vv-wave" d="M40 45q8 7 16 0"/></svg>'
)


def blank(language: str, key: str = "empty") -> str:
    """The stage without a video: the text `key` and its hint."""
    title, hint = say(language, key), say(language, f"{key}.hint")
    return f'<div class="vv-blank">{_FACE}<strong>{title}</strong><span>{hint}</span></div>'


def progress(step: Progress, language: str) -> str:
    """How far a run is: the stage, a bar, the time left."""
    percent = "" if step.fraction is None else f"{100 * step.fraction:.0f}"
    left = "" if step.eta_s is None else say(language, "left", seconds=max(round(step.eta_s), 1))
    bar = f'style="width:{percent}%"' if percent else 'class="vv-unknown"'
    value = f'aria-valuenow="{percent}"' if percent else ""
    return (
        f'<div class="vv-blank vv-running">{_FACE}<strong>{say(language, "stage." + step.stage)}</strong>'
        f'<div class="vv-bar" role="progressbar" aria-valuemin="0" aria-valuemax="100" {value}>'
        f"<i {bar}></i></div><span>{percent + ' %' if percent else ''}"
        f"{' · ' if percent and left else ''}{left}</span></div>"
    )


def facts(figures: dict[str, Any], language: str) -> str:
    """The figures that matter most, then notes and warnings."""
    chips = (
        (_time(figures["ffd_ms"]), "fact.ffd"),
        (f"{figures['rtf']:.2f}×", "fact.rtf"),
        (_time(figures["register_ms"]), "fact.register"),
        (str(figures["frames"]), "fact.frames"),
    )
    shown = "".join(f"<li><b>{value}</b> {say(language, key)}</li>" for value, key in chips)
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in figures["notes"] + figures["warnings"])
    return f'<ul class="vv-facts">{shown}</ul>' + (f'<div class="vv-notes">{lines}</div>' if lines else "")


def details(figures: dict[str, Any], language: str) -> str:
    """All the rest: a table, and a bar of what each stage took."""
    rows = {
        "duration": f"{figures['duration_s']:.2f} s",
        "size": f"{figures['width']} × {figures['height']}",
        "engine": f"{figures['engine']} ({figures['engine_reason']})",
        "preset": say(language, f"preset.{figures['preset']}"),
        "seed": str(figures["seed"]),
        "token": figures["token"],
    }
    table = "".join(
        f"<dt>{say(language, 'detail.' + name)}</dt><dd>{html.escape(value)}</dd>"
        for name, value in rows.items()
    )
    total = sum(figures["stages_ms"].values()) or 1.0
    stages = "".join(
        f'<li><span>{html.escape(name)}</span><i style="width:{100 * value / total:.1f}%"></i>'
        f"<b>{_time(value)}</b></li>"
        for name, value in figures["stages_ms"].items()
    )
    return (
        f'<dl class="vv-table">{table}</dl><p class="vv-stages-title">{say(language, "stages")}</p>'
        f'<ul class="vv-stages">{stages}</ul>'
    )


def engine(running: Running, language: str) -> str:
    """Which engine makes the videos, why, and what went wrong on the way to another."""
    words = say(language, "engine.in_use", engine=running.engine.name)
    lines = "".join(f"<p>{html.escape(line)}</p>" for line in running.warnings or (running.reason,))
    return f"<strong>{html.escape(words)}</strong>{lines}"


def gallery(avatars: Iterable[AvatarInfo], chosen: str, language: str) -> str:
    """One's avatars as cards: a picture that selects, a cross that deletes."""
    cards = "".join(_card(avatar, avatar.token == chosen, language) for avatar in avatars)
    return f'<div class="vv-gallery">{cards}</div>' if cards else f"<p>{say(language, 'avatars.empty')}</p>"


def _card(avatar: AvatarInfo, chosen: bool, language: str) -> str:
    pick, delete = (html.escape(say(language, f"avatars.{what}")) for what in ("pick", "delete"))
    name = html.escape(avatar.label) or pick
    token = f'data-token="{html.escape(avatar.token)}"'
    picture = base64.b64encode(avatar.thumbnail).decode()
    return (
        f'<div class="vv-card"><button data-what="select" {token} aria-pressed="{str(chosen).lower()}"'
        f' title="{name}"><img alt="{name}" src="data:image/jpeg;base64,{picture}"></button>'
        f'<button class="vv-drop" data-what="delete" {token} aria-label="{delete}">×</button></div>'
    )


def _time(ms: float) -> str:
    return f"{ms / 1000:.1f} s" if ms >= 1000 else f"{ms:.0f} ms"
