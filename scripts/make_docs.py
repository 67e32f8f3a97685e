"""Write what the documentation tells about options, settings and errors, from the code that defines them.

python scripts/make_docs.py             docs/parameters.md, the marked tables of README.md and docs/ditto.md
python scripts/make_docs.py --measure   measure first what they tell (docs/effects.json, minutes; with torch)
python scripts/make_docs.py --measure lite   a part of it: lite, ditto, or memory
python scripts/make_docs.py --check     change nothing; exit 1 where a file is out of date
"""

import argparse
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from core import errors
from core.engines.lite.engine import LiteEngine
from core.option_table import OPTIONS
from core.option_values import FrameControl
from core.settings import Settings
from core.types import FPS
from scripts.docs_parameters import parameters, shown, table

EFFECTS = ROOT / "docs" / "effects.json"
PARAMETERS = ROOT / "docs" / "parameters.md"
README = ROOT / "README.md"
DITTO = ROOT / "docs" / "ditto.md"
_MEASURED = ("lite", "ditto", "memory")
_WINDOW = 80  # frames that the motion model makes at once


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
    if not below or kind is errors.Busy:  # which is raised itself, too
        yield kind
    for each in below:
        yield from _leaves(each)


def _comment(kind: type[errors.TalkerError]) -> str:
    """What the tree in the docstring of core.errors says about a class, or about the class above it."""
    found = re.search(rf"── {kind.__name__}[ \t]+(\S.*)", errors.__doc__ or "")
    return found.group(1) if found else _comment(kind.__mro__[1])


def latency(found: list[dict[str, Any]]) -> str:
    """The table of modes: sound before the first frame, and what goes on with every window."""
    rows = []
    for each in found:
        values = each["values"]
        new = _WINDOW - values["overlap_v2"]
        rows.append(
            (
                ", ".join(f"`{name}` {shown(value)}" for name, value in values.items()),
                f"{each['sound']:.3f} s",
                str(new),
                f"{FPS / new:.2f}",
            )
        )
    return table(("settings", "sound before the first frame", "frames at a time", "windows a second"), rows)


def memory(found: Mapping[str, Mapping[str, int]]) -> str:
    """The table of Ditto's networks, in MB (a million bytes)."""
    rows = [
        (name.replace("_", " "), f"{each['weights'] / 1e6:.1f}", f"{each['activations'] / 1e6:.1f}")
        for name, each in found.items()
    ]
    weights = sum(each["weights"] for each in found.values()) / 1e6
    most = max(each["activations"] for each in found.values()) / 1e6
    return table(
        ("network", "weights, MB", "between its layers at most, MB"),
        [*rows, ("all six; one runs at a time", f"**{weights:.1f}**", f"**{most:.1f}**")],
    )


def marked(text: str, tables: Mapping[str, str]) -> str:
    """A page with its marked tables made anew."""
    for name, made in tables.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->"
        head, _, rest = text.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"the page has no table between {begin.strip()} and {end}")
        text = head + begin + made + end + tail
    return text


def pages(effects: dict[str, Any]) -> dict[Path, str]:
    """Every generated page as it should be."""
    modes, networks = latency(effects["ditto"]["latency"]), memory(effects["memory"])
    return {
        PARAMETERS: parameters(effects),
        README: marked(README.read_text(encoding="utf-8"), {"settings": settings(), "errors": error_codes()}),
        DITTO: marked(DITTO.read_text(encoding="utf-8"), {"latency": modes, "memory": networks}),
    }


def measure_lite() -> dict[str, Any]:
    """What options and controls do in the engine lite."""
    from scripts import effects_lite as lite

    with lite.Bench() as bench:
        able = LiteEngine.capabilities
        fields = FrameControl.model_fields.keys() - able.idle_controls
        return {
            "options": lite.measure(bench, able.acts_on),
            "controls": lite.measure_controls(bench, fields),
        }


def measure_ditto() -> dict[str, Any]:
    """What options and controls do to Ditto's motion, and how much sound it waits for."""
    from scripts import effects_ditto as ditto
    from scripts.effects_bench import Bench

    with Bench() as bench:
        return {
            "options": ditto.measure(bench, OPTIONS),
            "controls": ditto.measure_controls(bench, FrameControl.model_fields, corrected=False),
            "corrected": ditto.measure_controls(bench, FrameControl.model_fields, corrected=True),
            "latency": ditto.measure_latency(bench),
        }


def measure(what: str) -> Any:
    """One part of docs/effects.json anew."""
    if what == "memory":
        from scripts import effects_memory

        return effects_memory.measure()
    return measure_lite() if what == "lite" else measure_ditto()


def main() -> int:
    """Measure, write or check -> exit code."""
    arguments = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    arguments.add_argument(
        "--measure", nargs="?", const="all", choices=("all", *_MEASURED), help="measure first, all or a part"
    )
    arguments.add_argument(
        "--check", action="store_true", help="change nothing, exit 1 where something is old"
    )
    given = arguments.parse_args()
    effects = json.loads(EFFECTS.read_text(encoding="utf-8"))
    if given.measure:
        parts = _MEASURED if given.measure == "all" else (given.measure,)
        effects |= {part: measure(part) for part in parts}
        EFFECTS.write_text(json.dumps(effects, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    stale = []
    for path, text in pages(effects).items():
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
