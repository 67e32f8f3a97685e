"""Warp network: the volume of a face, bent to another pose and expression, flattened for the decoder."""

import torch.nn.functional as F
from torch import Tensor, nn

from core.models.appearance import CHANNELS, DEPTH
from core.models.blocks import ConvNorm2d
from core.models.dense_motion import DenseMotionNetwork, sample


class WarpNetwork(nn.Module):
    """Volume (B, 32, 16, H, W), source and driving keypoints (B, 21, 3) -> features (B, 256, H, W).

    H and W are multiples of 32; 64 for a picture of 256. Keep the keypoints in float32 where volume and
    weights are of half precision: bfloat16 would move them by a tenth of a voxel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotionNetwork()
        self.third = ConvNorm2d(CHANNELS * DEPTH, 256)
        self.fourth = nn.Conv2d(256, 256, 1)

    def forward(self, feature_3d: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        motion = self.dense_motion_network(feature_3d, kp_source, kp_driving)
        x = sample(feature_3d, motion.deformation).flatten(1, 2)  # B, 512, H, W: the depth is the fast part
        x = F.leaky_relu(self.third(x), 0.01)  # B, 256, H, W
        return self.fourth(x) * motion.occlusion
