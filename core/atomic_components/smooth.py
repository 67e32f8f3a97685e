"""Means over time: centred for what is known whole, causal for what streams."""

from collections import deque

import numpy as np


def centred_mean(rows: np.ndarray, k: int) -> np.ndarray:
    """Each row of (n, ...) replaced by the mean of the k rows around it, fewer at the ends; a new array.

    An even k counts as k + 1; k <= 1 changes nothing. The rule of antgroup/ditto-talkinghead e9191cf6
    (its smo_k_s and smo_k_d).
    """
    if k <= 1:
        return rows.copy()
    half = k // 2
    return np.stack([rows[max(0, i - half) : i + half + 1].mean(0) for i in range(len(rows))])


class CausalMean:
    """The mean of the last k rows of a stream, fewer at its start; k <= 1 changes nothing."""

    def __init__(self, k: int) -> None:
        self._last: deque[np.ndarray] = deque(maxlen=max(k, 1))

    def __call__(self, row: np.ndarray) -> np.ndarray:
        """Take the next row, of any shape, and give the mean; a new array of the same dtype."""
        self._last.append(row.copy())
        return np.mean(np.stack(self._last), axis=0, dtype=row.dtype)
