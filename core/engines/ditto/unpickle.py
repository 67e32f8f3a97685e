"""Reads pickled settings without running anything.

Python's own unpickler calls whatever a file names. This is a small stack machine over the opcodes that
dicts, lists, tuples, text, numbers and numpy arrays need, and it calls nothing but the functions below
that put arrays together. Everything else is refused by its name.
"""

import math
import re
from collections.abc import Callable
from pathlib import Path
from pickletools import genops
from typing import Any, NamedTuple, NoReturn

import numpy as np

from core.errors import CorruptCheckpoint, MissingCheckpoint

MAX_BYTES = 64 * 2**20
_MOST_STEPS = 1_000_000
# What comes out; where a file refers to one value twice it counts twice.
_MOST_VALUES, _MOST_NUMBERS = 1_000_000, 32_000_000  # in all; in arrays
_DEEPEST = 16
_NUMBERS = re.compile(r"b1|[iu][1248]|f[248]")
_PLAIN = (str, int, float, bool, type(None))


class _Refused(Exception):
    """Why a file is not read."""


class _Dtype:
    """A numpy dtype in the making: its byte order comes with a later opcode."""

    def __init__(self, code: object, align: object = False, copy: object = True) -> None:
        if not isinstance(code, str) or not _NUMBERS.fullmatch(code):
            raise _Refused(f"it holds an array of {code!r:.40}, which are not plain numbers")
        self.code, self.order = code, "="

    def made(self) -> np.dtype[Any]:
        return np.dtype(self.order + self.code)

    def build(self, state: object) -> None:
        match state:
            case (3, "<" | ">" | "|" | "=" as order, None, None, None, -1, -1, 0):
                self.order = order
            case _:
                raise _Refused("it holds an array of more than plain numbers")


class _Known(NamedTuple):
    """What a pickle may name, and what of ours is called in its place."""

    name: str
    make: Callable[..., object]


def _unfilled(kind: object, shape: object, code: object) -> np.ndarray:
    """What numpy makes before BUILD fills it."""
    return np.empty(0, np.uint8)


def _fill(array: np.ndarray, shape: object, dtype: object, fortran: bool, data: object) -> np.ndarray:
    if not (isinstance(dtype, _Dtype) and isinstance(data, bytes | bytearray) and isinstance(shape, tuple)):
        raise _Refused("an array is put together from wrong parts")
    kind = dtype.made()
    if any(type(side) is not int or side < 0 for side in shape) or len(shape) > 8:
        raise _Refused("an array's shape is not plain")
    if math.prod(shape) * kind.itemsize != len(data):
        raise _Refused("an array's shape and content do not fit")
    array.__setstate__((1, shape, kind, fortran, bytes(data)))  # in place: others may refer to it already
    return array


def _frombuffer(data: object, dtype: object, shape: object, order: object) -> np.ndarray:
    return _fill(np.empty(0, np.uint8), shape, dtype, order == "F", data)


def _scalar(dtype: object, data: object) -> object:
    return _frombuffer(data, dtype, (), "C").item()


def _not_called(*arguments: object) -> NoReturn:
    raise _Refused("it calls numpy.ndarray")


_KNOWN: dict[str, Callable[..., object]] = {
    "numpy.ndarray": _not_called,  # named as an argument only
    "numpy.dtype": _Dtype,
    **{
        f"numpy.{core}.{name}": make
        for core in ("core", "_core")  # before numpy 2, and since
        for name, make in (
            ("multiarray._reconstruct", _unfilled),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _frombuffer),
        )
    },
}

_CARRIED = {  # opcodes that push what they carry
    "BININT", "BININT1", "BININT2", "LONG1", "LONG4", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE",
    "BINUNICODE8", "SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
_FRESH: dict[str, Callable[[], object]] = {
    "NONE": lambda: None, "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
    "EMPTY_DICT": dict, "EMPTY_LIST": list, "EMPTY_TUPLE": tuple,
}  # fmt: skip
_LENGTHS = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3, "APPEND": 1, "SETITEM": 2}  # others: up to the mark


