"""The transformer layers of the motion model.

Positions come in by rotation alone (Su et al. 2021, arXiv:2104.09864): neighbouring channels are turned as
pairs, over the whole width, before the queries and keys are projected; values are never turned.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

WIDTH = 512
_HEADS = 8
_HIDDEN = 1024


class Rotary(nn.Module):
    """Turns tokens (B, n, 512) by their positions 0..n-1."""

    freqs: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("freqs", torch.empty(WIDTH // 2))

    def forward(self, x: Tensor) -> Tensor:
        angle = torch.arange(x.shape[1], device=x.device).to(x.dtype)[:, None] * self.freqs  # n, 256
        cos, sin = angle.cos(), angle.sin()
        a, b = x.unflatten(-1, (WIDTH // 2, 2)).unbind(-1)  # B, n, 256 each
        return torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)


class Attention(nn.Module):
    """queries (B, n, 512), keys and values (B, m, 512) -> (B, n, 512)."""

    def __init__(self) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.empty(3 * WIDTH, WIDTH))
        self.in_proj_bias = nn.Parameter(torch.empty(3 * WIDTH))
        self.out_proj = nn.Linear(WIDTH, WIDTH)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (_HEADS, -1)).transpose(1, 2)  # B, 8, n or m, 64
            for x, weight, bias in zip((queries, keys, values), weights, biases, strict=True)
        )
        x = F.scaled_dot_product_attention(query, key, value)
        return self.out_proj(x.transpose(1, 2).flatten(-2))


class EncoderLayer(nn.Module):
    """Tokens (B, n, 512) -> the same shape. All layers of a network share one `rotary`."""

    def __init__(self, rotary: Rotary) -> None:
        super().__init__()
        self.rotary = rotary
        self.self_attn = Attention()
        self.linear1, self.linear2 = nn.Linear(WIDTH, _HIDDEN), nn.Linear(_HIDDEN, WIDTH)
        self.norm1, self.norm2 = nn.LayerNorm(WIDTH), nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        z = self.norm1(x)
        turned = self.rotary(z)
        x = x + self.self_attn(turned, turned, z)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Film(nn.Module):
    """Scales and shifts tokens (B, n, 512) as a vector (B, 512) says, all alike."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Mish(), nn.Linear(WIDTH, 2 * WIDTH))

    def forward(self, x: Tensor, steer: Tensor) -> Tensor:
        scale, shift = self.block(steer)[:, None].chunk(2, -1)  # B, 1, 512 each
        return (scale + 1) * x + shift


class DecoderLayer(nn.Module):
    """Tokens (B, n, 512) -> the same shape; looks at memory (B, m, 512), steered by a vector (B, 512).

    `turned_memory` is the memory after `rotary`, made once for all layers.
    """

    def __init__(self, rotary: Rotary) -> None:
        super().__init__()
        self.rotary = rotary
        self.self_attn, self.multihead_attn = Attention(), Attention()
        self.linear1, self.linear2 = nn.Linear(WIDTH, _HIDDEN), nn.Linear(_HIDDEN, WIDTH)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.film1, self.film2, self.film3 = Film(), Film(), Film()

    def forward(self, x: Tensor, memory: Tensor, turned_memory: Tensor, steer: Tensor) -> Tensor:
        z = self.norm1(x)
        turned = self.rotary(z)
        x = x + self.film1(self.self_attn(turned, turned, z), steer)
        turned = self.rotary(self.norm2(x))
        x = x + self.film2(self.multihead_attn(turned, turned_memory, memory), steer)
        y = self.linear2(F.gelu(self.linear1(self.norm3(x))))
        return x + self.film3(y, steer)


class Decoder(nn.Module):
    """Layers one after the other, all with the same memory and the same steering vector."""

    def __init__(self, layers: int, rotary: Rotary) -> None:
        super().__init__()
        self.stack = nn.ModuleList(DecoderLayer(rotary) for _ in range(layers))

    def forward(self, x: Tensor, memory: Tensor, turned_memory: Tensor, steer: Tensor) -> Tensor:
        for layer in self.stack:
            x = layer(x, memory, turned_memory, steer)
        return x
