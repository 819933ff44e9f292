"""Pictures → latents, once for all stages after the autoencoder."""

import hashlib
from collections.abc import Callable

import numpy as np
import torch
from diffusers import AutoencoderKL

from .. import loading
from ..bundles import Bundle
from .autoencoder import as_tensor
from .prepared import Prepared, encode_latents


def encode(
    prepared: Prepared,
    bundle: Bundle,
    device: torch.device | str = "cpu",
    *,
    batch: int = 32,
    on_pictures: Callable[[int], None] = lambda count: None,
) -> None:
    """Write the latents of all pictures, by a bundle's VAE, where they are not there yet from that very VAE.

    In float32, whatever the rest is trained in: SDXL's own VAE overflows in half precision. What is kept is the
    middle of what the encoder says, whose spread is a thousandth of the latents'.

    Args:
        batch: pictures at once; 2 to 4 of 1024 pixels take a GPU of 24 GB.
        on_pictures: told of so many more; not of those from before.
    """
    vae = loading.load_vae(bundle, torch.float32).to(device).eval()

    @torch.no_grad()
    def encode_some(pictures: np.ndarray) -> np.ndarray:
        latents = (
            vae.encode(as_tensor(pictures.copy()).to(device)).latent_dist.mode() * vae.config.scaling_factor
        )
        on_pictures(len(pictures))
        return latents.cpu().numpy()

    encode_latents(prepared, encode_some, mark=mark(vae), batch=batch)


def mark(vae: AutoencoderKL) -> str:
    """What tells one VAE's latents from another's: a checksum of its encoder and of what latents are scaled by."""
    digest = hashlib.sha256(f"{vae.config.scaling_factor}".encode())
    for name, weight in sorted(vae.state_dict().items()):
        if name.startswith(("decoder.", "post_quant_conv.")):
            continue  # the decoder may be trained on: latents stay what they were
        digest.update(name.encode() + weight.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
