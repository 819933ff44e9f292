"""The decoder stage: what is decoded becomes a picture, of whom it should be; all else stays as it was."""

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_family import SCALE, make_bundle, make_linear, make_prepared, make_velocity_bundle
from test_faces import opencv_folder  # noqa: F401  (fixture)
from test_training_likeness import with_faces
from torch.nn import functional as F

from instantid.errors import InstantIDError, InvalidRequest
from instantid.training import decoder
from instantid.training.autoencoder import as_tensor
from instantid.training.contest import contest, pulled
from instantid.training.decoder import DecoderTask, Options
from instantid.training.latents import mark
from instantid.training.loop import train
from instantid.training.settings import Settings

VAE = "base/vae/diffusion_pytorch_model.safetensors"
QUICK = Settings(
    steps=4, batch=6, learning_rate=1e-3, warmup=0, cooldown=0, average=0, sheet_every=4, device="cpu"
)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), width=128)


@pytest.fixture(params=[True, False], ids=["velocity", "noise"])
def bundle(request, prepared, opencv_folder, tmp_path):  # noqa: F811
    make = make_velocity_bundle if request.param else make_bundle
    bundle = with_faces(make(tmp_path / "bundle", prepared), opencv_folder)
    make_bundle(tmp_path / "encoder", prepared)  # the latents
    return bundle


def make_task(bundle, prepared, **options):
    return DecoderTask(bundle, prepared, np.arange(9), np.arange(9, 12), Options(**{"crop": 32} | options))


def test_the_decoder_learns_and_nothing_else(bundle, prepared, tmp_path):
    before = {file: file.read_bytes() for file in bundle.rglob("*") if file.is_file()}
    vae = load_file(bundle / VAE)
    task = make_task(bundle, prepared, lifelike=1.0)
    stamp, [told] = mark(task.denoiser.vae), list(train(task, QUICK, tmp_path / "run", bundle))
    judged = {"telling", "right", "faces_telling", "faces_right"}
    assert {"pixels", "edges", "colours", "kept"} | judged <= set(told.figures)
    changed = {file.relative_to(bundle).as_posix() for file in before if file.read_bytes() != before[file]}
    assert changed <= {VAE, "base/vae/config.json"}
    learned = load_file(bundle / VAE)
    moved = {name.split(".")[0] for name in vae if not torch.equal(vae[name], learned[name])}
    assert moved == {"decoder", "post_quant_conv"}
    assert mark(task.denoiser.vae) == stamp, "latents that were made before are its own"
    [sheet] = (tmp_path / "run" / "sheets").iterdir()
    assert sheet.stat().st_size > 1000


def test_a_run_that_was_stopped_comes_to_the_same(bundle, prepared, tmp_path):
    other = shutil.copytree(bundle, tmp_path / "other")
    list(train(make_task(bundle, prepared), QUICK, tmp_path / "run", bundle))
    first = QUICK.model_copy(update={"steps": 2})
    list(train(make_task(other, prepared), first, tmp_path / "again", other))
    list(train(make_task(other, prepared), QUICK, tmp_path / "again", other))
    one, two = load_file(bundle / VAE), load_file(other / VAE)
    apart = max(float((two[name] - weight).abs().max()) for name, weight in one.items())
    assert (
        apart < QUICK.learning_rate
    )  # two steps of Adam's, which make much of the last digit of a small slope


def test_a_wider_decoder_shows_the_same_and_learns_on(bundle, prepared, tmp_path):
    plain = make_task(bundle, prepared)
    wide = make_task(bundle, prepared, coarsest=32)
    latents = plain._true(plain._chosen[:3])
    with torch.no_grad():
        assert torch.allclose(wide.denoiser.pixels(latents), plain.denoiser.pixels(latents), atol=1e-3)
    list(train(wide, QUICK.model_copy(update={"steps": 2}), tmp_path / "run", bundle))
    again = make_task(bundle, prepared, coarsest=32)  # as a run that goes on has it
    assert again.denoiser.vae.config.block_out_channels[-1] == 32
    list(train(again, QUICK, tmp_path / "run", bundle))


