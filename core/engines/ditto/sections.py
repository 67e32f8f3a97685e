"""What the parts of Ditto's configuration have in common: unknown names, and arrays of numbers."""

import logging
from functools import partial
from typing import ClassVar

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

_log = logging.getLogger(__name__)


class Section(BaseModel):
    """One dict of the file. Names in `passed_over` are known and of no use here."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False, arbitrary_types_allowed=True)
    passed_over: ClassVar[frozenset[str]] = frozenset()

    @model_validator(mode="before")
    @classmethod
    def _without_strangers(cls, given: object) -> object:
        return known(cls, given, cls.passed_over)


def known(model: type[BaseModel], given: object, passed_over: frozenset[str] = frozenset()) -> object:
    """What of a dict a model knows; the rest is told in the log."""
    if not isinstance(given, dict):
        return given
    strangers = [str(name)[:40] for name in given if name not in {*model.model_fields, *passed_over}]
    if strangers:
        _log.warning("Ditto's configuration: %s is unknown in %s and left out.", strangers, model.__name__)
    return {name: value for name, value in given.items() if name in model.model_fields}


def numbers(*shape: int | None) -> BeforeValidator:
    """Reads finite numbers of a shape; a side is a number, or any from 1 on (None)."""
    return BeforeValidator(partial(read_numbers, shape))


def read_numbers(shape: tuple[int | None, ...], value: object) -> np.ndarray:
    """An array (or lists) of finite numbers of that shape -> float32 if it was, else float64; read-only.

    Raises ValueError.
    """
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" or not np.isfinite(array).all():
        raise ValueError("is not an array of finite numbers")
    fits = [
        length > 0 if side is None else length == side
        for length, side in zip(array.shape, shape, strict=False)
    ]
    if array.ndim != len(shape) or not all(fits):
        wanted = ", ".join("any" if side is None else str(side) for side in shape)
        raise ValueError(f"has the shape {array.shape}, not ({wanted})")
    array = np.array(array, np.float32 if array.dtype == np.float32 else np.float64, order="C")
    array.setflags(write=False)
    return array
