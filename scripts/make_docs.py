"""Write what the documentation tells about options, settings and errors, from the code that defines them.

python scripts/make_docs.py             docs/parameters.md, and the marked tables of README.md
python scripts/make_docs.py --measure   measure the options' effects first (docs/effects.json, minutes)
python scripts/make_docs.py --check     change nothing; exit 1 where a file is out of date
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core import errors
from core.engines.lite.engine import LiteEngine
from core.option_table import OPTIONS, PRESETS, OptionSpec, flat
from core.options import FrameControl, GenerationOptions
from core.settings import Settings

EFFECTS = ROOT / "docs" / "effects.json"
PARAMETERS = ROOT / "docs" / "parameters.md"
README = ROOT / "README.md"

_GROUP_TITLES = {
    "crop": "The source (these enter the avatar's key)",
    "motion": "Motion",
    "expression": "Emotion and eyes",
    "stitch": "Head, keys and fades",
    "output": "Output",
    "": "Single frames",
}
_SOURCES = {
    "portrait": "",
    "wide": " (portrait in a larger picture)",
    "rolled": " (portrait rolled by 20°)",
    "video": " (video source)",
}
_INTRO = """\
# Parameters

Every option of Visavis: a flag of `inference.py`, a field of the page's advanced panel, and an argument of
`/process_talking_head`. Made by `python scripts/make_docs.py` from the one option table (`core/options.py`).

*Effect*: measured with the engine `lite` on the sample portrait and the sample speech, as
`measure: with the default → with the value named`. "no" under *lite* marks options of the diffusion engine
Ditto; `lite` answers them with a warning.
"""


def table(header: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table; bars inside the cells are escaped."""
    lines = [header, ("---",) * len(header), *rows]
    return (
        "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
        + "\n"
    )


def shown(value: object) -> str:
    """A value as it would be typed on the command line."""
    while isinstance(value, list) and len(value) == 1:
        value = value[0]
    if value == "":
        return '""'
    return value if isinstance(value, str) else json.dumps(value).replace("null", "none")


def effect(measured: dict[str, object]) -> str:
    """One result of docs/effects.json in words."""
    beside = measured["beside"]
    assert isinstance(beside, dict)
    others = ", ".join(f"`{name}` {value}" for name, value in beside.items())
    return (
        f"`{measured['value']}`: {measured['measure']} {measured['before']:g} → {measured['after']:g}"
        f"{_SOURCES[str(measured['source'])]}{f' (beside {others})' if others else ''}"
    )


def parameters(effects: dict[str, dict[str, object]]) -> str:
    """The text of docs/parameters.md."""
    defaults = flat(GenerationOptions())
    parts = [_INTRO]
    for group, title in _GROUP_TITLES.items():
        rows = [_row(spec, defaults[name], effects) for name, spec in OPTIONS.items() if spec.group == group]
        parts.append(f"## {title}\n\n" + table(_HEADER, rows))
    fields = [(f"`{name}`", shown(info.default)) for name, info in FrameControl.model_fields.items()]
    parts.append(
        "### A frame's controls\n\n`delta_*` are degrees and replace the clip's own value; `alpha_*` "
        "multiply the motion, 0 .. 3; `vad_alpha` and\n`fade_alpha` scale it, 0 .. 1.\n\n"
        + table(("field", "default"), fields)
    )
    changed = [name for name in OPTIONS if any(name in preset for preset in PRESETS.values())]
    presets = [(f"`{name}`", *(shown(PRESETS[preset][name]) for preset in PRESETS)) for name in changed]
    parts.append("## Presets\n\n" + table(("option", *(f"`{preset}`" for preset in PRESETS)), presets))
    return "\n".join(parts)


_HEADER = ("option", "default", "range", "unit", "meaning", "lite", "effect")


def _row(spec: OptionSpec, default: object, effects: dict[str, dict[str, object]]) -> tuple[str, ...]:
    acts = spec.name in LiteEngine.capabilities.acts_on
    told = effect(effects[spec.name]) if acts else ""
    return (f"`{spec.name}`", shown(default), spec.range, spec.unit, spec.help, "yes" if acts else "no", told)


def settings() -> str:
    """The table of environment variables."""
    rows = [
        (f"`VISAVIS_{name.upper()}`", f"`{info.default}`", info.description or "")
        for name, info in Settings.model_fields.items()
    ]
    return table(("variable", "default", "meaning"), rows)


def error_codes() -> str:
    """The table of errors with the exit code of `inference.py`."""
    rows = [
        (f"`{kind.code}`", str(kind.exit_code), (kind.__doc__ or _comment(kind)).strip())
        for kind in _leaves(errors.TalkerError)
    ]
    return table(("code", "exit code", "meaning"), rows)


def _leaves(kind: type[errors.TalkerError]) -> Iterator[type[errors.TalkerError]]:
    below = kind.__subclasses__()
    if not below:
        yield kind
    for each in below:
        yield from _leaves(each)


def _comment(kind: type[errors.TalkerError]) -> str:
    """What the tree in the docstring of core.errors says about a class, or about the class above it."""
    found = re.search(rf"── {kind.__name__}[ \t]+(\S.*)", errors.__doc__ or "")
    return found.group(1) if found else _comment(kind.__mro__[1])


def readme(text: str) -> str:
    """README.md with its marked tables made anew."""
    for name, made in (("settings", settings()), ("errors", error_codes())):
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        _, _, tail = rest.partition(end)
        text = head + begin + made + end + tail
    return text


def main() -> int:
    """Measure, write or check -> exit code."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument("--measure", action="store_true", help="measure the effects of all options first")
    arguments.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 where something is old"
    )
    given = arguments.parse_args()
    if given.measure:
        from scripts.effects import measure

        EFFECTS.write_text(
            json.dumps(measure(LiteEngine.capabilities.acts_on), indent=1, ensure_ascii=False) + "\n",
            encoding="utf-8",
        )
    effects = json.loads(EFFECTS.read_text(encoding="utf-8"))
    stale = []
    for path, text in (
        (PARAMETERS, parameters(effects)),
        (README, readme(README.read_text(encoding="utf-8"))),
    ):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        if given.check:
            stale.append(path.name)
        else:
            path.write_text(text, encoding="utf-8")
    if stale:
        print(f"out of date: {', '.join(stale)}; run python scripts/make_docs.py", file=sys.stderr)
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main())
