"""What several networks are built of."""

from torch import Tensor, nn


class ConvNorm2d(nn.Module):
    """Convolution 3x3 that keeps the size, then batch norm; the activation is the caller's."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, 3, padding=1)
        self.norm = nn.BatchNorm2d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class ConvNorm3d(nn.Module):
    """The same with a depth axis."""

    def __init__(self, inside: int, outside: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(inside, outside, 3, padding=1)
        self.norm = nn.BatchNorm3d(outside)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))
