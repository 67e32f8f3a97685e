"""Streams of rows cut into windows, and windows joined to a stream again.

A motion model sees `size` rows at a time. Windows lie at fixed places of the stream, every
`size - overlap` rows, whatever the chunks the rows come in: so chunked, online and offline use
give the same values.
"""

import math
from collections.abc import Callable, Iterable, Iterator

import numpy as np

from core.types import FPS, SAMPLE_RATE


def frame_count(samples: int) -> int:
    """Video frames for so many 16 kHz samples: ceil(samples / 16000 * 25).

    In floating point, as Ditto computes it: some lengths (4480, 8960, ...) give one frame more than
    exact arithmetic would.
    """
    return math.ceil(samples / SAMPLE_RATE * FPS)


def windows(chunks: Iterable[np.ndarray], size: int, overlap: int) -> Iterator[tuple[np.ndarray, int]]:
    """Cut a stream of rows, chunks (n, d), into windows (size, d), each with the count of new real rows.

    The last window is padded by repeating the last row. A stream without rows gives no window.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must lie in 0..{size - 1}")
    step = size - overlap
    buffer: np.ndarray | None = None
    seen = 0  # rows of the buffer that an earlier window has shown
    for chunk in chunks:
        buffer = chunk if buffer is None else np.concatenate([buffer, chunk])
        while len(buffer) >= size:
            yield buffer[:size], size - seen
            buffer, seen = buffer[step:], overlap
    if buffer is not None and len(buffer) > seen:
        real = len(buffer)
        yield np.concatenate([buffer, np.repeat(buffer[-1:], size - real, axis=0)]), real - seen


def join(
    parts: Iterable[tuple[np.ndarray, int]], overlap: int, predict: Callable[[np.ndarray], np.ndarray]
) -> Iterator[np.ndarray]:
    """Predict every window and cross-fade neighbours over `overlap` rows -> finished rows, in order.

    Rows that the next window will still change are held back. The fade weight of the new window
    is i / overlap, 0 at its first row, as Ditto fuses.
    """
    tail: np.ndarray | None = None
    weight = (np.arange(overlap, dtype=np.float32) / max(overlap, 1))[:, None]
    for window, fresh in parts:
        rows = predict(window)
        end = len(rows)
        if tail is not None:
            rows = np.concatenate([tail * (1 - weight) + rows[:overlap] * weight, rows[overlap:]])
            end = overlap + fresh
        else:
            end = fresh
        finished = max(end - overlap, 0)
        yield rows[:finished]
        tail = rows[finished:end]
    if tail is not None:
        yield tail
