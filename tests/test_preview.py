"""Previews look like the picture that the VAE decodes."""

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from PIL import Image
from torch.nn import functional

from instantid.preview import Preview


class LinearVAE(torch.nn.Module):
    """Encodes by averaging 8×8 pixels and mixing the colours: what a preview can undo exactly."""

    def __init__(self):
        super().__init__()
        self.mix = torch.nn.Parameter(torch.randn(4, 3, generator=torch.Generator().manual_seed(0)))
        self.config = type("Config", (), {"scaling_factor": 0.5})

    @property
    def dtype(self) -> torch.dtype:
        return self.mix.dtype

    @torch.no_grad()
    def encode(self, pixels: torch.Tensor):
        """(1, 3, h, w) → an answer like diffusers', its mean (1, 4, h / 8, w / 8)."""
        mean = torch.einsum("lc,bchw->blhw", self.mix, functional.avg_pool2d(pixels, 8)) + 0.25
        return type("Answer", (), {"latent_dist": type("Distribution", (), {"mean": mean})})


def latents_of(vae: LinearVAE, picture: Image.Image) -> torch.Tensor:
    """As the pipeline carries them: scaled."""
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1)[None] / 127.5 - 1
    return vae.encode(pixels).latent_dist.mean * vae.config.scaling_factor


@pytest.fixture
def picture() -> Image.Image:
    """16×12 colours, each 8×8 pixels large."""
    colours = np.random.default_rng(3).integers(60, 200, (12, 16, 3), dtype=np.uint8)
    return Image.fromarray(colours.repeat(8, axis=0).repeat(8, axis=1))


def test_through_a_linear_vae_the_preview_is_the_small_picture(picture):
    vae = LinearVAE()
    preview = Preview(vae)(latents_of(vae, picture))
    assert (preview.mode, preview.size) == ("RGB", (16, 12))
    small = np.asarray(picture)[::8, ::8].astype(int)
    assert abs(np.asarray(preview) - small).max() <= 1


def test_the_first_of_several_images_is_shown(picture):
    vae = LinearVAE()
    preview, mirrored = Preview(vae), picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    both = torch.cat([latents_of(vae, each) for each in (mirrored, picture)])
    assert preview(both).tobytes() == preview(both[:1]).tobytes() != preview(both[1:]).tobytes()


def test_noise_is_brought_back_to_the_width_of_a_picture():
    """Euler's first latents are fifteen times as wide as the last ones."""
    vae = LinearVAE()
    preview = Preview(vae)
    noise = torch.randn(1, 4, 12, 16, generator=torch.Generator().manual_seed(1))
    wide, plain = (np.asarray(preview(noise * width)) for width in (15, 1))
    assert abs(wide.astype(int) - plain).mean() < 5


def test_a_real_vae_in_half_precision_is_left_as_it_was(tiny):
    vae = AutoencoderKL.from_pretrained(tiny / "base" / "vae").half()
    before = {name: weight.clone() for name, weight in vae.state_dict().items()}
    preview = Preview(vae)
    assert vae.dtype == torch.float16
    assert all(torch.equal(before[name], weight) for name, weight in vae.state_dict().items())
    assert preview(torch.randn(1, 4, 12, 16).half()).size == (16, 12)
