"""LMDM, the motion model: what a clip of noise would be as motion to a voice.

One call is one step of denoising (EDGE's decoder, Tseng et al. 2022, arXiv:2211.10658, is its kin), with
the guidance already in it: the motion is guessed with and without the voice, and the difference doubled.
"""

import math

import torch
from torch import Tensor, nn

from core.models.attention import WIDTH, Decoder, EncoderLayer, Rotary
from core.models.schedule import alphas_cumprod

FRAMES = 80  # of a clip
MOTION = 265  # scale 1, pitch, yaw and roll 66 each, t 3, exp 63
CONDITION = 1103  # voice 1024, emotion 8, eyes open 2, eyeballs 6, keypoints of the source 63
GUIDANCE = 2.0
_TIME_WIDTH = 2048
_TIME_TOKENS = 2


class Sinusoid(nn.Module):
    """Times (B,) int64 -> (B, 512): 256 sines, then 256 cosines, of slower and slower waves."""

    def forward(self, time: Tensor) -> Tensor:
        half = WIDTH // 2
        wave = torch.exp(torch.arange(half, device=time.device) * (-math.log(10000) / (half - 1)))
        angle = time[:, None] * wave
        return torch.cat([angle.sin(), angle.cos()], -1)


class Lmdm(nn.Module):
    """x (B, 80, 265) motion with noise, cond_frame (B, 265) the frame before, cond (B, 80, 1103),
    time_cond (B,) int64 0..999 -> pred_noise, x_start, both (B, 80, 265)."""

    noise_of_x: Tensor
    noise_of_start: Tensor

    def __init__(self) -> None:
        super().__init__()
        rotary = Rotary()
        self.rotary = rotary
        self.null_cond_embed = nn.Parameter(torch.empty(1, FRAMES, WIDTH))
        self.null_cond_hidden = nn.Parameter(torch.empty(1, WIDTH))
        self.time_mlp = nn.Sequential(Sinusoid(), nn.Linear(WIDTH, _TIME_WIDTH), nn.Mish())
        self.to_time_cond = nn.Sequential(nn.Linear(_TIME_WIDTH, WIDTH))
        self.to_time_tokens = nn.Sequential(nn.Linear(_TIME_WIDTH, _TIME_TOKENS * WIDTH))
        self.norm_cond = nn.LayerNorm(WIDTH)
        self.input_projection = nn.Linear(2 * MOTION, WIDTH)
        self.cond_projection = nn.Linear(CONDITION, WIDTH)
        self.cond_encoder = nn.Sequential(EncoderLayer(rotary), EncoderLayer(rotary))
        self.non_attn_cond_projection = nn.Sequential(
            nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH)
        )
        self.seqTransDecoder = Decoder(8, rotary)
        self.final_layer = nn.Linear(WIDTH, MOTION)
        left = alphas_cumprod()  # in no checkpoint; on the CPU even while the module is built without weights
        self.register_buffer("noise_of_x", torch.from_numpy((1 / (1 - left)) ** 0.5), persistent=False)
        self.register_buffer("noise_of_start", torch.from_numpy((1 / left - 1) ** 0.5), persistent=False)

    def forward(
        self, x: Tensor, cond_frame: Tensor, cond: Tensor, time_cond: Tensor
    ) -> tuple[Tensor, Tensor]:
        without, within = self.passes(x, cond_frame, cond, time_cond)
        start = without + GUIDANCE * (within - without)
        of_x, of_start = (table[time_cond, None, None] for table in (self.noise_of_x, self.noise_of_start))
        return of_x * x - start / of_start, start

    def passes(self, x: Tensor, cond_frame: Tensor, cond: Tensor, time_cond: Tensor) -> tuple[Tensor, Tensor]:
        """The motion (B, 80, 265) guessed without the condition, and with it."""
        encoded = self.cond_encoder(self.cond_projection(cond))  # B, 80, 512
        hidden = self.non_attn_cond_projection(encoded.mean(1))  # B, 512
        encoded = torch.cat([self.null_cond_embed.expand_as(encoded), encoded])  # 2 B from here on
        hidden = torch.cat([self.null_cond_hidden.expand_as(hidden), hidden])

        time = self.time_mlp(time_cond)  # B, 2048
        steer = self.to_time_cond(time).repeat(2, 1) + hidden  # 2 B, 512
        tokens = self.to_time_tokens(time).unflatten(-1, (_TIME_TOKENS, WIDTH)).repeat(2, 1, 1)
        memory = self.norm_cond(torch.cat([encoded, tokens], 1))  # 2 B, 82, 512

        y = torch.cat([x, cond_frame[:, None].expand_as(x)], -1)  # B, 80, 530
        y = self.input_projection(y).repeat(2, 1, 1)  # 2 B, 80, 512
        y = self.seqTransDecoder(y, memory, self.rotary(memory), steer)
        without, within = self.final_layer(y).chunk(2)
        return without, within
