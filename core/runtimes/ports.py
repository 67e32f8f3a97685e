"""What goes into and comes out of a network, held against its NetworkSpec; alike for every runtime."""

from collections.abc import Mapping, Sequence

import numpy as np

from core.errors import ComputeError, CorruptCheckpoint
from core.networks import NetworkSpec, Port

VERIFY = "Is it the file of another network? Check it: python model_manager.py verify"


def fits(expected: Sequence[int | str | None], found: Sequence[int | str | None]) -> bool:
    """Whether two shapes agree; a letter (or None) on either side stands for any size."""
    return len(expected) == len(found) and all(
        a == b for a, b in zip(expected, found, strict=True) if isinstance(a, int) and isinstance(b, int)
    )


def shape_text(shape: Sequence[int | str | None]) -> str:
    return "(" + ", ".join("?" if size is None else str(size) for size in shape) + ")"


def inputs_of(spec: NetworkSpec, arrays: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """The arrays in the order and types of the spec's inputs. Raises ComputeError where they do not fit."""
    if set(arrays) != {port.name for port in spec.inputs}:
        expected = ", ".join(port.name for port in spec.inputs)
        raise ComputeError(f"{spec.name} is called with {', '.join(arrays)}; expected {expected}.")
    for port in spec.inputs:
        found = arrays[port.name].shape
        if not fits(port.shape, found):
            raise ComputeError(
                f"{spec.name}: input {port.name} is {shape_text(found)}, expected {shape_text(port.shape)}."
            )
    return [np.ascontiguousarray(arrays[port.name], port.dtype) for port in spec.inputs]


def outputs_of(spec: NetworkSpec, results: Sequence[np.ndarray], source: str) -> dict[str, np.ndarray]:
    """Results in the spec's order, by its names, types and shapes. `source` names the file in errors.

    Axes of length 1 are added or dropped as the spec has them: files differ in how many they write.
    Raises CorruptCheckpoint where a result does not fit.
    """
    return {
        port.name: _as_port(port, result, source) for port, result in zip(spec.outputs, results, strict=True)
    }


def _as_port(port: Port, result: np.ndarray, source: str) -> np.ndarray:
    if not fits(port.shape, result.shape):
        sizes = [size for size in result.shape if size != 1]
        if not fits(slim(port.shape), sizes):
            raise misfit(source, "output", port, result.shape)
        rest = iter(sizes)
        result = result.reshape([1 if size == 1 else next(rest) for size in port.shape])
    return result.astype(port.dtype, copy=False)


def slim(shape: Sequence[int | str | None]) -> list[int | str | None]:
    """A shape without its axes of length 1."""
    return [size for size in shape if size != 1]


def misfit(source: str, kind: str, port: Port, found: Sequence[int | str | None]) -> CorruptCheckpoint:
    return CorruptCheckpoint(
        f"{source}: {kind} {port.name} is {shape_text(found)}, expected {shape_text(port.shape)}.",
        VERIFY,
    )
