"""Reads off IdentityNet itself what it has to say of a face: so it learns to place the tokens without the UNet.

Which token belongs where is what cross-attention learns slowest. IdentityNet has all that this takes, keypoints and
tokens, and is a third of the work. What it says is read linearly off the finest residual behind an attention.
"""

from collections.abc import Sequence

import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch import nn
from torch.nn import functional as F

from .denoising import Conditions, Denoiser

SOFT = 0.125  # length of the rows that read: what is read makes a part of the residual that is eight times as large
"""Where rows may be of any length, faces make a twentieth of what the UNet has there, and it is slow to hear them."""


class NetReader(nn.Module):
    """A linear reading of a ControlNet's residuals as latents. Serves training only; no bundle carries it."""

    def __init__(self, net: ControlNetModel, unet: UNet2DConditionModel):
        super().__init__()
        self._at, halvings = _finest_attended(net)
        channels = net.controlnet_down_blocks[self._at].out_channels
        self._shuffle = nn.PixelShuffle(2**halvings)
        numbers = unet.config.in_channels * 4**halvings
        generator = torch.Generator().manual_seed(0)
        self.directions = nn.Parameter(torch.randn(numbers, channels, generator=generator))
        self.middle = nn.Parameter(torch.zeros(numbers))

    def forward(self, denoiser: Denoiser, given: Conditions, noise: torch.Tensor) -> torch.Tensor:
        """What IdentityNet says out of noise (b, c, h, w) alone, as latents. `given`: with residuals."""
        last = denoiser.pipeline.scheduler.config.num_train_timesteps - 1
        at = torch.full((len(noise),), last, device=noise.device)
        down, _ = given.residuals(noise, at, denoiser.beside(noise, given))
        return self.read(down)

    def read(self, residuals: Sequence[torch.Tensor]) -> torch.Tensor:
        """Latents (b, c, h, w) off a ControlNet's residuals."""
        weights = SOFT * F.normalize(self.directions, dim=1)
        told = F.conv2d(residuals[self._at], weights[:, :, None, None], self.middle)
        return self._shuffle(told).float()


def _finest_attended(net: ControlNetModel) -> tuple[int, int]:
    """Which of its residuals comes behind the first attention, and how often it is halved by then."""
    at = 1  # the first one is conv_in's
    for halvings, block in enumerate(net.down_blocks):
        if getattr(block, "attentions", None):
            return at, halvings
        at += len(block.resnets) + (block.downsamplers is not None)
    raise ValueError("a ControlNet without attention sees no face tokens")
