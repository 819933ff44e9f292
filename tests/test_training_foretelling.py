"""What is foretold of faces: where the keypoints are, in the colours of the embedding, and the rest as it was. And of
pictures from their captions."""

import random

import numpy as np
import pytest
import torch
from small_family import make_bundle, make_linear, make_prepared, make_velocity_bundle
from torch.nn import functional as F

from instantid.errors import InvalidRequest
from instantid.training.caption_foretelling import CaptionForetelling
from instantid.training.denoising import STRONGEST, Denoiser
from instantid.training.foretelling import Foretelling
from instantid.training.identity import IdentityTask, Options
from instantid.training.loop import train
from instantid.training.prepared import encode_latents
from instantid.training.settings import Settings


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_linear(tmp_path_factory.mktemp("prepared"))


def test_a_face_is_foretold_where_it_is_in_the_colour_of_whose_it_is(prepared):
    foretelling = Foretelling(prepared, np.arange(len(prepared)), _never)
    chosen = np.arange(40, len(prepared), 4)  # photos of five people
    given = np.roll(chosen, 10)  # each with the face of somebody else
    latents, inside = foretelling.latents(chosen, prepared.embeddings[given])
    assert latents.shape == (50, 4, 8, 8) and inside.shape == (50, 1, 8, 8)
    known = torch.from_numpy(prepared.latents(chosen)).float()
    outside = (inside == 0).expand_as(latents)
    assert (latents - known)[outside].abs().max() < 0.01, "around the face nothing is foretold"
    assert inside.amax(dim=(1, 2, 3)).min() > 0.9
    told = ((latents * inside).sum(dim=(2, 3)) / inside.sum(dim=(2, 3)))[:, :3].numpy()
    colours = np.stack([_colour(prepared, i) for i in given])
    apart = np.abs(told[:, None] - colours[None]).mean(axis=2)
    same = prepared.persons[given][:, None] == prepared.persons[given][None]
    assert apart[same].mean() < 0.6 * apart[~same].mean()


def test_without_a_face_the_mean_one_is_foretold(prepared):
    foretelling = Foretelling(prepared, np.arange(len(prepared)), _never)
    chosen = np.array([40, 80])
    one, _ = foretelling.latents(chosen, np.zeros_like(prepared.embeddings[chosen]))
    other, _ = foretelling.latents(chosen, prepared.embeddings[chosen])
    assert torch.isfinite(one).all() and (one - other).abs().max() > 0.1


def test_where_latents_are_not_linear_the_autoencoder_is_asked(tmp_path):
    prepared, asked = make_prepared(tmp_path / "prepared"), []
    encode_latents(
        prepared, lambda images: np.sign(images[:, ::8, ::8].transpose(0, 3, 1, 2) - 90.0), mark="-"
    )

    def encode(pixels: torch.Tensor) -> torch.Tensor:
        asked.append(pixels)
        return pixels[:, :, ::8, ::8]

    foretelling = Foretelling(prepared, np.arange(len(prepared)), encode)
    chosen = np.array([3, 6])
    latents, inside = foretelling.latents(chosen, prepared.embeddings[chosen])
    [pixels] = asked
    assert pixels.shape == (2, 3, 64, 64) and torch.equal(latents, pixels[:, :, ::8, ::8])
    known = torch.from_numpy(prepared.images(chosen)).permute(0, 3, 1, 2) / 127.5 - 1
    outside = F.interpolate(inside, scale_factor=8) == 0
    assert (pixels - known)[outside.expand_as(pixels)].abs().max() < 0.01


def test_the_denoiser_encodes_as_latents_are_encoded_for_training(tmp_path):
    prepared = make_prepared(tmp_path / "prepared")
    denoiser = Denoiser(make_bundle(tmp_path / "bundle", prepared))
    pixels = torch.from_numpy(prepared.images([0, 1])).permute(0, 3, 1, 2) / 127.5 - 1
    kept = torch.from_numpy(prepared.latents([0, 1])).float()
    assert torch.allclose(denoiser.encode(pixels), kept, atol=2e-3 * float(kept.abs().max()))


def test_the_strongest_noise_alone_is_drawn(prepared, tmp_path, monkeypatch):
    task = _task(prepared, tmp_path, foretold=1)
    drawn = _watched(monkeypatch)
    steps = task.denoiser._schedule.config.num_train_timesteps
    for _ in range(3):
        task([0, 1, 2])["loss"].backward()
    at = torch.cat(drawn)
    assert at.min() >= (1 - STRONGEST) * steps and at.max() < steps


