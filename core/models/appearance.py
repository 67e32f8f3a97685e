"""Appearance extractor: one look at a face becomes a volume of features that can be turned and bent.

Shapes are given for a picture of 256 x 256; other multiples of 4 work as well.
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.models.blocks import ConvNorm2d

CHANNELS, DEPTH = 32, 16  # of the volume
_RESIDUAL_BLOCKS = 6


class ResidualBlock3d(nn.Module):
    """Norm and activation come before each convolution; nothing follows the sum."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(torch.relu(self.norm1(x)))
        y = self.conv2(torch.relu(self.norm2(y)))
        return x + y


class AppearanceExtractor(nn.Module):
    """RGB picture 0..1 (B, 3, 256, 256) -> volume (B, 32, 16, 64, 64)."""

    def __init__(self) -> None:
        super().__init__()
        self.first = ConvNorm2d(3, 64)
        self.down_blocks = nn.ModuleList([ConvNorm2d(64, 128), ConvNorm2d(128, 256)])
        self.second = nn.Conv2d(256, CHANNELS * DEPTH, 1)
        self.resblocks_3d = nn.Sequential(
            OrderedDict((f"3dr{i}", ResidualBlock3d(CHANNELS)) for i in range(_RESIDUAL_BLOCKS))
        )

    def forward(self, image: Tensor) -> Tensor:
        x = torch.relu(self.first(image))  # B, 64, 256, 256
        for block in self.down_blocks:
            x = F.avg_pool2d(torch.relu(block(x)), 2)  # B, 128, 128, 128; then B, 256, 64, 64
        volume = self.second(x).unflatten(1, (CHANNELS, DEPTH))  # the depth is the fast part
        return self.resblocks_3d(volume)
