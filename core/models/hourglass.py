"""The hourglass of the dense motion: down to a coarse view and up again, every level handed across.

Height and width are halved five times, so they must be multiples of 32; the depth is never pooled.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.models.blocks import ConvNorm3d

_WIDTHS = (64, 128, 256, 512, 1024)  # on the way down
_LAST = 32  # on the way up


class Encoder(nn.Module):
    """(B, C, 16, H, W) -> all levels: the input, then (B, 64, 16, H/2, W/2) .. (B, 1024, 16, H/32, W/32)."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        steps = pairwise((inside, *_WIDTHS))
        self.down_blocks = nn.ModuleList(ConvNorm3d(fine, coarse) for fine, coarse in steps)

    def forward(self, x: Tensor) -> list[Tensor]:
        levels = [x]
        for block in self.down_blocks:
            levels.append(F.avg_pool3d(torch.relu(block(levels[-1])), (1, 2, 2)))
        return levels


class Decoder(nn.Module):
    """All levels of an Encoder -> (B, 32 + C, 16, H, W)."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        skips = (0, *_WIDTHS[-2::-1])  # what is appended in front of each block: 0, 512, 256, 128, 64
        widths = (*_WIDTHS[-2::-1], _LAST)  # what each block gives: 512, 256, 128, 64, 32
        befores = (_WIDTHS[-1], *widths)
        self.up_blocks = nn.ModuleList(
            ConvNorm3d(before + skip, width)
            for before, skip, width in zip(befores, skips, widths, strict=False)
        )
        self.outside = _LAST + inside
        self.conv = nn.Conv3d(self.outside, self.outside, 3, padding=1)
        self.norm = nn.BatchNorm3d(self.outside)

    def forward(self, levels: list[Tensor]) -> Tensor:
        x = levels[-1]
        for block, skip in zip(self.up_blocks, levels[-2::-1], strict=True):
            x = torch.relu(block(F.interpolate(x, scale_factor=(1.0, 2.0, 2.0))))
            x = torch.cat([x, skip], 1)
        return torch.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    """(B, C, 16, H, W) -> (B, 32 + C, 16, H, W)."""

    def __init__(self, inside: int) -> None:
        super().__init__()
        self.encoder = Encoder(inside)
        self.decoder = Decoder(inside)
        self.outside = self.decoder.outside

    def forward(self, x: Tensor) -> Tensor:
        return self.decoder(self.encoder(x))
