"""What a Union ControlNet is to say of a picture, written down: so it can learn to say it, and the UNet to hear it.

The code is, at each latent, what is foretold of it and how far it will be from the usual: of an edge it is known that
there is one, but not which side is dark. It is spelled in fixed directions of the finest residual behind a layer,
beside those of `FaceCode`.
"""

import numpy as np
import torch
from diffusers import ControlNetUnionModel

from ..errors import InvalidRequest
from .face_code import LOUD

AT = 1  # the residual; the first one is conv_in's


class MapCode:
    """Writes and reads it.

    Args:
        net: whose residual it goes through.
        latents: (n, c, h, w) of pictures that tell how much latents vary.

    Raises:
        InvalidRequest: the residual has no room for it.
    """

    def __init__(self, net: ControlNetUnionModel, latents: np.ndarray):
        known = torch.from_numpy(latents).float()
        self._middle, self._scale = _usual(known)
        self._far, self._varies = _usual(((known - self._middle) / self._scale).abs())
        count, channels = latents.shape[1], net.controlnet_down_blocks[AT].out_channels
        faces = count + 1
        if faces + 2 * count > channels:
            raise InvalidRequest(
                f"What is to be told of a picture takes {2 * count} numbers at each latent, and {faces} of a face; "
                f"the net's finest residual has {channels}. Train the control stage instead: it needs no room."
            )
        generator = torch.Generator().manual_seed(0)
        drawn = [torch.randn(channels, numbers, generator=generator) for numbers in (faces, 2 * count)]
        self._directions = torch.linalg.qr(torch.cat(drawn, dim=1))[0].T[
            faces:
        ]  # (2c, channels), orthonormal

    def of(self, latents: torch.Tensor) -> torch.Tensor:
        """The code (b, 2c, h, w) of latents (b, c, h, w), each number around 0 and about as far from it as 1."""
        middle, scale, far, varies = (
            each.to(latents) for each in (self._middle, self._scale, self._far, self._varies)
        )
        apart = (latents - middle) / scale
        return torch.cat([apart, (apart.abs() - far) / varies], dim=1)

    def latents_of(self, code: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w): the latents that a code foretells."""
        return code.chunk(2, dim=1)[0] * self._scale.to(code) + self._middle.to(code)

    def read(self, residual: torch.Tensor) -> torch.Tensor:
        """The code that a residual (b, channels, h, w) says."""
        said = torch.einsum("bchw,nc->bnhw", residual, self._directions.to(residual))
        return said.float() / LOUD  # autocast would leave it in half precision


def _usual(numbers: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation of each channel, (c, 1, 1)."""
    deviation, mean = torch.std_mean(numbers, dim=(0, 2, 3))
    return mean[:, None, None], deviation.clamp(min=1e-6)[:, None, None]
