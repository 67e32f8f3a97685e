"""203 points of a face in its crop, by the landmark network of LivePortrait, as Ditto uses it."""

import numpy as np

from core.contracts import Network

SIDE = 224  # px, the crop that the network wants


class Landmark203:
    """The landmarks around their network, `core.networks.LANDMARK203`."""

    def __init__(self, network: Network) -> None:
        self._network = network

    def __call__(self, crop: np.ndarray, crop_to_source: np.ndarray) -> np.ndarray:
        """Crop uint8 (224, 224, 3) and its map float32 (3, 3) -> points float32 (203, 2) px of the source."""
        picture = (crop.astype(np.float32) / 255).transpose(2, 0, 1)[None]  # RGB 0..1
        out = self._network({"input": np.ascontiguousarray(picture)})
        local = out["landmarks"].reshape(203, 2) * np.float32(SIDE)
        return local @ crop_to_source[:2, :2].T + crop_to_source[:2, 2]
