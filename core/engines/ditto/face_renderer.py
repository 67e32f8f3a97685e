"""Keypoints -> the picture of the face: warp and decoder as one; what lies between them stays inside."""

import numpy as np

from core.contracts import Network


class FaceRenderer:
    """Draws a face; holds networks and nothing else."""

    def __init__(self, warp: Network, decoder: Network) -> None:
        self._warp, self._decoder = warp, decoder

    def __call__(self, features: np.ndarray, x_s: np.ndarray, x_d: np.ndarray) -> np.ndarray:
        """Appearance (1, 32, 16, 64, 64), points (1, 21, 3) -> crop float32 (512, 512, 3) RGB 0..255."""
        return self.decode(self.warp(features, x_s, x_d))

    def warp(self, features: np.ndarray, x_s: np.ndarray, x_d: np.ndarray) -> np.ndarray:
        """The appearance moved from x_s to x_d, (1, 256, 64, 64)."""
        arrays = {"feature_3d": np.asarray(features, np.float32), "kp_source": x_s, "kp_driving": x_d}
        return self._warp(arrays)["out"]

    def decode(self, warped: np.ndarray) -> np.ndarray:
        """The picture of a moved appearance, not rounded."""
        output = self._decoder({"feature": warped})["output"]
        return np.ascontiguousarray(output[0].transpose(1, 2, 0)).clip(0, 1) * np.float32(255)
