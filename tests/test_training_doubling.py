"""A bundle that makes pictures of twice the side, against the one that it was."""

import dataclasses

import numpy as np
import pytest
import torch
from portraits import portrait_sizes
from test_faces import opencv_folder  # noqa: F401  (fixture)
from test_training_widening import make_vae
from torch.nn import functional as F
from unions import make_union

from instantid import bundles, mini
from instantid.engine import Engine
from instantid.errors import InvalidRequest
from instantid.mini import models
from instantid.request import Face, Person, Request
from instantid.training.beginnings import begin_controlnet
from instantid.training.denoising import Denoiser
from instantid.training.doubling import deepened, double, reading_twice_as_large, told_nothing_of_sizes


def enlarged(pictures: torch.Tensor) -> torch.Tensor:
    return F.interpolate(pictures, scale_factor=2)


@torch.no_grad()
def test_a_finer_vae_says_and_shows_what_it_did():
    vae = make_vae((16, 24, 24), 1)
    deep = deepened(vae)
    assert deep.config.block_out_channels == (16, 16, 24, 24) and not deep.training
    small = torch.rand(2, 3, 16, 16) * 2 - 1
    latents = vae.encode(small).latent_dist.mode()
    assert torch.allclose(deep.encode(enlarged(small)).latent_dist.mode(), latents, atol=1e-4)
    fine = torch.rand(2, 3, 32, 32) * 2 - 1
    of_means = vae.encode(F.avg_pool2d(fine, 2)).latent_dist.mode()
    of_fine = deep.encode(fine).latent_dist.mode()
    assert (of_fine - of_means).std() < 0.5 * of_means.std(), (
        "noise, of which pixels that are left out tell most"
    )
    plain = torch.ones(1, 4, 4, 4) * torch.randn(1, 4, 1, 1)
    one, other = vae.decode(plain).sample, deep.decode(plain).sample
    assert other.shape == (1, 3, 32, 32)
    middle = (one - one.mean()).flatten(), (F.avg_pool2d(other, 2) - other.mean()).flatten()
    assert torch.corrcoef(torch.stack(middle))[0, 1] > 0.8


def test_a_vae_too_narrow_is_refused():
    with pytest.raises(InvalidRequest, match=r"8 channels.*12"):
        deepened(make_vae((8, 16), 1))


@torch.no_grad()
@pytest.mark.parametrize("union", [False, True], ids=["one kind", "all kinds"])
def test_a_controlnet_reads_maps_of_twice_the_side_as_it_did(union):
    unet = models.unet(mini.TINY)
    net = make_union(unet) if union else models.controlnet(unet, mini.TINY)
    was = net.controlnet_cond_embedding
    way_in = reading_twice_as_large(net).controlnet_cond_embedding
    maps = (torch.rand(2, 3, 64, 48) > 0.5).float()  # as bright as drawn, as most of a map is
    wanted = was(maps)
    assert wanted.std() > 1e-3
    assert torch.allclose(way_in(enlarged(maps)), wanted, atol=1e-3 * float(wanted.abs().max()))


@torch.no_grad()
def test_a_network_that_is_told_nothing_of_sizes_takes_all_for_the_one_it_knew():
    unet = models.unet(mini.TINY)

    def said(side: float) -> torch.Tensor:
        sizes = torch.tensor([[side, side, 0, 0, side, side]])
        words = torch.linspace(-1, 1, 32)[None]
        return unet(
            torch.ones(1, 4, 8, 8),
            500,
            torch.ones(1, 3, 64),
            added_cond_kwargs={"text_embeds": words, "time_ids": sizes},
        ).sample

    wanted, other = said(64), said(128)
    assert not torch.allclose(other, wanted, atol=1e-3)
    told_nothing_of_sizes(unet, 64)
    assert torch.allclose(said(64), wanted, atol=1e-5) and torch.allclose(said(128), wanted, atol=1e-5)


def test_a_doubled_bundle_paints_the_same_picture_larger(opencv_folder, tmp_path):  # noqa: F811
    faces = {"kind": "opencv", "path": str(opencv_folder.resolve())}
    sizes = dataclasses.replace(portrait_sizes("small"), vae_channels=(16, 16, 16, 16), side=64)
    small = mini.build(tmp_path / "small", sizes, faces=faces)
    large = double(bundles.open_bundle(small), tmp_path / "large")
    usual = bundles.open_bundle(large).defaults
    assert (usual.width, usual.height, usual.grid, usual.map_pixel) == (128, 128, 16, 2)
    engines = [Engine.load(folder, device="cpu") for folder in (small, large)]
    places = np.array([[24, 26], [40, 26], [32, 34], [26, 42], [38, 42]], np.float32)
    person = np.random.default_rng(0).normal(size=128).astype(np.float32)

    def paint(engine: Engine, scale: int, **settings):
        face = Face(person, places * scale, np.array([16, 12, 48, 52], np.float32) * scale)
        request = Request(people=[Person(references=[face])], prompt="somebody", seed=3, **settings)
        return engine.generate(request)

    one, other = (paint(engine, scale) for engine, scale in zip(engines, (1, 2), strict=True))
    assert other.images[0].size == (128, 128)
    before, after = (np.asarray(each, float) for each in (one.images[0], other.images[0].reduce(2)))
    assert np.corrcoef(before.ravel(), after.ravel())[0, 1] > 0.9
    drawn = other.control_maps["keypoints"]
    assert np.array_equal(np.asarray(drawn)[::2, ::2], np.asarray(one.control_maps["keypoints"]))
    wide = paint(engines[1], 2, width=160, height=96)
    assert wide.images[0].size == (160, 96)
    with pytest.raises(InvalidRequest, match=r"multiples of 16; width is 136\. Take 128 or 144"):
        paint(engines[1], 2, width=136)
    # A net that begins here, such as a discriminator's backbone, reads maps as large as pictures, too.
    base = Denoiser(large)
    begun = begin_controlnet(base.unet, base.vae).controlnet_cond_embedding
    assert begun(torch.zeros(1, 3, 128, 128)).shape[-1] == base.side
