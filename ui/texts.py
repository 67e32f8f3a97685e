"""What the page says, in every language it speaks: `locales/*.json`, one key one sentence.

Fixed texts are translated in the browser (`text(key)`); what the server writes while it works
(progress, figures, choices) is said in the language that the browser asks for (`say`).
"""

import json
from collections.abc import Mapping
from pathlib import Path

import gradio as gr
from gradio.i18n import I18nData

from core.option_table import OPTIONS

LANGUAGES = ("en", "zh", "ja", "ko")
_LOCALES = Path(__file__).parent / "locales"


def _load() -> dict[str, dict[str, str]]:
    """Every language's texts; English explains an option in the words of the option table."""
    found = {name: json.loads((_LOCALES / f"{name}.json").read_text("utf-8")) for name in LANGUAGES}
    for name, spec in OPTIONS.items():
        found["en"][f"help.{name}"] = f"{spec.help} ({spec.unit})" if spec.unit else spec.help
    return found


_TABLES = _load()
_OURS = "vv."  # Gradio has texts of its own under names such as "video"
TEXTS = gr.I18n(
    **{name: {_OURS + key: words for key, words in table.items()} for name, table in _TABLES.items()}
)


def text(key: str) -> I18nData:
    """A text for a component's label, info or value, translated by the browser."""
    return TEXTS(_OURS + key)


def say(language: str, key: str, **values: object) -> str:
    """A text in one of `LANGUAGES`, its {places} filled; English where a language lacks it."""
    return _TABLES[language].get(key, _TABLES["en"][key]).format(**values)


def language_of(headers: Mapping[str, str]) -> str:
    """The first of our languages in a browser's Accept-Language, else English."""
    for part in headers.get("accept-language", "").split(","):
        name = part.split(";")[0].strip().lower().split("-")[0]
        if name in LANGUAGES:
            return name
    return "en"
