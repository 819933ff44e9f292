"""What is foretold of faces: where the keypoints are, in the colours of the embedding, and the rest as it was."""

import random

import numpy as np
import pytest
import torch
from small_family import make_bundle, make_prepared
from torch.nn import functional as F

from instantid.errors import InvalidRequest
from instantid.training.denoising import Denoiser
from instantid.training.foretelling import Foretelling
from instantid.training.identity import STRONGEST, IdentityTask, Options
from instantid.training.prepared import encode_latents
from instantid.training.windows import around

SCALE = 8


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Six people, with latents that are linear in pixels: the mean colour of each square, and how it changes."""
    prepared = make_prepared(tmp_path_factory.mktemp("prepared"), people=6, views=40)

    def encode(images: np.ndarray) -> np.ndarray:
        squares = F.pixel_unshuffle(torch.from_numpy(images).permute(0, 3, 1, 2) / 127.5 - 1, SCALE)
        squares = squares.unflatten(1, (3, SCALE * SCALE))
        change = squares[:, 0, -1] - squares[:, 0, 0]
        return torch.cat([squares.mean(dim=2), change[:, None]], dim=1).numpy()

    encode_latents(prepared, encode, mark="linear")
    return prepared


def test_a_face_is_foretold_where_it_is_in_the_colour_of_whose_it_is(prepared):
    foretelling = Foretelling(prepared, np.arange(len(prepared)))
    chosen = np.array([40, 80, 120])  # photos of three people
    for given in (chosen, np.array([80, 120, 40])):
        latents, inside = foretelling.latents(chosen, prepared.embeddings[given], None)
        assert latents.shape == (3, 4, 8, 8) and inside.shape == (3, 1, 8, 8)
        known = torch.from_numpy(prepared.latents(chosen)).float()
        outside = (inside == 0).expand_as(latents)
        assert (latents - known)[outside].abs().max() < 0.01, "around the face nothing is foretold"
        colours = [_colour(prepared, i) for i in given]
        for told, weight, colour in zip(latents, inside, colours, strict=True):
            assert weight.max() > 0.9
            found = (told[:3] * weight).sum(dim=(1, 2)) / weight.sum()
            wrong = np.abs(found.numpy() - colour).mean()
            others = [np.abs(found.numpy() - other).mean() for other in colours if other is not colour]
            assert wrong < min(others)


def test_without_a_face_the_mean_one_is_foretold(prepared):
    foretelling = Foretelling(prepared, np.arange(len(prepared)))
    chosen = np.array([40, 80])
    one, _ = foretelling.latents(chosen, np.zeros_like(prepared.embeddings[chosen]), None)
    other, _ = foretelling.latents(chosen, prepared.embeddings[chosen], None)
    assert torch.isfinite(one).all() and (one - other).abs().max() > 0.1


def test_windows_are_cut_out_of_what_is_foretold(prepared):
    foretelling = Foretelling(prepared, np.arange(len(prepared)))
    chosen = np.array([40, 80])
    windows = around(prepared.boxes[chosen] / SCALE, width=8, jitter=0)
    whole, inside = foretelling.latents(chosen, prepared.embeddings[chosen], None)
    cut, cut_inside = foretelling.latents(chosen, prepared.embeddings[chosen], windows)
    assert torch.allclose(cut, windows.cut(whole), atol=1e-5)
    assert torch.allclose(cut_inside, windows.cut(inside), atol=1e-5)


def test_latents_that_are_not_linear_are_refused(tmp_path):
    prepared = make_prepared(tmp_path / "prepared")
    encode_latents(
        prepared, lambda images: np.sign(images[:, ::8, ::8].transpose(0, 3, 1, 2) - 90.0), mark="-"
    )
    with pytest.raises(InvalidRequest, match="not linear in pixels"):
        Foretelling(prepared, np.arange(len(prepared)))


def test_the_strongest_noise_alone_is_drawn(prepared, tmp_path, monkeypatch):
    task = _task(prepared, tmp_path, foretold=1)
    drawn, predict = [], Denoiser.predict
    monkeypatch.setattr(
        Denoiser,
        "predict",
        lambda self, noisy, at, told: (drawn.append(at), predict(self, noisy, at, told))[1],
    )
    steps = task.denoiser._schedule.config.num_train_timesteps
    for _ in range(3):
        task([0, 1, 2])["loss"].backward()
    at = torch.cat(drawn)
    assert at.min() >= (1 - STRONGEST) * steps and at.max() < steps


def test_what_is_foretold_is_of_photos(prepared, tmp_path):
    task = _task(prepared, tmp_path, foretold=1)
    for i in range(len(prepared)):
        prepared.records[i]["scene"] = f"{prepared.persons[i]}-{i % 40 // 2}"  # a photo, then its look
    assert [int(task._photo_of(i)) for i in (38, 39, 40, 41, 42)] == [38, 38, 40, 40, 42]
    assert all(prepared.records[task._photo_of(i)]["look"] == "photo" for i in range(len(prepared)))


def test_the_share_says_how_often(prepared, tmp_path, monkeypatch):
    task = _task(prepared, tmp_path, foretold=0.3)
    strongest = []
    monkeypatch.setattr(
        task.denoiser,
        "loss",
        lambda *told, strongest_=strongest, **how: (strongest_.append("strongest" in how), torch.zeros(()))[
            1
        ],
    )
    random.seed(0)
    for _ in range(200):
        task([0])
    assert 0.2 < np.mean(strongest) < 0.4


def _task(prepared, tmp_path, **options):
    kept = {piece: np.load(piece / "latents.npy") for piece in prepared.pieces}
    bundle = make_bundle(tmp_path / "bundle", prepared)
    for piece, latents in kept.items():
        np.save(piece / "latents.npy", latents)
        (piece / "latents.mark").write_text("linear")
    prepared._open.clear()
    return IdentityTask(bundle, prepared, np.arange(200), np.arange(200, 206), Options(**options))


def _colour(prepared, index: int) -> np.ndarray:
    """Of somebody's disc, -1 to 1."""
    x, y = prepared.keypoints[index].mean(axis=0).astype(int)
    return prepared.images([index])[0, y, x] / 127.5 - 1
