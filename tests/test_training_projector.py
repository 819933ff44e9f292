"""The projector's stage and what it is taught: faces as a linear function of embeddings, told in parts."""

import numpy as np
import pytest
import torch
from small_family import make_bundle, make_prepared

from instantid.adapter_file import read_adapter
from instantid.training import face_regression, projector
from instantid.training.face_regression import SIDE, Regression, regress, unit
from instantid.training.identity import IdentityTask
from instantid.training.identity import Options as IdentityOptions
from instantid.training.loop import train
from instantid.training.projector import Options, ProjectorTask
from instantid.training.settings import Settings
from instantid.training.whitening import whiten

PIXELS = SIDE * SIDE * 3


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), people=8)


@pytest.fixture
def bundle(prepared, tmp_path):
    return make_bundle(tmp_path / "bundle", prepared)


def test_a_whitened_projector_hears_every_direction_alike():
    random = np.random.default_rng(0)
    raw = torch.from_numpy(random.normal(size=(4000, 6)) @ np.diag([9, 3, 1, 1, 1, 0.5]) + 20).float()
    begin = {"proj_in.weight": torch.eye(6), "proj_in.bias": torch.zeros(6), "latents": torch.ones(1)}
    even = whiten(begin, raw)
    heard = raw @ even["proj_in.weight"].T + even["proj_in.bias"]
    assert heard.mean(dim=0).abs().max() < 1e-3
    spread = torch.cov(heard.T)
    assert spread.diag()[:5].sub(1).abs().max() < 1e-3 and spread.diag()[5] < 0.5, "noise is not raised"
    assert (spread - spread.diag().diag())[:5, :5].abs().max() < 1e-3
    assert even["latents"] is begin["latents"]


def test_a_regression_finds_faces_that_follow_from_embeddings():
    random = np.random.default_rng(0)
    embeddings = 10 * random.normal(size=(3000, 6)).astype(np.float32)
    truth = random.normal(size=(6, 40)).astype(np.float32)
    faces = 0.3 + unit(embeddings) @ truth + 0.1 * random.normal(size=(3000, 40)).astype(np.float32)
    found = regress(embeddings[:2000], faces[:2000])
    wrong = (found.draw(embeddings[2000:]) - 0.3 - unit(embeddings[2000:]) @ truth).std()
    assert wrong < 0.02
    assert np.allclose(found.draw(5 * embeddings[2000:]), found.draw(embeddings[2000:]), atol=1e-4)


def test_references_are_other_photos_of_the_same_person(prepared):
    chosen = face_regression.photos(prepared, np.arange(len(prepared)))
    assert all(prepared.found[i] and prepared.records[i]["look"] == "photo" for i in chosen)
    asked = face_regression.other_views(prepared, chosen)
    for i, embedding in zip(chosen, asked, strict=True):
        [source] = np.flatnonzero((prepared.embeddings == embedding).all(axis=1))
        assert prepared.persons[source] == prepared.persons[i]
        alone = (prepared.persons[chosen] == prepared.persons[i]).sum() == 1
        assert alone == (source == i)


def test_parts_overlap_and_lie_where_they_should():
    picture = torch.arange(PIXELS, dtype=torch.float32)[None]
    parts = projector.cut(picture).view(projector.GRID, projector.GRID, projector.REACH, projector.REACH, 3)
    edge = (projector.REACH - projector.STRIDE) // 2
    inside = parts[1, 2, edge:-edge, edge:-edge]
    whole = picture.view(SIDE, SIDE, 3)
    assert torch.equal(inside, whole[14:28, 28:42])
    assert torch.equal(parts[1, 2, :, -edge:], parts[1, 3, :, edge : 2 * edge][:, :edge]), (
        "both have the seam"
    )
    assert torch.equal(parts[0, 0, 0, 0], whole[0, 0]), "past the edge its pixel goes on"


def test_what_is_told_with_enough_numbers_is_what_the_regression_draws():
    random = np.random.default_rng(0)
    weights = random.normal(size=(6, PIXELS)).astype(np.float32)
    known = Regression(np.zeros(6, np.float32), np.zeros(PIXELS, np.float32), weights)
    embeddings = random.normal(size=(50, 6)).astype(np.float32)
    telling, basis, scales = projector.language(known, embeddings, 96, 0.7)
    told = torch.einsum("bd,dtk->btk", torch.from_numpy(unit(embeddings)), telling)
    drawn = told @ (scales[:, None] * basis)
    wanted = projector.cut(torch.from_numpy(known.draw(embeddings)))
    assert (drawn - wanted).abs().max() < 1e-3 * wanted.abs().max()
    few = projector.language(known, embeddings, 3, 0.7)
    assert few[0].shape == (6, projector.GRID**2, 3)
    even = projector.language(known, embeddings, 24, 1.0)
    spread = torch.einsum("bd,dtk->btk", torch.from_numpy(unit(embeddings)), even[0])
    deviations = (spread - spread.mean(dim=0)).square().mean(dim=(0, 1)).sqrt()
    assert deviations.max() < 1.3 * deviations.min(), "with evenness 1 all numbers vary alike"


def test_the_tokens_come_to_tell_of_faces_and_the_identity_stage_goes_on_with_them(
    bundle, prepared, tmp_path
):
    chosen = np.arange(len(prepared) - 6)
    task = ProjectorTask(bundle, prepared, chosen, chosen[-6:], Options(inner=64, numbers=8))
    settings = Settings(
        steps=150,
        batch=8,
        learning_rate=4e-3,
        warmup=5,
        average=0,
        sheet_every=150,
        log_every=10,
        device="cpu",
    )
    losses = [told.figures["loss"] for told in train(task, settings, tmp_path / "run", bundle)]
    assert losses[-1] < 0.2 * losses[0]
    assert (tmp_path / "run" / "sheets" / "0000150.webp").exists()
    learned = read_adapter(bundle / "ip-adapter.bin")
    assert learned["image_proj"]["latents"].shape == (1, projector.GRID**2, 64)
    identity = IdentityTask(bundle, prepared, chosen, chosen[-6:], IdentityOptions(fresh=False))
    layer = identity.denoiser.unet.encoder_hid_proj.image_projection_layers[0]
    with torch.no_grad():
        faces = torch.from_numpy(prepared.embeddings[chosen[:4]])[:, None]
        assert torch.allclose(layer(faces), task.projector(faces), atol=1e-5)
