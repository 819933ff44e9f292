"""A VAE with a wider coarsest level, against the one that it was."""

import pytest
import torch
from diffusers import AutoencoderKL

from instantid.errors import InvalidRequest
from instantid.training.widening import widened


def make_vae(channels: tuple[int, ...], layers: int) -> AutoencoderKL:
    torch.manual_seed(3)
    vae = AutoencoderKL(
        block_out_channels=channels,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        layers_per_block=layers,
        norm_num_groups=4,
        latent_channels=4,
    )
    for weight in vae.parameters():
        torch.nn.init.normal_(weight, std=0.2)  # also of norms and biases, which begin alike
    return vae.eval()


@torch.no_grad()
@pytest.mark.parametrize("channels", [(8, 16, 16), (8, 16)], ids=["as wide as before", "wider than before"])
@pytest.mark.parametrize("times", [2, 3])
def test_it_does_what_it_did(channels, times):
    vae = make_vae(channels, 1)
    wide = widened(vae, times * channels[-1])
    assert wide.config.block_out_channels[-1] == times * channels[-1]
    assert wide.config.scaling_factor == vae.config.scaling_factor and not wide.training
    pictures = torch.rand(2, 3, 16, 16) * 2 - 1
    latents = vae.encode(pictures).latent_dist.mode()
    assert torch.allclose(wide.encode(pictures).latent_dist.mode(), latents, atol=1e-4)
    shown = vae.decode(latents).sample
    assert shown.std() > 0.1
    assert torch.allclose(wide.decode(latents).sample, shown, atol=1e-4 * float(shown.abs().max()))


def test_copies_part_as_they_learn():
    wide = widened(make_vae((8, 16), 1), 32)
    latents = torch.randn(1, 4, 8, 8)
    wide.decode(latents).sample.square().mean().backward()
    for name, weight in wide.decoder.mid_block.named_parameters():
        if weight.grad is not None and "conv" in name:
            assert not torch.allclose(weight.grad[0::2], weight.grad[1::2], rtol=0.01), name


def test_it_is_as_wide_as_asked_or_says_why_not():
    vae = make_vae((8, 16), 1)
    assert widened(vae, 16) is vae
    with pytest.raises(InvalidRequest, match="16 channels: it can have 32 or 48, not 40"):
        widened(vae, 40)
