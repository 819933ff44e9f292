"""Latents → a small, rough picture, for the cost of one matrix product.

Every latent is turned into a colour by a linear map, which is fitted to the VAE once, from the VAE itself:
no table of constants for one model's latents, and any VAE will do.
"""

import numpy as np
import torch
from diffusers import AutoencoderKL
from PIL import Image

FIT_SIDE = 128  # pixels of the picture that the map is fitted on


class Preview:
    """Made once per engine, before the VAE is placed or cast."""

    def __init__(self, vae: AutoencoderKL):
        self._scaling = vae.config.scaling_factor
        self._map = _fit(vae)  # (channels + 1, 3)

    def __call__(self, latents: torch.Tensor) -> Image.Image:
        """Picture the first of `latents` (batch, channels, h, w), at h × w pixels."""
        latent = latents[0].detach().float().cpu()
        # Early latents are mostly noise, up to 15 times as wide as a picture's: brought back to its width.
        latent = latent / latent.std().clamp(min=1)
        pixels = latent.permute(1, 2, 0) / self._scaling  # (h, w, channels)
        colours = pixels @ self._map[:-1] + self._map[-1]  # (h, w, 3), -1 to 1
        return Image.fromarray(((colours.clamp(-1, 1) + 1) * 127.5).byte().numpy())


@torch.inference_mode()
def _fit(vae: AutoencoderKL) -> torch.Tensor:
    """Least squares from the latents of a colourful picture to its own pixels, averaged per latent."""
    dtype = vae.dtype
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(noise).resize((FIT_SIDE, FIT_SIDE), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1  # (1, 3, side, side)
    vae.float()  # SDXL's VAE overflows in float16
    latents = vae.encode(pixels).latent_dist.mean  # (1, channels, h, w)
    vae.to(dtype)
    colours = (
        torch.nn.functional.adaptive_avg_pool2d(pixels, latents.shape[-2:])[0].flatten(1).T
    )  # (h * w, 3)
    rows = latents[0].flatten(1).T  # (h * w, channels)
    rows = torch.cat([rows, torch.ones(len(rows), 1)], dim=1)
    return torch.linalg.lstsq(rows.double(), colours.double()).solution.float()
