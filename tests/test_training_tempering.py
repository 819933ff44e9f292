"""Attention that heeds one token alone weighs several again."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import Attention
from small_family import make_linear, make_prepared, make_velocity_bundle

from instantid import branches
from instantid.training.adapters import attention_like_text, fresh_projector, learn_adapter
from instantid.training.base import BaseTask, Options
from instantid.training.denoising import Denoiser
from instantid.training.tempering import _heights, temper

LOUD = 400


@pytest.fixture
def denoiser(tmp_path):
    made = Denoiser(make_velocity_bundle(tmp_path / "bundle", make_prepared(tmp_path / "prepared")))
    return made.requires_grad_(True)


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
    assert all(was[name, 0] > 8 for name in loud), was
    before = {name: weights.clone() for name, weights in denoiser.unet.named_parameters()}
    told = temper([denoiser.unet], run, 8.0)
    parts = {
        f"{name}.to_{'k' if layers[name].is_cross_attention else 'q'}"
        for (name, _), height in was.items()
        if height > 8
    }
    assert set(told) == {f"0.{part}" for part in parts}
    assert all(height < 8.5 for height in _heights(layers, run).values())
    changed = {name for name, weights in denoiser.unet.named_parameters() if (weights != before[name]).any()}
    assert changed == {f"{part}.weight" for part in parts}


def test_what_weighs_several_is_left_alone(denoiser, run):
    with torch.no_grad():
        was = run()
        assert temper([denoiser.unet], run, 1000.0) == {}
        assert torch.equal(run(), was)


def test_what_stays_is_not_tempered_and_what_an_adapter_adds_is(denoiser, run):
    length, width = 16, denoiser.unet.config.cross_attention_dim
    adapter = {
        "image_proj": fresh_projector(length, width, inner=64),
        "ip_adapter": attention_like_text(denoiser.unet),
    }
    branches.attach(denoiser.pipeline, [adapter])
    denoiser.requires_grad_(False)
    learn_adapter(denoiser.unet)
    faces = torch.randn(4, length, generator=torch.Generator().manual_seed(0))

    def with_faces():
        latents = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(0))
        given = replace(denoiser.read([""] * 4), adapters=(faces[:, None, None],))
        denoiser.predict(latents, torch.full((4,), 900), given)

    layers = attentions(denoiser)
    _, sure = [name for name in layers if name.endswith("attn2")][:2]
    keys = layers[sure].processor.to_k_ip[0].weight
    with torch.no_grad():
        keys.mul_(LOUD)
        layers[sure].to_k.weight.mul_(LOUD)
    own, before = layers[sure].to_k.weight.clone(), keys.clone()
    with torch.no_grad():
        was = _heights(layers, with_faces)
    assert was[sure, 0] > 8 and was[sure, 1] > 8
    told = temper([denoiser.unet], with_faces, 8.0)
    assert told[f"0.{sure}.processor.to_k_ip.0"] == was[sure, 1] and f"0.{sure}.to_k" not in told
    assert torch.equal(layers[sure].to_k.weight, own), "the base does not learn here"
    assert torch.allclose(keys, before * 8 / was[sure, 1])


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


def test_the_base_stage_tempers_on_the_way(tmp_path):
    prepared = make_linear(tmp_path / "prepared", views=3)
    bundle = make_velocity_bundle(tmp_path / "bundle", prepared)
    task = BaseTask(bundle, prepared, np.arange(9), np.arange(2), Options(tempered=8.0))
    layers = attentions(task.denoiser)
    [name] = [name for name in layers if "mid_block" in name and name.endswith("attn2")]
    keys = layers[name].to_k.weight
    own = keys.detach().clone()
    with torch.no_grad():
        keys.mul_(LOUD)
    task.tend()
    with torch.no_grad():
        loud = (keys / own).flatten()
        heights = _heights(layers, lambda: task._denoised(np.arange(9)))
    assert 1 < loud[0] < LOUD / 2 and torch.allclose(loud, loud[0].expand_as(loud), rtol=1e-3)
    assert 6 < heights[name, 0] < 10