def test_soft_ones_are_drawn_from_all_noise(prepared, tmp_path, monkeypatch):
    task = _task(prepared, tmp_path, foretold=1, soft=1)
    drawn = _watched(monkeypatch)
    torch.manual_seed(0)
    for _ in range(8):
        task([0, 1, 2, 3])
    steps = task.denoiser._schedule.config.num_train_timesteps
    assert torch.cat(drawn).min() < 0.3 * steps and torch.cat(drawn).max() > 0.7 * steps


def test_what_is_foretold_is_of_photos(prepared, tmp_path):
    task = _task(prepared, tmp_path, foretold=1)
    for i in range(len(prepared)):
        prepared.records[i]["scene"] = f"{prepared.persons[i]}-{i % 40 // 2}"  # a photo, then its look
    assert [int(task.faces.photo_of(i)) for i in (38, 39, 40, 41, 42)] == [38, 38, 40, 40, 42]
    found = [int(task.faces.photo_of(i)) for i in np.flatnonzero(prepared.found)]
    assert prepared.found[found].all(), "of looks whose photo shows no face, the look"


def test_the_share_says_how_often(prepared, tmp_path, monkeypatch):
    task = _task(prepared, tmp_path, foretold=0.3)
    told = []
    monkeypatch.setattr(task, "_foretold", lambda *arguments: told.append(True) or {"loss": torch.zeros(())})
    monkeypatch.setattr(task.denoiser, "loss", lambda *arguments: told.append(False) or torch.zeros(()))
    random.seed(0)
    for _ in range(200):
        task([0, 1])
    assert 0.2 < np.mean(told) < 0.4


def test_words_foretell_what_pictures_have_in_common_and_faces_where(prepared):
    foretelling = CaptionForetelling(prepared, np.arange(len(prepared)))
    told = foretelling.latents([f"a photo of person {i}, smiling" for i in range(6)])
    assert told.shape == (6, 4, 8, 8)
    seen = told[:, :3, 3:5, 3:5].mean(dim=(2, 3)).numpy()
    colours = np.stack([_colour(prepared, 40 * i + 1) for i in range(6)])
    apart = np.abs(seen[:, None] - colours[None]).mean(axis=2)
    assert apart.diagonal().mean() < 0.6 * apart[~np.eye(6, dtype=bool)].mean()
    chosen = np.arange(40, len(prepared))
    known, texts = (
        torch.from_numpy(prepared.latents(chosen)).float(),
        [prepared.records[i]["caption"] for i in chosen],
    )
    placed, anywhere = foretelling.latents(texts, chosen), foretelling.latents(texts)
    assert (placed - known).square().mean() < 0.9 * (anywhere - known).square().mean()


@pytest.mark.parametrize("strengths", [(1.0, 1.0), (1.0, 0.0), (0.0, 0.0)])
def test_two_captions_are_painted_in_each_place_but_for_the_face(prepared, tmp_path, monkeypatch, strengths):
    task = _task(prepared, tmp_path, worded=1, with_base=True)
    monkeypatch.setattr(task, "_strengths", lambda: strengths)
    seen, foretell = [], Denoiser.foretell
    monkeypatch.setattr(
        Denoiser, "foretell", lambda self, *told: (seen.append(told), foretell(self, *told))[1]
    )
    torch.manual_seed(0)  # captions that differ
    figures = task([40, 80, 120, 160])
    [(latents, noise, given, strongest)] = seen
    assert strongest == STRONGEST and torch.equal(noise[:2], noise[2:])
    assert (latents[:2] - latents[2:]).abs().max() > 0.1
    assert torch.equal(given.adapters[0][:2], given.adapters[0][2:]), "one face, two captions"
    assert (given.residuals is None) == (not strengths[1])
    assert figures["loss"] > figures["words"] > 0


