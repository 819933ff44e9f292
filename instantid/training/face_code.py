"""What IdentityNet is to say of a face, written down: so it can learn to say it, and the UNet to hear it, each alone.

Both together learn slowly: the one has nothing to say that is heard, the other hears nothing worth listening to. The
code is what is foretold of a face (`foretelling`) at each latent, spelled in fixed directions of the finest residual
behind an attention. Placing teaches IdentityNet to write it, hearing the UNet to read it.
"""

import numpy as np
import torch
from diffusers import ControlNetModel
from torch.nn import functional as F

from ..errors import InvalidRequest
from .foretelling import Foretelling

LOUD = 4.0  # of a residual in a face, by its numbers: a UNet's own are about as large
LEARNED = 512  # pictures that tell how much latents vary from face to face


class FaceCode:
    """Writes and reads it.

    Args:
        net: whose residual it goes through.
        embeddings: (n, d) raw, of all pictures.
        chosen: those with faces, to see how faces vary.

    Raises:
        InvalidRequest: the residual has no room for it.
    """

    def __init__(
        self, net: ControlNetModel, foretelling: Foretelling, embeddings: np.ndarray, chosen: np.ndarray
    ):
        self.at, self._halvings = finest_attended(net)
        some = chosen[:: max(1, len(chosen) // LEARNED)][:LEARNED]
        told, inside = foretelling.latents(some, embeddings[some])
        usual, _ = foretelling.latents(some, np.zeros_like(embeddings[some]))
        total = inside.sum()
        self._middle = ((inside * told).sum(dim=(0, 2, 3)) / total)[:, None, None]
        varies = (inside * (told - usual).square()).sum(dim=(0, 2, 3)) / total
        self._scale = varies.clamp(min=1e-4).sqrt()[:, None, None]
        self._channels = [block.out_channels for block in net.controlnet_down_blocks]
        self._middle_channels = net.controlnet_mid_block.out_channels
        numbers = (told.shape[1] + 1) * 4**self._halvings
        if numbers > self._channels[self.at]:
            raise InvalidRequest(
                f"What is to be told of a face takes {numbers} numbers at each place, and IdentityNet's finest "
                f"residual behind an attention has {self._channels[self.at]}. Let it attend at the finest level, as "
                "the placing stage does with finest: true."
            )
        generator = torch.Generator().manual_seed(0)
        drawn = torch.randn(self._channels[self.at], numbers, generator=generator)
        self.directions = torch.linalg.qr(drawn)[0].T  # (numbers, channels), orthonormal

    def of(self, told: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """The code (b, n, h, w) of what is foretold, as `Foretelling.latents` has it: zero outside of faces; last,
        where they are."""
        middle, scale = (each.to(told.device) for each in (self._middle, self._scale))
        spelled = torch.cat([inside * (told - middle) / scale, inside], dim=1)
        return F.pixel_unshuffle(spelled, 2**self._halvings)

    def latents_of(self, code: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) of a code, in which all latents vary alike from face to face; without where faces are."""
        return F.pixel_shuffle(code, 2**self._halvings)[:, :-1]

    def placed(self, code: torch.Tensor, latents: torch.Tensor, inside: torch.Tensor) -> torch.Tensor:
        """The latents (b, c, h, w), in their faces what a code says."""
        middle, scale = (each.to(latents.device) for each in (self._middle, self._scale))
        return latents + self.latents_of(code) * scale - inside * (latents - middle)

    def write(self, code: torch.Tensor) -> torch.Tensor:
        """The residual (b, channels, h, w) that says it."""
        return LOUD * torch.einsum("bnhw,nc->bchw", code, self.directions.to(code))

    def read(self, residual: torch.Tensor) -> torch.Tensor:
        """The code that a residual says."""
        return torch.einsum("bchw,nc->bnhw", residual, self.directions.to(residual)) / LOUD

    def residuals(self, code: torch.Tensor) -> tuple[list[torch.Tensor], torch.Tensor]:
        """All that IdentityNet would add if it said this and nothing else."""
        residual, nothing = self.write(code), code.new_zeros(1, 1, 1, 1)
        down = [nothing.expand(len(code), count, 1, 1) for count in self._channels]
        down[self.at] = residual
        return down, nothing.expand(len(code), self._middle_channels, 1, 1)


def finest_attended(net: ControlNetModel) -> tuple[int, int]:
    """Which of its residuals comes behind the first attention, and how often it is halved by then."""
    at = 1  # the first one is conv_in's
    for halvings, block in enumerate(net.down_blocks):
        if getattr(block, "attentions", None):
            return at, halvings
        at += len(block.resnets) + (block.downsamplers is not None)
    raise ValueError("a ControlNet without attention sees no face tokens")
