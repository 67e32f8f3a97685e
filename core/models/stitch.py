"""Stitch network: moves the driven keypoints a little, so that neck and shoulders stay where they were."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.models.motion import KEYPOINTS


class StitchNetwork(nn.Module):
    """Keypoints of the source and driven ones, both (B, 21, 3) -> driven ones that fit (B, 21, 3)."""

    def __init__(self) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(2 * 3 * KEYPOINTS, 128), nn.ReLU(),
            nn.Linear(128, 128), nn.ReLU(),
            nn.Linear(128, 64), nn.ReLU(),
            nn.Linear(64, 3 * KEYPOINTS + 2),
        )  # fmt: skip

    def forward(self, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        from_to = kp_source.flatten(1), kp_driving.flatten(1)
        delta = self.mlp(torch.cat(from_to, 1))  # B, 65
        each = delta[:, : 3 * KEYPOINTS].unflatten(1, (KEYPOINTS, 3))
        together = F.pad(delta[:, None, 3 * KEYPOINTS :], (0, 1))  # B, 1, 3: x and y of all points, never z
        return kp_driving + each + together
