"""Motion extractor: where the head of a picture stands and what its face does.

A ConvNeXt V2 "tiny" (Woo et al. 2023, arXiv:2301.00808) with seven linear heads.
Shapes are given for a picture of 256 x 256; other multiples of 32 work as well.
"""

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BINS = 66  # of one head angle
KEYPOINTS = 21
_WIDTHS, _DEPTHS = (96, 192, 384, 768), (3, 3, 9, 3)
_EPS = 1e-6
HEADS = {
    "pitch": BINS,
    "yaw": BINS,
    "roll": BINS,
    "t": 3,
    "exp": 3 * KEYPOINTS,
    "scale": 1,
    "kp": 3 * KEYPOINTS,
}


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of every pixel by itself: (B, C, H, W) -> the same shape."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=_EPS)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ResponseNorm(nn.Module):
    """Global response normalisation, channels last: each channel by its share in the response.

    (B, H, W, C) -> the same shape.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.empty(1, 1, 1, channels))
        self.beta = nn.Parameter(torch.empty(1, 1, 1, channels))

    def forward(self, x: Tensor) -> Tensor:
        # the sum of squares goes beyond what float16 can hold
        response = x.float().square().sum((1, 2), keepdim=True).sqrt()  # B, 1, 1, C
        share = response / (response.mean(-1, keepdim=True) + _EPS)
        return self.gamma * (x * share.to(x.dtype)) + self.beta + x


class Block(nn.Module):
    """(B, C, H, W) -> the same shape."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = ResponseNorm(4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm(self.dwconv(x).permute(0, 2, 3, 1))  # B, H, W, C
        y = self.pwconv2(self.grn(F.gelu(self.pwconv1(y))))
        return x + y.permute(0, 3, 1, 2)


class Detector(nn.Module):
    """RGB picture 0..1 (B, 3, 256, 256) -> the vectors of HEADS, in their order."""

    def __init__(self) -> None:
        super().__init__()
        stem = nn.Sequential(nn.Conv2d(3, _WIDTHS[0], 4, stride=4), ChannelNorm(_WIDTHS[0]))
        halvings = [
            nn.Sequential(ChannelNorm(fine), nn.Conv2d(fine, coarse, 2, stride=2))
            for fine, coarse in pairwise(_WIDTHS)
        ]
        self.downsample_layers = nn.ModuleList([stem, *halvings])
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for width, depth in zip(_WIDTHS, _DEPTHS, strict=True)
        )
        self.norm = nn.LayerNorm(_WIDTHS[-1], eps=_EPS)
        for name, size in HEADS.items():
            self.add_module(f"fc_{name}", nn.Linear(_WIDTHS[-1], size))

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        x = image
        for shrink, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(shrink(x))  # B, 96, 64, 64; 192, 32, 32; 384, 16, 16; 768, 8, 8
        x = self.norm(x.mean((2, 3)))  # B, 768
        return tuple(getattr(self, f"fc_{name}")(x) for name in HEADS)


class MotionExtractor(nn.Module):
    """RGB picture 0..1 (B, 3, 256, 256) -> pitch, yaw, roll (B, 66) as logits, t (B, 3), exp (B, 63),
    scale (B, 1), kp (B, 63): x, y, z of one keypoint after the other."""

    def __init__(self) -> None:
        super().__init__()
        self.detector = Detector()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        return self.detector(image)
