"""Placing, and what it rests on: the code of faces, IdentityNet's finest attention, attention as plain products."""

import numpy as np
import pytest
import torch
from diffusers import ControlNetModel
from safetensors.torch import load_file
from small_family import make_bundle, make_prepared
from torch.nn import functional as F

from instantid import Engine, Face, Person, Request, bundles, loading
from instantid.errors import InvalidRequest
from instantid.identity import IdentityNet
from instantid.training.beginnings import attend_finest, begin_controlnet
from instantid.training.denoising import Denoiser
from instantid.training.face_code import LOUD, FaceCode, finest_attended
from instantid.training.foretelling import Foretelling
from instantid.training.identity import IdentityTask
from instantid.training.identity import Options as IdentityOptions
from instantid.training.loop import train
from instantid.training.placing import Options, PlacingTask, net_of_read_maps
from instantid.training.plain_attention import plain_attention
from instantid.training.settings import Settings

STEPS = Settings(
    steps=350, batch=8, learning_rate=2e-3, warmup=5, average=0, sheet_every=0, log_every=35, device="cpu"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), people=6, views=20)


@pytest.fixture
def bundle(prepared, tmp_path):
    return make_bundle(tmp_path / "bundle", prepared)


def make_task(bundle, prepared, **options):
    return PlacingTask(bundle, prepared, np.arange(100), np.arange(100, 103), Options(**options))


@pytest.fixture
def denoiser(bundle):
    return Denoiser(bundle, faces=True)


def test_the_finest_level_attends_and_nothing_is_said_yet(denoiser):
    net = begin_controlnet(denoiser.unet, denoiser.vae, IdentityNet)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    finer = attend_finest(net)
    assert isinstance(finer, IdentityNet)
    assert finest_attended(finer) == (1, 0) != finest_attended(net)
    kept = finer.state_dict()
    silent = ("controlnet_down_blocks", "controlnet_mid_block")
    assert all(torch.equal(kept[name], before[name]) for name in before if not name.startswith(silent))
    down, mid = run(finer, denoiser)
    assert not any(residual.any() for residual in (*down, mid))
    again = attend_finest(net).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in kept.items()), "the same each time"


def test_every_layer_there_attends_to_the_tokens_alone(denoiser):
    [attention] = attend_finest(denoiser.identitynet).down_blocks[0].attentions
    width = denoiser.unet.config.cross_attention_dim
    for block in attention.transformer_blocks:
        assert block.attn1.to_k.in_features == block.attn2.to_k.in_features == width


def test_a_code_comes_back_from_the_residual_that_says_it(denoiser, prepared):
    foretelling = Foretelling(prepared, np.arange(100), denoiser.encode)
    for net in (attend_finest(denoiser.identitynet), denoiser.identitynet):
        code = FaceCode(net, foretelling, prepared.embeddings, np.flatnonzero(prepared.found))
        latents, inside = foretelling.latents(np.array([30, 50]), prepared.embeddings[[30, 50]])
        said = code.of(latents, inside)
        residual = code.write(said)
        assert residual.shape[1] == net.controlnet_down_blocks[code.at].out_channels
        assert torch.allclose(code.read(residual), said, atol=1e-4)
        assert float(residual.norm()) == pytest.approx(LOUD * float(said.norm()), rel=1e-3)
        placed = code.placed(said, torch.zeros_like(latents), inside)
        middle = (inside == 1).expand_as(latents)
        assert middle.any() and torch.allclose(placed[middle], latents[middle], atol=1e-3)
        assert (code.placed(said, latents, inside) - latents)[
            (inside == 0).expand_as(latents)
        ].abs().max() == 0


def test_a_residual_too_narrow_is_refused(denoiser, prepared):
    foretelling = Foretelling(prepared, np.arange(100), denoiser.encode)
    net = attend_finest(denoiser.identitynet)
    net.controlnet_down_blocks[1] = torch.nn.Conv2d(4, 4, 1)
    with pytest.raises(InvalidRequest, match="finest: true"):
        FaceCode(net, foretelling, prepared.embeddings, np.flatnonzero(prepared.found))


def test_all_that_it_would_say_has_identitynets_shapes(denoiser, prepared):
    foretelling = Foretelling(prepared, np.arange(100), denoiser.encode)
    net = attend_finest(denoiser.identitynet)
    code = FaceCode(net, foretelling, prepared.embeddings, np.flatnonzero(prepared.found))
    said = code.of(*foretelling.latents(np.array([30]), prepared.embeddings[[30]]))
    ours, mid = code.residuals(said)
    theirs, their_mid = run(net, denoiser)
    for one, other in zip((*ours, mid), (*theirs, their_mid), strict=True):
        assert torch.broadcast_shapes(one.shape, other.shape) == other.shape
    assert [bool(residual.any()) for residual in ours].index(True) == code.at and not mid.any()


