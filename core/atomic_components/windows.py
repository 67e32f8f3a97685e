"""Streams of rows cut into windows.

A motion model sees `size` rows at a time. Windows lie at fixed places of the stream, every
`size - overlap` rows, whatever the chunks the rows come in: so chunked, online and offline use
give the same values.
"""

import math
from collections.abc import Iterable, Iterator

import numpy as np

from core.types import FPS, SAMPLE_RATE


def frame_count(samples: int) -> int:
    """Video frames for so many 16 kHz samples: ceil(samples / 16000 * 25).

    In floating point, as Ditto computes it: some lengths (4480, 8960, ...) give one frame more than
    exact arithmetic would.
    """
    return math.ceil(samples / SAMPLE_RATE * FPS)


def windows(
    chunks: Iterable[np.ndarray], size: int, overlap: int, padded: bool = True
) -> Iterator[np.ndarray]:  # fmt: skip
    """Cut a stream of rows, chunks (n, d), into windows (size, d) that share `overlap` rows.

    A window begins every `size - overlap` rows as long as there are rows to begin with; what is missing at
    the end is the last row repeated, so the last windows may show no new row. Without `padded`, complete
    windows only.
    """
    if not 0 <= overlap < size:
        raise ValueError(f"overlap {overlap} must lie in 0..{size - 1}")
    step = size - overlap
    buffer: np.ndarray | None = None
    for chunk in chunks:
        buffer = chunk if buffer is None else np.concatenate([buffer, chunk])
        while len(buffer) >= size:
            yield buffer[:size]
            buffer = buffer[step:]
    while padded and buffer is not None and len(buffer):
        yield np.concatenate([buffer, np.repeat(buffer[-1:], size - len(buffer), axis=0)])
        buffer = buffer[step:]