def test_what_lies_in_a_face_is_left_to_the_face(prepared, tmp_path, monkeypatch):
    task, seen = _task(prepared, tmp_path, worded=1, with_base=True), []
    nothing = (torch.zeros(()), torch.zeros(()))
    monkeypatch.setattr(
        Denoiser, "compared", lambda self, latents, where, *more: (seen.append(where), nothing)[1]
    )
    for strengths in ((1.0, 1.0), (0.0, 0.0)):
        monkeypatch.setattr(task, "_strengths", lambda strengths=strengths: strengths)
        task([40, 80, 120, 160])
    faces, plain = seen
    assert faces[0, 0, 4, 4] == 0 and faces[0, 0, 0, 0] == 1 and plain.min() == 1


def test_words_are_learned_by_a_base_that_learns_along(prepared, tmp_path):
    with pytest.raises(InvalidRequest, match="with_base: true"):
        _task(prepared, tmp_path, worded=0.5)
    task = _task(prepared, tmp_path / "along", worded=1, with_base=True)
    settings = Settings(
        steps=120, batch=8, learning_rate=1e-3, warmup=5, average=0, sheet_every=0, log_every=20, device="cpu"
    )
    told = [
        each.figures["words"]
        for each in train(task, settings, tmp_path / "run", tmp_path / "along" / "bundle")
    ]
    assert told[-1] < 0.8 * told[0]


def test_two_faces_are_painted_in_each_place_out_of_the_same_noise(prepared, tmp_path, monkeypatch):
    task = _task(prepared, tmp_path, foretold=1, drop_face=0)
    seen, foretell = [], Denoiser.foretell
    monkeypatch.setattr(
        Denoiser,
        "foretell",
        lambda self, *told: (seen.append(told), foretell(self, *told))[1],
    )
    figures = task([40, 80, 120, 160])
    [(latents, noise, given, _)] = seen
    assert torch.equal(noise[:2], noise[2:]) and torch.equal(given.sizes[:2], given.sizes[2:])
    assert (latents[:2] - latents[2:]).abs().max() > 0.1
    embeddings = given.adapters[0][:, 0, 0]
    assert (embeddings[:2] - embeddings[2:].flip(0)).norm(dim=1).max() < embeddings.norm(dim=1).min()
    assert figures["loss"] > figures["apart"] > 0


def test_the_unet_may_be_told_what_identitynet_should_say(prepared, tmp_path):
    task = _task(prepared, tmp_path, foretold=1, told=1, with_base=True, drop_face=0)
    random.seed(0)  # adapter and IdentityNet both
    task([40, 80, 120, 160])["loss"].backward()
    assert any(parameter.grad is not None for parameter in task.denoiser.unet.parameters())
    told = [parameter.grad is not None for parameter in task.denoiser.identitynet.parameters()]
    assert not any(told), "it is not asked"


def test_told_whose_face_it_is_the_unet_learns_to_paint_it(prepared, tmp_path):
    task = _task(prepared, tmp_path, foretold=1, told=1, with_base=True, drop_face=0)
    settings = Settings(
        steps=120, batch=8, learning_rate=1e-3, warmup=5, average=0, sheet_every=0, log_every=20, device="cpu"
    )
    bundle = tmp_path / "bundle"
    apart = [told.figures["apart"] for told in train(task, settings, tmp_path / "run", bundle)]
    assert apart[-1] < 0.5 * apart[0]


def test_a_base_that_predicts_noise_is_refused(prepared, tmp_path):
    with pytest.raises(InvalidRequest, match="predicts v"):
        _task(prepared, tmp_path, velocity=False, foretold=1)


def _task(prepared, tmp_path, *, velocity=True, **options):
    bundle = make_velocity_bundle(tmp_path / "bundle", prepared, velocity=velocity)
    return IdentityTask(bundle, prepared, np.arange(200), np.arange(200, 206), Options(**options))


def _colour(prepared, index: int) -> np.ndarray:
    """Of somebody's disc, -1 to 1."""
    x, y = prepared.keypoints[index].mean(axis=0).astype(int)
    return prepared.images([index])[0, y, x] / 127.5 - 1


def _watched(monkeypatch) -> list[torch.Tensor]:
    """At which timesteps noise is taken out from now on."""
    drawn, predict = [], Denoiser.predict
    monkeypatch.setattr(
        Denoiser,
        "predict",
        lambda self, noisy, at, told, by=None: (drawn.append(at), predict(self, noisy, at, told))[1],
    )
    return drawn


def _never(pixels: torch.Tensor) -> torch.Tensor:
    raise AssertionError("a linear encoder is not asked")
