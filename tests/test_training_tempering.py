"""Attention that heeds one token alone weighs several again."""

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from small_family import make_prepared, make_velocity_bundle

from instantid.training.denoising import Denoiser
from instantid.training.tempering import _heights, temper

LOUD = 400


@pytest.fixture
def denoiser(tmp_path):
    return Denoiser(make_velocity_bundle(tmp_path / "bundle", make_prepared(tmp_path / "prepared")))


@pytest.fixture
def run(denoiser):
    latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        given = denoiser.read([f"a disc of colour {n}" for n in range(4)])
    return lambda: denoiser.predict(latents, torch.full((4,), 900), given)


def attentions(denoiser):
    return {name: each for name, each in denoiser.unet.named_modules() if isinstance(each, Attention)}


def test_what_is_sure_of_one_token_weighs_several(denoiser, run):
    layers = attentions(denoiser)
    loud = [name for name in layers if "mid_block" in name]
    with torch.no_grad():
        for name in loud:
            layers[name].to_k.weight.mul_(LOUD)
    was = _heights(layers, run)
    assert all(was[name] > 8 for name in loud), was
    before = {name: weights.clone() for name, weights in denoiser.unet.named_parameters()}
    told = temper([denoiser.unet], run, 8.0)
    assert set(told) == {f"0.{name}" for name, height in was.items() if height > 8}
    assert all(height < 8.5 for height in _heights(layers, run).values())
    changed = {name for name, weights in denoiser.unet.named_parameters() if (weights != before[name]).any()}
    parts = {
        name.removeprefix("0."): "to_k" if layers[name.removeprefix("0.")].is_cross_attention else "to_q"
        for name in told
    }
    assert changed == {f"{name}.{part}.weight" for name, part in parts.items()}


def test_what_weighs_several_is_left_alone(denoiser, run):
    with torch.no_grad():
        was = run()
        assert temper([denoiser.unet], run, 1000.0) == {}
        assert torch.equal(run(), was)


def test_sure_attention_hears_no_other_word_and_tempered_does(denoiser, run):
    """What the text encoder would have to learn: of other tokens than the chosen ones, too."""
    layers, heard = attentions(denoiser), []
    [name, *_] = [name for name in layers if name.endswith("attn2")]
    with torch.no_grad():
        layers[name].to_k.weight.mul_(100 * LOUD)
    weighed = layers[name].to_k.weight.requires_grad_()
    for most in (None, 8.0):
        if most:
            temper([denoiser.unet], run, most)
        [slope] = torch.autograd.grad(run().square().mean(), weighed)
        heard.append(float(slope.norm() * weighed.norm()))  # of a change by so much of it
    assert np.isfinite(heard).all() and heard[1] > 2 * heard[0]
