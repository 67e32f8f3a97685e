"""What an option does, in numbers: two clips that differ in that option alone.

`scripts/make_docs.py --measure` writes what `effects_lite` and `effects_ditto` find to docs/effects.json.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from core.option_table import parse_options
from core.options import GenerationOptions

_LONG = 60  # characters of a value that is not shown
FRAME = 100  # the one whose controls are tried

R = TypeVar("R")
Record = dict[str, Any]
Values = Mapping[str, Any]


@dataclass(frozen=True)
class Trial:
    """`values` of options on a source, beside options that both clips share, and what is measured.

    `name` is the option or the field of a FrameControl that this tells about, `shown` the value as the
    documentation has it, `note` what no number tells.
    """

    name: str
    values: Values
    shown: str
    measure: str
    source: str = "portrait"
    beside: Values = field(default_factory=dict)
    note: str = ""


def trial(
    name: str, value: object, measure: str, source: str = "portrait", beside: Values | None = None,
    shown: str = "", note: str = "",
) -> Trial:  # fmt: skip
    """One option set to `value`, as typed on the command line."""
    return Trial(name, {name: value}, shown or str(value), measure, source, beside or {}, note)


def control(name: str, value: object, measure: str, beside: Values | None = None) -> Trial:
    """One field of the controls of frame FRAME; `beside` are other fields of it, which both clips have."""
    rest = {"ctrl_info": {FRAME: dict(beside)}} if beside else {}
    values = {"ctrl_info": {FRAME: {**(beside or {}), name: value}}}
    return Trial(name, values, json.dumps(value), measure, "portrait", rest)


@dataclass(frozen=True)
class Measures(Generic[R]):
    """What can be told of one clip, and of two; by what the documentation calls it, with its unit."""

    of_one: Mapping[str, Callable[[R], float]]
    of_two: Mapping[str, Callable[[R, R], float]]

    def __call__(self, name: str, base: R, changed: R) -> dict[str, float]:
        if name in self.of_two:
            return {"before": 0.0, "after": round(self.of_two[name](base, changed), 3)}
        return {
            "before": round(self.of_one[name](base), 3),
            "after": round(self.of_one[name](changed), 3),
        }


def measured(
    trials: Iterable[Trial], run: Callable[[str, GenerationOptions], R], measures: Measures[R], always: Values
) -> dict[str, list[Record]]:
    """The trials by name; `run` makes a clip of a source with options, `always` are options of all clips."""
    found: dict[str, list[Record]] = {}
    for each in trials:
        beside = {**always, **each.beside}
        base = run(each.source, parse_options(beside))
        changed = run(each.source, parse_options({**beside, **each.values}))
        found.setdefault(each.name, []).append(
            {
                "value": each.shown,
                "source": each.source,
                "beside": {name: _text(value) for name, value in each.beside.items()},
                "measure": each.measure,
                **measures(each.measure, base, changed),
                "note": each.note,
            }
        )
    return found


def _text(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) < _LONG else "an array"
