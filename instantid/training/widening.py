"""An AutoencoderKL with more channels at its coarsest level, which does what it did: Net2WiderNet (1511.05641).

Decoders spend their time where pictures are large, and know what faces look like where they are small: there twice
the channels cost next to nothing.
"""

import torch
from diffusers import AutoencoderKL

from ..errors import InvalidRequest


@torch.no_grad()
def widened(vae: AutoencoderKL, channels: int) -> AutoencoderKL:
    """One whose coarsest level has so many channels; this one where it has them already.

    Each channel becomes several alike; what reads them takes from each a share. In the decoder these are drawn, so
    that the copies part as they learn; in the encoder they are even, for nobody trains it.

    Raises:
        InvalidRequest: it is no multiple of what the level has.
    """
    *finer, now = vae.config.block_out_channels
    if channels == now:
        return vae
    if channels % now:
        raise InvalidRequest(
            f"The VAE's coarsest level has {now} channels: it can have {2 * now} or {3 * now}, not {channels}."
        )
    wide = AutoencoderKL.from_config({**vae.config, "block_out_channels": (*finer, channels)}).to(vae.device)
    known, times = vae.state_dict(), channels // now
    with torch.random.fork_rng():
        torch.manual_seed(0)
        for name, weight in wide.state_dict().items():
            old = known[name] if name in known else _shortcut(weight, times)
            weight.copy_(_spread(old, weight.shape, even=name.startswith("encoder")))
            if ".to_q." in name:
                # What queries and keys have in common grows by `times`, what it is divided by, by the root of that.
                weight.div_(times**0.5)
    return wide.train(vae.training)


def _shortcut(weight: torch.Tensor, times: int) -> torch.Tensor:
    """Of a resnet that had none, both of its sides being equally wide."""
    if weight.dim() == 1:
        return torch.zeros_like(weight)
    return torch.eye(max(weight.shape[:2]) // times)[:, :, None, None].to(weight)


def _spread(old: torch.Tensor, shape: torch.Size, *, even: bool) -> torch.Tensor:
    """Weights (out, in, …) or (out,) for channels that are there several times."""
    new = old.repeat_interleave(shape[0] // old.shape[0], dim=0)
    if old.dim() == 1 or shape[1] == old.shape[1]:
        return new
    times = shape[1] // old.shape[1]
    shares = torch.rand(new.shape[0], new.shape[1], times, *new.shape[2:])
    shares = torch.full_like(shares, 1 / times) if even else shares / shares.sum(dim=2, keepdim=True)
    return (new[:, :, None] * shares.to(new)).flatten(1, 2)
