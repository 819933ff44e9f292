"""Drawing, and what it rests on: the code of maps, and a UNet that learns to hear it."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_family import make_linear, make_velocity_bundle

from instantid import Engine, bundles
from instantid.controls import net_part
from instantid.errors import InvalidRequest
from instantid.training.beginnings import attend_finest
from instantid.training.denoising import Denoiser
from instantid.training.drawing import DrawingTask, Options
from instantid.training.face_code import FaceCode
from instantid.training.foretelling import Foretelling
from instantid.training.identity import IdentityTask
from instantid.training.identity import Options as IdentityOptions
from instantid.training.loop import train
from instantid.training.map_code import AT, MapCode
from instantid.training.settings import Settings

STEPS = Settings(
    steps=120, batch=8, learning_rate=2e-3, warmup=5, average=0, sheet_every=0, log_every=20, device="cpu"
)
EVERY = np.arange(100)
SHOWN = np.arange(100, 103)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_linear(tmp_path_factory.mktemp("prepared"), views=20)


@pytest.fixture
def bundle(prepared, tmp_path):
    return make_velocity_bundle(tmp_path / "bundle", prepared)


@pytest.fixture
def task(bundle, prepared):
    return DrawingTask(bundle, prepared, EVERY, SHOWN, Options())


def say(task, chosen, kinds, seed=0):
    """The code of pictures, out of noise."""
    conditions = task.denoiser.read([""] * len(chosen))
    noisy = torch.randn(len(chosen), 4, 8, 8, generator=torch.Generator().manual_seed(seed))
    at = torch.full((len(chosen),), 900)
    with torch.no_grad():
        said = task.guide.say(task.denoiser, conditions, chosen, [kinds] * len(chosen), noisy, at)
    return said, noisy, at, conditions


def test_a_code_tells_latents_and_how_unusual_they_are(task, prepared):
    latents = torch.from_numpy(prepared.latents(range(40))).float()
    code = task.guide.code.of(latents)
    assert code.shape == (40, 8, 8, 8)
    assert torch.allclose(task.guide.code.latents_of(code), latents, atol=1e-4)
    many = task.guide.code.of(torch.from_numpy(prepared.latents(range(len(prepared)))).float())
    assert many.mean(dim=(0, 2, 3)).abs().max() < 0.1 and (many.std(dim=(0, 2, 3)) - 1).abs().max() < 0.1
    unusual, usual = code[:, 4:], code[:, :4].abs()
    assert np.corrcoef(unusual.ravel(), usual.ravel())[0, 1] > 0.9


def test_how_much_latents_vary_is_told_by_pictures_of_any_look(bundle, prepared, monkeypatch):
    """A photo and its painting in turn, and few that tell: every second one would be photos alone."""
    alone = prepared.latents(range(len(prepared))).astype(np.float32)
    alone[1::2] *= 3
    monkeypatch.setattr("instantid.training.prepared.Prepared.latents", lambda _, chosen: alone[list(chosen)])
    monkeypatch.setattr("instantid.training.map_conditions.KNOWN", len(prepared) // 2)
    code = DrawingTask(bundle, prepared, EVERY, SHOWN, Options()).guide.code
    told = code.of(torch.from_numpy(alone))[:, :4]
    assert (told.std(dim=(0, 2, 3)) - 1).abs().max() < 0.15


def test_faces_and_maps_are_spelled_beside_each_other(task, bundle, prepared):
    denoiser = Denoiser(bundle, faces=True)
    foretelling = Foretelling(prepared, EVERY, denoiser.encode)
    net = attend_finest(denoiser.identitynet)
    faces = FaceCode(net, foretelling, prepared.embeddings, np.flatnonzero(prepared.found))
    assert faces.at == AT, "both in one residual"
    said = torch.randn(1, 5, 8, 8)
    assert task.guide.code.read(faces.write(said)).abs().max() < 1e-5


def test_a_residual_too_narrow_is_refused(task, prepared):
    task.guide.net.controlnet_down_blocks[AT] = torch.nn.Conv2d(12, 12, 1)
    with pytest.raises(InvalidRequest, match=r"8 numbers at each latent, and 5 of a face.*has 12"):
        MapCode(task.guide.net, prepared.latents(range(9)))


def test_the_layers_that_write_say_what_the_whole_net_says(task):
    code, noisy, at, conditions = say(task, [3, 50], ("depth",))
    given = task.guide.guided(conditions, [3, 50], [("depth",)] * 2)
    with torch.no_grad():
        down, _ = given.residuals(noisy, at, task.denoiser.beside(noisy, conditions))
    assert torch.allclose(task.guide.code.read(down[AT]), code, atol=1e-5)
    assert code.abs().max() > 0.1, "a fresh net does not stay silent: nobody listens"


def test_it_learns_what_maps_foretell_and_touches_nothing_else(task, bundle, prepared, tmp_path):
    before = load_file(bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    whole = {name: value.clone() for name, value in task.guide.net.state_dict().items()}
    figures = [told.figures for told in train(task, STEPS, tmp_path / "run", bundle)]
    assert figures[-1]["pictures"] < 0.9 * figures[0]["pictures"]
    assert figures[-1]["spread"] < 0.95 * figures[0]["spread"]
    # A disc is foretold where the map shows one.
    code, *_ = say(task, SHOWN, ("depth",))
    known = torch.from_numpy(prepared.latents(SHOWN)).float()
    told = task.guide.code.latents_of(code)
    usual = torch.from_numpy(prepared.latents(EVERY)).float().mean(dim=0)
    assert (told - known).square().mean() < 0.9 * (usual - known).square().mean()
    after = load_file(bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(after[name], before[name]) for name in before)
    learned = task.guide.net.state_dict()
    changed = {name for name in whole if not torch.equal(learned[name], whole[name])}
    assert not any(name.startswith(("mid_block", "down_blocks.1")) for name in changed)
    assert any(name.startswith("controlnet_cond_embedding") for name in changed)
    assert net_part(bundles.open_bundle(bundle), "depth") == "controlnets.union"
    again = DrawingTask(bundle, prepared, EVERY, SHOWN, Options(fresh=False))
    assert torch.allclose(say(again, SHOWN, ("depth",))[0], code, atol=1e-5)
    assert Engine.load(bundle).bundle.controlnets == {"union": "controlnets/union"}


def test_the_sheet_shows_what_each_kind_foretells(bundle, prepared, task, monkeypatch):
    assert task.sheet() is None, "no picture's skeleton is known"
    monkeypatch.setattr("instantid.training.maps.Maps.kinds_of", lambda *_: ("pose", "depth", "canny"))
    task = DrawingTask(bundle, prepared, EVERY, SHOWN, Options())
    assert task.sheet().size == (3 * 66 - 2, 5 * 66 - 2)


def test_a_unet_that_learns_along_hears_it(bundle, prepared, tmp_path):
    list(train(DrawingTask(bundle, prepared, EVERY, SHOWN, Options()), STEPS, tmp_path / "drawing", bundle))
    options = IdentityOptions(with_base=True, guided=1.0, mapped=1.0)
    task = IdentityTask(bundle, prepared, EVERY, SHOWN, options)
    told = [each.figures["maps"] for each in train(task, STEPS, tmp_path / "hearing", bundle)]
    assert told[-1] < 0.7 * told[0]


def test_a_net_that_says_nothing_is_not_taught_from(bundle, prepared):
    with pytest.raises(InvalidRequest, match="drawing"):
        IdentityTask(bundle, prepared, EVERY, SHOWN, IdentityOptions(with_base=True, guided=1.0, mapped=0.5))


def test_it_begins_alike_each_time(task, bundle, prepared):
    torch.manual_seed(7)
    again = DrawingTask(bundle, prepared, EVERY, SHOWN, Options()).guide.net.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in task.guide.net.state_dict().items())


def test_one_picture_alone_is_learned_from_too(bundle, prepared, task):
    assert task([3])["loss"] > 0
    task.save(bundle)
    options = IdentityOptions(with_base=True, guided=1.0, mapped=1.0)
    assert IdentityTask(bundle, prepared, EVERY, SHOWN, options)([3])["loss"] > 0


def test_hearing_wants_a_net_that_learns_along(bundle, prepared):
    with pytest.raises(InvalidRequest, match=r"mapped.*guided"):
        IdentityTask(bundle, prepared, EVERY, SHOWN, IdentityOptions(with_base=True, mapped=0.5))
