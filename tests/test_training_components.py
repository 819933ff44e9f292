"""An encoder of principal components: linear, as good as the textbook's, and the decoder alone learns."""

import dataclasses

import numpy as np
import pytest
import torch
from small_family import SIZES, make_prepared
from torch.nn import functional as F

from instantid import bundles, loading, mini
from instantid.errors import InvalidRequest
from instantid.mini import models
from instantid.training import autoencoder, latents
from instantid.training.components import write_components


@pytest.fixture(scope="module")
def pictures() -> torch.Tensor:
    """(12, 3, 64, 64): coloured gradients and waves, so that a few components tell most."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:64, :64] / 64
    made = []
    for _ in range(12):
        tilt, wave, middle = rng.normal(size=(2, 3)), rng.normal(size=(2, 3)), rng.normal(size=3)
        flat = y[..., None] * tilt[0] + x[..., None] * tilt[1] + middle
        waves = np.sin(40 * x + rng.uniform(0, 6))[..., None] * wave[0] + np.cos(33 * y)[..., None] * wave[1]
        made.append(flat + 0.3 * waves + rng.normal(size=(64, 64, 3)) * 0.02)
    return torch.tensor(np.stack(made)).float().permute(0, 3, 1, 2).clamp(-1, 1)


@pytest.fixture(scope="module")
def vae(pictures):
    torch.manual_seed(0)
    made = models.base(mini.SMALL, models.unet(mini.SMALL)).vae
    write_components(made, pictures)
    return made


@torch.no_grad()
def encode(vae, pictures: torch.Tensor) -> torch.Tensor:
    return vae.encode(pictures).latent_dist.mode()


def test_latents_are_linear_in_the_pictures(vae, pictures):
    one, other = encode(vae, pictures[:4]), encode(vae, pictures[4:8])
    between = encode(vae, 0.3 * pictures[:4] + 0.7 * pictures[4:8])
    assert (between - (0.3 * one + 0.7 * other)).abs().max() < 1e-3 * one.abs().max()
    assert encode(vae, pictures).mean(dim=(0, 2, 3)).abs().max() < 1e-3, "around zero"


def test_a_latent_tells_of_its_own_patch_alone(vae, pictures):
    changed = pictures.clone()
    changed[:, :, 16:24, 40:48] += 0.5
    moved = (encode(vae, changed) - encode(vae, pictures)).abs().amax(dim=(0, 1)) > 1e-3
    assert moved.nonzero().tolist() == [[2, 5]]


def test_no_other_numbers_of_a_patch_tell_more(vae, pictures):
    patches = F.pixel_unshuffle(pictures, 8).permute(0, 2, 3, 1).flatten(0, 2)
    latents = encode(vae, pictures).permute(0, 2, 3, 1).flatten(0, 2)
    given = torch.cat([latents, torch.ones(len(latents), 1)], dim=1)
    lost = ((given @ torch.linalg.lstsq(given, patches).solution - patches) ** 2).sum(dim=1).mean()
    best = torch.linalg.eigvalsh(torch.cov(patches.T.double())).sort().values[: -mini.SMALL.latents].sum()
    assert lost < 1.05 * best, "components of components lose a little"


def test_evenness_says_how_far_apart_the_components_are(pictures):
    spreads = []
    for evenness in (0.0, 1.0):
        made = models.base(mini.SMALL, models.unet(mini.SMALL)).vae
        write_components(made, pictures, evenness=evenness)
        spreads.append(encode(made, pictures).std(dim=(0, 2, 3)))
    assert spreads[0][0] > 10 * spreads[0][-1]
    assert spreads[1] == pytest.approx(torch.ones(mini.SMALL.latents), abs=0.01)


def test_half_precision_holds_it(vae, pictures):
    whole = encode(vae, pictures[:2])
    half = encode(vae.half(), pictures[:2].half()).float()
    vae.float()
    assert (half - whole).abs().max() < 0.02


def test_an_encoder_too_narrow_is_refused(pictures):
    sizes = dataclasses.replace(mini.SMALL, latents=25)
    with pytest.raises(InvalidRequest, match="twice the latents and twice the groups"):
        write_components(models.base(sizes, models.unet(sizes)).vae, pictures)


def test_latents_are_those_of_an_encoder_whatever_the_decoder_learns(vae):
    first = latents.mark(vae)
    with torch.no_grad():
        vae.decoder.conv_in.weight += 1
        vae.post_quant_conv.bias += 1
        assert latents.mark(vae) == first
        vae.encoder.conv_out.bias[0] += 1
        assert latents.mark(vae) != first
        vae.encoder.conv_out.bias[0] -= 1


def test_the_decoder_alone_learns(tmp_path):
    prepared = make_prepared(tmp_path / "prepared")
    sizes = dataclasses.replace(SIZES, vae_channels=(8, 16, 32, 32), latents=8)
    bundle = mini.build(tmp_path / "bundle", sizes)
    everything = np.arange(len(prepared))
    options = autoencoder.Options(components=True, crop=0)
    task = autoencoder.AutoencoderTask(bundle, prepared, everything, everything[:2], options)
    optimizer = torch.optim.Adam([each for each in task.parameters() if each.requires_grad], lr=3e-3)
    first = latents.mark(task.vae)
    losses = []
    for _ in range(30):
        loss = task(range(8))["pixels"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * losses[0]
    assert latents.mark(task.vae) == first, "the encoder stays"
    task.save(bundle)
    kept = loading.load_vae(bundles.open_bundle(bundle), torch.float32)
    whole = torch.from_numpy(prepared.images(everything)).permute(0, 3, 1, 2) / 127.5 - 1
    assert (encode(kept, whole) * kept.config.scaling_factor).std() == pytest.approx(1, abs=0.1)