def test_what_is_made_once_is_the_same_whenever_it_is(bundle, prepared):
    first, second = (make_task(bundle, prepared, once=True, real=0.0, near=0.5) for _ in range(2))
    chosen = first._chosen[:6]
    latents, _ = first._latents(chosen)
    assert torch.equal(first._latents(chosen)[0], latents), "made once"
    second._latents(chosen[::-1])  # the others first
    assert torch.allclose(second._latents(chosen)[0], latents, atol=1e-5)
    made = make_task(bundle, prepared, real=0.0, near=0.5)
    assert not torch.equal(made._latents(chosen)[0], made._latents(chosen)[0]), "anew each time"


def test_true_pictures_come_out_better(prepared, opencv_folder, tmp_path):  # noqa: F811
    bundle = with_faces(make_velocity_bundle(tmp_path / "bundle", prepared), opencv_folder)
    make_bundle(tmp_path / "encoder", prepared)
    settings = QUICK.model_copy(
        update={"steps": 60, "learning_rate": 3e-3, "log_every": 10, "sheet_every": 0}
    )
    task = make_task(bundle, prepared, real=1.0, near=0.0, realism=0.1)
    told = [progress.figures for progress in train(task, settings, tmp_path / "run", bundle)]
    assert told[-1]["pixels"] < 0.8 * told[0]["pixels"]
    assert "kept" not in told[0] and "like" not in told[0]


def test_squares_of_latents_and_pictures_lie_alike(opencv_folder, tmp_path, monkeypatch):  # noqa: F811
    """Of linear latents, whose first numbers are the mean colour of their place."""
    linear = make_linear(tmp_path / "linear", people=2, views=6, width=128)
    bundle = with_faces(make_velocity_bundle(tmp_path / "bundle", linear), opencv_folder)
    task = make_task(bundle, linear, real=1.0, near=0.0, likeness=0.3)
    asked = {}
    monkeypatch.setattr(
        task.denoiser, "pixels", lambda latents: F.interpolate(latents[:, :3], scale_factor=SCALE)
    )
    monkeypatch.setattr(
        decoder,
        "contest",
        lambda look, judge, shown, pictures: (
            asked.update(shown=shown, pictures=pictures) or [torch.zeros(()) for _ in range(3)]
        ),
    )
    monkeypatch.setattr(
        task.recognition, "forward", lambda *told: asked.update(places=told[3]) or (torch.zeros(()), {})
    )
    task(range(6))
    means = F.avg_pool2d(asked["pictures"], SCALE)
    assert torch.allclose(F.avg_pool2d(asked["shown"], SCALE), means, atol=0.01)
    whole, places = linear.images(task._chosen[:6]) / 127.5 - 1, linear.keypoints[task._chosen[:6]]
    for square, picture, there, here in zip(asked["pictures"], whole, places, asked["places"], strict=True):
        for (x, y), (left, top) in zip(there.astype(int), here.astype(int), strict=True):
            if 0 <= left < 32 and 0 <= top < 32:
                assert np.allclose(square[:, top, left], picture[y, x], atol=0.01)


def test_what_is_made_of_true_ones_is_near_them(bundle, prepared, monkeypatch):
    """By a UNet that knows: the noise is taken out again."""
    task = make_task(bundle, prepared, real=0.0, near=0.5)
    seen = []

    def predict(noisy, timesteps, conditions, by=None):
        seen.append((len(noisy), int(timesteps.max())))
        return torch.zeros_like(noisy)

    monkeypatch.setattr(task.denoiser, "predict", predict)
    torch.manual_seed(0)
    chosen = task._chosen[:6]
    latents, like = task._latents(chosen)
    assert len(latents) == 6 and like == 3
    assert all(at < 500 for count, at in seen[:2]), "in little noise"
    made = sum(count for count, _ in seen[2:])
    assert made >= 3 * task._defaults.steps, "the rest step by step, as pictures are"
    assert task._latents(chosen)[0].shape == task._true(chosen).shape