def test_the_upper_part_says_what_the_whole_says(denoiser):
    for net in (attend_finest(denoiser.identitynet), denoiser.identitynet):
        at, _ = finest_attended(net)
        torch.nn.init.normal_(net.controlnet_down_blocks[at].weight)
        upper = net_of_read_maps(net)
        whole, _ = run(net, denoiser)
        part, _ = run(upper, denoiser, net.controlnet_cond_embedding(maps_of()))
        assert torch.allclose(whole[at], part[at], atol=1e-5)
        mine = {id(parameter) for parameter in net.parameters()}
        assert {id(parameter) for parameter in upper.parameters()} < mine


def test_it_learns_whose_face_is_where_and_the_engine_takes_it(bundle, prepared, tmp_path):
    before = load_file(bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    adapter = (bundle / "ip-adapter.bin").read_bytes()
    task = make_task(bundle, prepared)
    figures = [told.figures for told in train(task, STEPS, tmp_path / "run", bundle)]
    assert figures[-1]["loss"] < 0.8 * figures[0]["loss"]
    assert figures[-1]["apart"] < 0.9 * figures[0]["apart"], "a fresh one learns slowly, but learns"
    after = load_file(bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)
    assert (bundle / "ip-adapter.bin").read_bytes() == adapter
    net = loading.load_controlnet(bundles.open_bundle(bundle), "identitynet", task.denoiser.unet, IdentityNet)
    assert finest_attended(net) == (1, 0)
    engine = Engine.load(bundle)
    face = Face(prepared.embeddings[0], prepared.keypoints[0], prepared.boxes[0])
    request = Request(people=[Person(references=[face])], prompt="person", seed=1, steps=2)
    assert engine.generate(request).images[0].size == (64, 64)


def test_identity_goes_on_with_it(bundle, prepared, tmp_path):
    list(train(make_task(bundle, prepared), STEPS.model_copy(update={"steps": 2}), tmp_path / "run", bundle))
    task = IdentityTask(bundle, prepared, np.arange(100), np.arange(100, 103), IdentityOptions(fresh=False))
    assert finest_attended(task.denoiser.identitynet) == (1, 0)
    task([30, 50])["loss"].backward()


def test_an_identitynet_that_learned_elsewhere_may_stay_as_it_is(bundle, prepared):
    net = load_file(bundle / "ControlNetModel" / "diffusion_pytorch_model.safetensors")
    task = make_task(bundle, prepared, fresh=False, finest=False)
    kept = task.denoiser.identitynet.state_dict()
    assert all(torch.equal(kept[name], net[name]) for name in net)
    assert task.code.at == finest_attended(task.denoiser.identitynet)[0] > 1
    task([30, 40])["loss"].backward()


def test_the_sheet_shows_three_rows(bundle, prepared):
    assert make_task(bundle, prepared).sheet().size == (2 * 66 - 2, 3 * 66 - 2)


@pytest.mark.parametrize("scale", [None, 0.3])
def test_plain_attention_is_attention(scale):
    torch.manual_seed(0)
    query, key, value = (
        torch.randn(2, n, 3 * 8).view(2, n, 3, 8).transpose(1, 2).requires_grad_() for n in (5, 7, 7)
    )
    wanted = F.scaled_dot_product_attention(query, key, value, scale=scale)
    slopes = torch.autograd.grad(wanted.square().sum(), (query, key, value))
    with plain_attention():
        found = F.scaled_dot_product_attention(query, key, value, scale=scale)
        again = torch.autograd.grad(found.square().sum(), (query, key, value))
    assert torch.allclose(found, wanted, atol=1e-6)
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(slopes, again, strict=True))


def test_what_plain_attention_cannot_do_is_left_to_torch():
    query = torch.randn(1, 2, 5, 8)
    wanted = F.scaled_dot_product_attention(query, query, query, is_causal=True)
    with plain_attention():
        assert torch.equal(F.scaled_dot_product_attention(query, query, query, is_causal=True), wanted)
        mask = torch.ones(5, 5).tril().bool()
        masked = F.scaled_dot_product_attention(query, query, query, attn_mask=mask)
    assert torch.allclose(masked, wanted, atol=1e-6)


def maps_of() -> torch.Tensor:
    return torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def run(net, denoiser, maps=None):
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(1, 4, 8, 8, generator=generator)
    tokens = torch.randn(1, 16, denoiser.unet.config.cross_attention_dim, generator=generator)
    return ControlNetModel.forward(
        net,
        noisy,
        torch.tensor([500]),
        tokens,
        maps_of() if maps is None else maps,
        added_cond_kwargs=denoiser.beside(noisy, denoiser.read(["person"])),
        return_dict=False,
    )
