"""A classifier of latents that learns along, for whoever paints what captions tell of: AC-GAN (1610.09585).

It learns from true pictures alone: those through noise, as what guides a sampler must (2105.05233), for what is said
of clean latents a painter can please by specks that nobody sees; and softened, for what is made in one step is soft,
and to who has seen sharp ones only that says anything.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .denoising import Denoiser

WIDTHS = (96, 160)  # at latents' own size, and at half of it
PLACES = 4  # a side, of which it is known where they are: hair is above, places are beside
DROPPED = 0.3
BLURS = 2  # by three places each
MOST_NOISE = 0.3  # of the schedule, over what it sees


class ThingReader(nn.Module):
    """Says of latents how likely they show each of some things.

    Args:
        denoiser: whose latents and noise.
        often: (n,) which share of pictures shows each thing.
    """

    def __init__(self, denoiser: Denoiser, often: torch.Tensor):
        super().__init__()
        self._denoiser = [denoiser]  # in a list: its weights are the task's
        often = often.clamp(1e-3, 1 - 1e-3)
        self.register_buffer("_usual", often.logit(), persistent=False)
        fine, coarse = WIDTHS
        channels = denoiser.unet.config.in_channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(
                *_layer(channels, fine), *_layer(fine, coarse, stride=2), *_layer(coarse, coarse)
            )
            self.says = nn.Linear(coarse * PLACES**2, len(often))
        nn.init.zeros_(self.says.weight)
        nn.init.zeros_(self.says.bias)

    def forward(self, latents: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) without noise → (b, n), above 0: more likely there than not."""
        denoiser = self._denoiser[0]
        timesteps = (MOST_NOISE * denoiser.timesteps(len(latents), 1.0)).long().to(latents.device)
        seen = F.adaptive_avg_pool2d(self.body(denoiser.disturbed(latents, timesteps)), PLACES)
        return self._usual + self.says(F.dropout(seen.flatten(1), DROPPED, self.training)).float()

    def softened(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as far on the way to a blur as chance has it."""
        blurred = latents
        for _ in range(BLURS):
            blurred = F.avg_pool2d(F.pad(blurred, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return torch.lerp(latents, blurred, torch.rand_like(latents[:, :1, :1, :1]))

    def missed(
        self, latents: torch.Tensor, shown: torch.Tensor, told: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How little what is told is read in these latents, and as a share of how little one would guess it.

        Args:
            shown: (b, n) 1 for things that should be there, 0 for those that should not.
            told: (b, n) which of both count.
        """
        counts = told.float()
        everything = counts.sum().clamp(min=1)
        read, guessed = (
            (counts * F.binary_cross_entropy_with_logits(said, shown, reduction="none")).sum() / everything
            for said in (self(latents), self._usual.expand_as(shown))
        )
        return read, (read / guessed.clamp(min=1e-6)).detach()


def _layer(into: int, out: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(into, out, 3, stride, 1), nn.GroupNorm(8, out), nn.SiLU()
