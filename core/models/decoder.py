"""SPADE decoder: features become a picture (Park et al. 2019, arXiv:1903.07291).

Each norm is steered by the decoder's own input, brought to the size of what is being normed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_FEATURES = 256  # channels of the input, which steers every norm
_STEERING = 128  # channels between it and a norm
_MIDDLE_BLOCKS = 6


class SpectralConv2d(nn.Module):
    """A convolution stored with spectral norm in the old manner: weight_orig, weight_u and weight_v.

    `fold` makes the plain weight of them, once and for all; before that it cannot be called. The
    vectors are used as stored: no power iteration (Miyato et al. 2018, arXiv:1802.05957).
    """

    weight: Tensor
    weight_u: Tensor
    weight_v: Tensor

    def __init__(self, inside: int, outside: int, kernel: int, bias: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(outside)) if bias else None
        self.weight_orig = nn.Parameter(torch.empty(outside, inside, kernel, kernel))
        self.register_buffer("weight_u", torch.empty(outside))
        self.register_buffer("weight_v", torch.empty(inside * kernel * kernel))

    @torch.no_grad()
    def fold(self) -> None:
        """Divides by the largest singular value, in place: a second copy would double the memory."""
        weight = self.weight_orig
        sigma = self.weight_u @ (weight.flatten(1) @ self.weight_v)
        del self.weight_orig, self.weight_u, self.weight_v
        self.weight = nn.Parameter(weight.div_(sigma))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias, padding=self.weight.shape[-1] // 2)


class SpadeNorm(nn.Module):
    """x (B, C, H, W) normed, then scaled and shifted as the map (B, 256, H, W) says."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(_FEATURES, _STEERING, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(_STEERING, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(_STEERING, channels, 3, padding=1)

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        shared = self.mlp_shared(steer)
        return F.instance_norm(x, eps=1e-5) * (1 + self.mlp_gamma(shared)) + self.mlp_beta(shared)


class SpadeBlock(nn.Module):
    """x (B, inside, H, W), map (B, 256, H, W) -> (B, outside, H, W); nothing follows the sum."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        middle = min(inside, outside)
        self.conv_0 = SpectralConv2d(inside, middle, 3)
        self.conv_1 = SpectralConv2d(middle, outside, 3)
        self.norm_0 = SpadeNorm(inside)
        self.norm_1 = SpadeNorm(middle)
        self.widths_differ = inside != outside
        if self.widths_differ:
            self.conv_s = SpectralConv2d(inside, outside, 1, bias=False)
            self.norm_s = SpadeNorm(inside)

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        y = self.conv_0(F.leaky_relu(self.norm_0(x, steer), 0.2))
        y = self.conv_1(F.leaky_relu(self.norm_1(y, steer), 0.2))
        past: Tensor = self.conv_s(self.norm_s(x, steer)) if self.widths_differ else x
        return past + y


def _twice(x: Tensor) -> Tensor:
    """Every pixel four times: (B, C, H, W) -> (B, C, 2 H, 2 W)."""
    return F.interpolate(x, scale_factor=2.0)


class SpadeDecoder(nn.Module):
    """Features (B, 256, 64, 64) -> RGB picture 0..1 (B, 3, 512, 512); other sizes alike, eightfold."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Conv2d(_FEATURES, 512, 3, padding=1)
        for i in range(_MIDDLE_BLOCKS):
            self.add_module(f"G_middle_{i}", SpadeBlock(512, 512))
        self.up_0 = SpadeBlock(512, 256)
        self.up_1 = SpadeBlock(256, 64)
        self.conv_img = nn.Sequential(nn.Conv2d(64, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, feature: Tensor) -> Tensor:
        steer = feature
        x = self.fc(feature)  # B, 512, 64, 64
        for i in range(_MIDDLE_BLOCKS):
            x = getattr(self, f"G_middle_{i}")(x, steer)
        for block in (self.up_0, self.up_1):
            x, steer = _twice(x), _twice(steer)
            x = block(x, steer)  # B, 256, 128, 128; then B, 64, 256, 256
        x = self.conv_img(F.leaky_relu(x, 0.2))  # B, 3, 512, 512
        return torch.sigmoid(x)