def test_pulls_are_as_long_as_they_should_be():
    torch.manual_seed(0)
    made, along = torch.randn(3, 2, 4, 4, requires_grad=True), torch.randn(3, 2, 4, 4)
    [slope] = torch.autograd.grad(pulled(made, along, 0.25), made)
    assert torch.allclose(slope.flatten(1).norm(dim=1), torch.full((3,), 0.25))
    assert torch.allclose(F.cosine_similarity(slope.flatten(1), along.flatten(1)), torch.ones(3))


def test_squares_begin_where_latents_do(bundle, prepared):
    with pytest.raises(InvalidRequest, match="multiple of 8"):
        make_task(bundle, prepared, crop=30)
    assert make_task(bundle, prepared, crop=0)._side == make_task(bundle, prepared, crop=640)._side == 8


def test_a_judge_that_cannot_tell_teaches_nothing():
    torch.manual_seed(0)
    shown, pictures = torch.rand(4, 3, 32, 32, requires_grad=True), torch.rand(4, 3, 32, 32)
    slopes = []
    for says in (1.0, -1.0):
        level = iter([0.0, says, -says])  # of what is made, of true pictures, of what is made
        fooling, _, right = contest(
            lambda seen: [seen], lambda seen, level=level: next(level) + seen * 1e-6, shown, pictures
        )
        slopes.append(float(torch.autograd.grad(fooling, shown)[0].norm()))
        assert right == float(says > 0)
    assert slopes[0] > 0 == slopes[1]


def test_what_is_made_keeps_its_colours(bundle, prepared):
    task = make_task(bundle, prepared, crop=0)
    latents = task._true(task._chosen[:2])
    shown = task.denoiser.pixels(latents).detach()
    assert task._recoloured(shown, task._before(latents)) < 1e-6
    assert float(task._recoloured(shown + 0.25, task._before(latents))) == pytest.approx(0.25, abs=1e-4)


def test_whose_faces_are_to_be_recognised_must_be_known(prepared, tmp_path):
    bundle = make_bundle(tmp_path / "bundle", prepared)
    assert len(make_task(bundle, prepared)) == 8
    with pytest.raises(InstantIDError, match="face"):
        make_task(bundle, prepared, likeness=0.3)
    with pytest.raises(InstantIDError, match="face"):
        make_task(bundle, prepared, lifelike=0.3)


def test_frames_about_pictures_are_mended(prepared, tmp_path):
    bundle = make_velocity_bundle(tmp_path / "bundle", prepared)
    framed = []
    for borders in (0.0, 30.0):
        task = make_task(bundle, prepared, crop=0, real=0, near=0, realism=0, borders=borders, once=True)
        settings = QUICK.model_copy(update={"steps": 60, "sheet_every": 0})
        list(
            train(task, settings, tmp_path / str(borders), shutil.copytree(bundle, tmp_path / f"to{borders}"))
        )
        latents, _ = task._latents(task._chosen)
        pictures = as_tensor(prepared.images(task._chosen))
        with torch.no_grad():
            shown = task.denoiser.pixels(latents)
        framed.append(float((decoder._frame(shown) - decoder._frame(pictures)).abs().mean()))
    assert framed[1] < 0.6 * framed[0]


def test_a_frame_is_seen_on_each_side_and_what_ends_there_in_one_picture_hardly():
    shown = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    shown = shown.repeat(8, 1, 1, 1)
    before = decoder._frame(shown)
    for at, side in enumerate((np.s_[..., 0, :], np.s_[..., -1, :], np.s_[..., 0], np.s_[..., -1])):
        lined, once = shown.clone(), shown.clone()
        lined[side] += 1
        once[:1][side] += 1
        seen = (decoder._frame(lined) - before).abs()
        assert (
            seen[at, :, 0].min() > 0.99
            and (seen[at, :, 0] > 7 * (decoder._frame(once) - before)[at, :, 0]).all()
        )
