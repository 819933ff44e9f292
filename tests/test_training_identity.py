"""The identity stage: its files are InstantID's, the UNet stays what it was, and faces come to matter."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from small_family import make_bundle, make_prepared

from instantid import Engine, Face, Person, Photo, Request, branches, bundles, loading
from instantid.adapter_file import check_fit, read_adapter
from instantid.errors import InvalidRequest
from instantid.request import Control
from instantid.training import adapters
from instantid.training.face_conditions import with_faces
from instantid.training.identity import IdentityTask, Options
from instantid.training.loop import train
from instantid.training.settings import Settings

QUICK = Settings(steps=40, batch=4, learning_rate=2e-3, warmup=2, average=0, sheet_every=0, device="cpu")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"))


@pytest.fixture
def bundle(prepared, tmp_path):
    return make_bundle(tmp_path / "bundle", prepared)


def make_task(bundle, prepared, **options):
    return IdentityTask(bundle, prepared, np.arange(9), np.arange(9, 12), Options(**options))


def test_an_adapter_comes_back_from_diffusers_as_its_file_has_it(bundle):
    weights = read_adapter(bundle / "ip-adapter.bin")
    pipeline = loading.load_pipeline(bundles.open_bundle(bundle), torch.float32)
    branches.attach(pipeline, [weights])
    back = adapters.published(pipeline.unet)
    for part in weights:
        assert set(back[part]) == set(weights[part])
        for name, tensor in weights[part].items():
            assert torch.equal(back[part][name], tensor), name


def test_a_style_adapter_comes_back_too(bundle):
    flat = load_file(bundle / "ip-adapter-style.safetensors")
    weights = {
        part: {
            name.removeprefix(part + "."): value
            for name, value in flat.items()
            if name.startswith(part + ".")
        }
        for part in ("image_proj", "ip_adapter")
    }
    pipeline = loading.load_pipeline(bundles.open_bundle(bundle), torch.float32)
    branches.attach(pipeline, [weights])
    back = adapters.published(pipeline.unet)
    assert {f"{part}.{name}" for part in back for name in back[part]} == set(flat)
    assert all(
        torch.equal(value, flat[f"{part}.{name}"]) for part in back for name, value in back[part].items()
    )


def test_fresh_attention_starts_as_the_texts(bundle):
    pipeline = loading.load_pipeline(bundles.open_bundle(bundle), torch.float32)
    attention = adapters.attention_like_text(pipeline.unet)
    weights = read_adapter(bundle / "ip-adapter.bin") | {"ip_adapter": attention}
    check_fit(weights, pipeline.unet, bundle / "ip-adapter.bin")
    name = next(name for name in pipeline.unet.attn_processors if name.endswith("attn2.processor"))
    first = pipeline.unet.get_submodule(name.removesuffix(".processor"))
    assert torch.equal(attention["1.to_k_ip.weight"], first.to_k.weight)


def test_the_base_stays_and_both_ways_in_learn(bundle, prepared, tmp_path):
    unet = (bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes()
    adapter, net = read_adapter(bundle / "ip-adapter.bin"), bundle / "ControlNetModel"
    before = load_file(net / "diffusion_pytorch_model.safetensors")
    list(train(make_task(bundle, prepared, fresh=False), QUICK, tmp_path / "run", bundle))
    assert (bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors").read_bytes() == unet
    learned = read_adapter(bundle / "ip-adapter.bin")
    assert not torch.equal(learned["image_proj"]["latents"], adapter["image_proj"]["latents"])
    assert not torch.equal(
        learned["ip_adapter"]["1.to_k_ip.weight"], adapter["ip_adapter"]["1.to_k_ip.weight"]
    )
    after = load_file(net / "diffusion_pytorch_model.safetensors")
    assert set(after) == set(before)
    changed = [name for name in after if not torch.equal(after[name], before[name])]
    assert len(changed) > 0.9 * len(after)


def test_a_fresh_identitynet_adds_nothing_at_first(bundle, prepared):
    task = make_task(bundle, prepared)
    told = task.denoiser.read(["person"])
    faces = torch.from_numpy(prepared.embeddings[:1])
    noisy, at = torch.randn(1, 4, 8, 8), torch.tensor([500])
    given = with_faces(task.denoiser, prepared, told, faces, np.array([0]))
    without = with_faces(task.denoiser, prepared, told, faces, np.array([0]), net=False)
    with torch.no_grad():
        assert torch.equal(task.denoiser.predict(noisy, at, given), task.denoiser.predict(noisy, at, without))


def test_with_the_base_everything_is_written_and_the_engine_takes_it(bundle, prepared, tmp_path):
    unet = load_file(bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    list(train(make_task(bundle, prepared, with_base=True), QUICK, tmp_path / "run", bundle))
    after = load_file(bundle / "base" / "unet" / "diffusion_pytorch_model.safetensors")
    assert set(after) == set(unet), "no adapter inside the base"
    assert any(not torch.equal(after[name], unet[name]) for name in unet)
    engine = Engine.load(bundle)
    face = Face(prepared.embeddings[0], prepared.keypoints[0], prepared.boxes[0])
    request = Request(people=[Person(references=[face])], prompt="person", seed=1, steps=2)
    assert engine.generate(request).images[0].size == (64, 64)


def test_what_is_placed_stays_and_the_unet_and_its_adapter_learn(bundle, prepared, tmp_path):
    files = {
        name: bundle / name / "diffusion_pytorch_model.safetensors"
        for name in ("base/unet", "ControlNetModel")
    }
    before, adapter = (
        {name: load_file(file) for name, file in files.items()},
        read_adapter(bundle / "ip-adapter.bin"),
    )
    options = {"with_base": True, "fresh": False, "placed": True}
    list(train(make_task(bundle, prepared, **options), QUICK, tmp_path / "run", bundle))
    after, learned = (
        {name: load_file(file) for name, file in files.items()},
        read_adapter(bundle / "ip-adapter.bin"),
    )
    same = {
        name: all(torch.equal(after[name][key], before[name][key]) for key in before[name]) for name in files
    }
    assert same == {"base/unet": False, "ControlNetModel": True}
    kept = {
        part: all(torch.equal(learned[part][key], adapter[part][key]) for key in adapter[part])
        for part in adapter
    }
    assert kept == {"image_proj": True, "ip_adapter": False}


@pytest.mark.parametrize("options", [{"fresh": False}, {"with_base": True}])
def test_placed_is_refused_where_nothing_would_learn_from_it(bundle, prepared, options):
    with pytest.raises(InvalidRequest, match="with_base: true, fresh: false"):
        make_task(bundle, prepared, placed=True, **options)


def test_a_union_controlnet_learns_along_and_the_engine_hears_it(bundle, prepared, tmp_path):
    options = {"with_base": True, "guided": 1.0, "plain": 0.0}
    list(train(make_task(bundle, prepared, **options), QUICK, tmp_path / "run", bundle))
    engine = Engine.load(bundle)
    assert engine.bundle.controlnets == {"union": "controlnets/union"}
    face = Face(prepared.embeddings[0], prepared.keypoints[0], prepared.boxes[0])
    edges = np.zeros((64, 64, 3), np.uint8)
    edges[20:24] = 255
    request = Request(people=[Person(references=[face])], prompt="person", seed=1, steps=2)
    control = {"canny": Control(strength=1.0, map=Photo(image=Image.fromarray(edges)))}
    plain, guided = (
        np.asarray(engine.generate(each).images[0])
        for each in (request, request.model_copy(update={"controls": control}))
    )
    assert not np.array_equal(plain, guided)
    # Trained on, it goes on with the net that it wrote.
    task = make_task(bundle, prepared, fresh=False, **options)
    written = load_file(bundle / "controlnets" / "union" / "diffusion_pytorch_model.safetensors")
    assert all(torch.equal(tensor, written[name]) for name, tensor in task.guide.net.state_dict().items())
    assert task.sheet().size == (3 * 66 - 2, 6 * 66 - 2)


def test_maps_are_for_a_base_that_learns_along(bundle, prepared):
    with pytest.raises(InvalidRequest, match="with_base: true"):
        make_task(bundle, prepared, guided=0.5)


def test_the_loss_falls_where_there_is_little_to_learn(bundle, prepared, tmp_path):
    settings = QUICK.model_copy(update={"steps": 120, "log_every": 20})
    task = IdentityTask(
        bundle, prepared, np.arange(3, 5), np.arange(9, 12), Options(with_base=True, plain=0.0)
    )
    losses = [progress.figures["loss"] for progress in train(task, settings, tmp_path / "run", bundle)]
    assert losses[-1] < 0.7 * losses[0]


def test_embeddings_of_other_views_are_of_the_same_person(bundle, prepared):
    task = make_task(bundle, prepared, other_view=1.0, references=1)
    mine = {tuple(prepared.embeddings[i]) for i in prepared.of_person(2)}
    own = tuple(prepared.embeddings[6])
    for seed in range(8):
        torch.manual_seed(seed)
        drawn = tuple(task.faces.embeddings([6])[0].numpy())
        assert drawn in mine
        assert drawn != own


def test_looks_of_one_photo_are_no_other_views(bundle, tmp_path):
    """They share what was found in it."""
    prepared = make_prepared(tmp_path / "prepared")
    prepared.embeddings[prepared.of_person(2)] = own = prepared.embeddings[6]
    task = make_task(bundle, prepared, other_view=1.0)
    assert np.array_equal(task.faces.embeddings([6])[0].numpy(), own)
    assert len(task.faces.others(0)) == len(prepared.of_person(prepared.persons[0])) - 1


def test_what_guidance_leads_away_from_is_learned_too(tmp_path):
    """Nobody, with nothing said: whose picture it is and its caption make no difference then."""

    prepared = make_prepared(tmp_path / "prepared")
    bundle = make_bundle(tmp_path / "bundle", prepared)

    def losses(drop_both, *, of):
        task = make_task(bundle, prepared, drop_text=0, drop_face=0, drop_both=drop_both)
        task._prepared.embeddings[:] = of
        for record in task._prepared.records:
            record["caption"], record["captions"] = f"a {of}", {}
        random.seed(3)
        torch.manual_seed(3)
        with torch.no_grad():
            return task([0, 1, 2])["loss"].item()

    assert losses(1.0, of=1.0) == losses(1.0, of=2.0)
    assert losses(0.0, of=1.0) != losses(0.0, of=2.0)


def test_the_sheet_shows_five_rows(bundle, prepared):
    sheet = make_task(bundle, prepared).sheet()
    assert sheet.size == (3 * 66 - 2, 5 * 66 - 2)