class _Machine:
    """One run over one pickle; what is none ends in IndexError, KeyError, TypeError or ValueError."""

    def __init__(self) -> None:
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> object:
        for count, (opcode, carried, _) in enumerate(genops(data)):
            if count > _MOST_STEPS:
                raise _Refused("it has too many parts")
            self._step(opcode.name, carried)
        if self._marks:
            raise ValueError("a mark is left")
        (made,) = self._stack
        return made

    def _step(self, name: str, carried: Any) -> None:
        stack = self._stack
        if name in _CARRIED:
            stack.append(carried)
        elif name in _FRESH:
            stack.append(_FRESH[name]())
        elif name in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[carried])
        elif name in ("BINPUT", "LONG_BINPUT", "MEMOIZE"):
            self._memo[len(self._memo) if name == "MEMOIZE" else carried] = stack[-1]
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name.startswith(("TUPLE", "APPEND", "SETITEM")):
            self._gather(name)
        elif name in ("GLOBAL", "STACK_GLOBAL"):
            named = carried.replace(" ", ".") if name == "GLOBAL" else ".".join(self._last(2))
            if named not in _KNOWN:
                raise _Refused(f"it asks for {named[:80]}")
            stack.append(_Known(named, _KNOWN[named]))
        elif name in ("REDUCE", "BUILD"):
            self._call(name)
        elif name not in ("PROTO", "FRAME", "STOP"):
            raise _Refused(f"it uses the opcode {name}")

    def _gather(self, name: str) -> None:
        if name in _LENGTHS:
            items = self._last(_LENGTHS[name])
        else:
            items = self._last(len(self._stack) - self._marks.pop())
        if name.startswith("TUPLE"):
            self._stack.append(tuple(items))
            return
        target = self._stack[-1]
        if name.startswith("APPEND") and type(target) is list:
            target.extend(items)
        elif name.startswith("SETITEM") and type(target) is dict:
            target.update(zip(items[::2], items[1::2], strict=True))
        else:
            raise _Refused(f"it uses {name} on a {type(target).__name__}")

    def _call(self, name: str) -> None:
        target, argument = self._last(2)
        if name == "REDUCE" and isinstance(target, _Known) and type(argument) is tuple:
            self._stack.append(target.make(*argument))
            return
        if name == "REDUCE":
            raise _Refused(f"it calls a {type(target).__name__}")
        if isinstance(target, _Dtype):
            target.build(argument)
        elif type(target) is np.ndarray and type(argument) is tuple:
            _, shape, dtype, fortran, data = argument
            _fill(target, shape, dtype, bool(fortran), data)
        else:
            raise _Refused(f"it changes a {type(target).__name__}")
        self._stack.append(target)

    def _last(self, count: int) -> list[Any]:
        """The topmost items, taken off."""
        floor = len(self._stack) - count
        if floor < (self._marks[-1] if self._marks else 0) or count < 0:
            raise IndexError("the stack is empty")
        items = self._stack[floor:]
        del self._stack[floor:]
        return items


def _check_plain(value: object) -> None:
    """Nothing but plain values, in a bounded number, may come out; also ends on what contains itself."""
    count = numbers = 0
    waiting = [(value, 0)]
    while waiting:
        each, depth = waiting.pop()
        inside: list[object] = []
        if type(each) is dict:
            inside = [*each.keys(), *each.values()]
        elif type(each) in (list, tuple):
            inside = list(each)  # type: ignore[call-overload]
        elif isinstance(each, np.ndarray):
            numbers += each.size
        elif type(each) not in _PLAIN:
            raise _Refused(f"it holds {each.name if isinstance(each, _Known) else type(each).__name__}")
        count += len(inside)
        if count > _MOST_VALUES or numbers > _MOST_NUMBERS or depth > _DEEPEST:
            raise _Refused("it holds too many values, or too deeply nested ones")
        waiting += [(item, depth + 1) for item in inside]


def read_pickle(path: Path) -> object:
    """What is pickled in a file: dicts, lists, tuples, text, numbers, None and numeric arrays.

    Nothing in the file is run. Raises MissingCheckpoint, and CorruptCheckpoint for anything else in it.
    """
    hint = "Fetch the configuration again; Visavis opens nothing but plain settings."
    try:
        if path.stat().st_size > MAX_BYTES:
            raise CorruptCheckpoint(f"'{path.name}' is larger than {MAX_BYTES >> 20} MiB.", hint)
        data = path.read_bytes()
    except OSError as error:
        raise MissingCheckpoint(f"Cannot read '{path}': {error.strerror}.", "Check the path.") from error
    try:
        made = _Machine().run(data)
        _check_plain(made)
    except _Refused as refused:
        raise CorruptCheckpoint(f"'{path.name}' is refused: {refused}.", hint) from refused
    except (IndexError, KeyError, TypeError, ValueError) as error:
        raise CorruptCheckpoint(f"'{path.name}' is not a whole pickle.", hint) from error
    return made
