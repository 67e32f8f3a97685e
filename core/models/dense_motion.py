"""Dense motion: from 21 keypoints here and there to where every voxel comes from.

22 guesses are made of the flow, one for each keypoint and one for "nothing moved"; the hourglass sees what
each would bring, and weighs them. Points are (x, y, z) in -1..1: right, down, inwards.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.models.appearance import CHANNELS, DEPTH
from core.models.hourglass import Hourglass
from core.models.motion import KEYPOINTS

_GUESSES = KEYPOINTS + 1
_COMPRESSED = 4  # channels of the volume that the guesses are tried on
_VARIANCE = 0.01  # of the bump around a keypoint


class DenseMotion(NamedTuple):
    """deformation (B, 16, H, W, 3): where in the source each voxel is found; occlusion (B, 1, H, W) 0..1:
    how much of it to believe; mask (B, 22, 16, H, W): the share of each guess, sums to 1."""

    deformation: Tensor
    occlusion: Tensor
    mask: Tensor


def sample(volume: Tensor, places: Tensor) -> Tensor:
    """What a volume (B, C, D, H, W) holds at places (B, d, h, w, 3): (B, C, d, h, w), zero beyond its edges.

    In float32 whatever the volume's type: half precision would move the places by hundredths of a voxel.
    """
    found = F.grid_sample(volume.float(), places, mode="bilinear", padding_mode="zeros", align_corners=False)
    return found.to(volume.dtype)


def grid(volume: Tensor) -> Tensor:
    """The place of every voxel of a volume (B, C, D, H, W): (D, H, W, 3) float32.

    The outermost voxels' centres are -1 and 1 here, while `sample` has their outer faces there: the
    published weights were trained so.
    """
    shape = volume.shape[2:]
    z, y, x = (2 * torch.arange(n, device=volume.device) / (n - 1) - 1 for n in shape)
    return torch.stack(
        [x.expand(shape), y[:, None].expand(shape), z[:, None, None].expand(shape)], -1
    ).float()  # fmt: skip


def heatmaps(places: Tensor, source: Tensor, driving: Tensor) -> Tensor:
    """A bump at each driving keypoint less one at its source: (B, 21, D, H, W).

    places (D, H, W, 3); keypoints (B, 21, 1, 1, 1, 3).
    """
    there, here = (torch.exp((places - kp).square().sum(-1) * (-0.5 / _VARIANCE)) for kp in (driving, source))
    return there - here


class DenseMotionNetwork(nn.Module):
    """Volume (B, 32, 16, H, W), source and driving keypoints (B, 21, 3) -> DenseMotion."""

    def __init__(self) -> None:
        super().__init__()
        self.compress = nn.Conv3d(CHANNELS, _COMPRESSED, 1)
        self.norm = nn.BatchNorm3d(_COMPRESSED)
        self.hourglass = Hourglass(_GUESSES * (1 + _COMPRESSED))
        self.mask = nn.Conv3d(self.hourglass.outside, _GUESSES, 7, padding=3)
        self.occlusion = nn.Conv2d(self.hourglass.outside * DEPTH, 1, 7, padding=3)

    def forward(self, volume: Tensor, source: Tensor, driving: Tensor) -> DenseMotion:
        shape = volume.shape[2:]
        source, driving = (kp.float()[:, :, None, None, None] for kp in (source, driving))
        places = grid(volume)  # 16, H, W, 3
        still = places.expand(len(volume), 1, *shape, 3)
        flows = torch.cat([still, places - driving + source], 1)  # B, 22, 16, H, W, 3

        x = torch.relu(self.norm(self.compress(volume)))  # B, 4, 16, H, W
        tried = sample(x, flows.flatten(1, 2))  # B, 4, 22 * 16, H, W
        tried = tried.unflatten(2, (_GUESSES, DEPTH)).transpose(1, 2)  # B, 22, 4, 16, H, W
        bumps = F.pad(heatmaps(places, source, driving), (0, 0, 0, 0, 0, 0, 1, 0))  # B, 22, 16, H, W
        seen = torch.cat([bumps.unsqueeze(2).to(x.dtype), tried], 2)  # B, 22, 5, 16, H, W
        x = self.hourglass(seen.flatten(1, 2))  # B, 142, 16, H, W

        mask = torch.softmax(self.mask(x), 1)  # B, 22, 16, H, W
        deformation = (mask.unsqueeze(-1).float() * flows).sum(1)
        occlusion = torch.sigmoid(self.occlusion(x.flatten(1, 2)))
        return DenseMotion(deformation, occlusion, mask)
