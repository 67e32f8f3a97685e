"""What is said, by a streaming HuBERT: a window of sound in, features of the frames in its middle out.

The framing is that of antgroup/ditto-talkinghead e9191cf6.
"""

from typing import NamedTuple

import numpy as np

from core.contracts import Network
from core.errors import BadOption, CorruptCheckpoint
from core.types import SAMPLES_PER_FRAME

WIDTH = 1024  # numbers of a feature
_TAIL = 80  # samples by which the network's view reaches beyond whole frames
_FRAMES = (5, 20)  # of a window; what the published TensorRT engine takes


class ChunkSize(NamedTuple):
    """A window in video frames: context before, the frames that are described, context after."""

    past: int = 3
    present: int = 5
    future: int = 2

    @property
    def samples(self) -> int:
        """Length of a window."""
        return sum(self) * SAMPLES_PER_FRAME + _TAIL

    def checked(self) -> "ChunkSize":
        """Itself. Raises BadOption where no window can be made of it."""
        if self.past < 0 or self.present < 1 or self.future < 1:
            raise BadOption(f"chunksize {tuple(self)}: past must be 0 or more, present and future 1 or more.")
        low, high = _FRAMES
        if not low <= sum(self) <= high:
            raise BadOption(f"chunksize {tuple(self)}: its sum must be {low} to {high} frames.")
        return self


class Hubert:
    """The encoder around its network, `core.networks.HUBERT`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, window: np.ndarray, size: ChunkSize) -> np.ndarray:
        """Sound float32 (size.samples,) -> features float32 (size.present, 1024), one a video frame.

        The network gives two rows a frame, counted from the window's end, which are averaged. Raises
        CorruptCheckpoint where it gives too few, or rows of another width.
        """
        rows = self._network({"input_values": window[None]})["encoding_out"]
        last = len(rows) - 2 * size.future
        first = last - 2 * size.present
        if first < 0 or rows.shape[1:] != (WIDTH,):
            raise CorruptCheckpoint(
                f"hubert gave {rows.shape} for {len(window)} samples, not {(2 * sum(size), WIDTH)}.",
                "Use the published file.",
            )
        return rows[first:last].reshape(-1, 2, WIDTH).mean(1)
