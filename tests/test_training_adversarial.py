"""The adversarial stage: the discriminator learns what is soft, and the painter learns of one that can tell."""

import random
import shutil
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_family import make_bundle, make_prepared, make_velocity_bundle
from test_faces import opencv_folder  # noqa: F401  (fixture)
from test_training_likeness import with_faces
from torch.nn import functional as F

from instantid import bundles, schedulers
from instantid.errors import InvalidRequest
from instantid.training import latents
from instantid.training.adversarial import GUIDANCE, STEPS, AdversarialTask, Options
from instantid.training.loop import train
from instantid.training.settings import Settings

UNET = "base/unet/diffusion_pytorch_model.safetensors"
BOTH = (1.0, 1.0)
NOTHING = {"hair": None, "glasses": False, "expression": None}
GREY = {"kind": "plain", "colours": [[0.5, 0.5, 0.5]]}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    return make_prepared(tmp_path_factory.mktemp("prepared"), width=128)


@pytest.fixture
def bundle(prepared, opencv_folder, tmp_path):  # noqa: F811
    bundle = make_velocity_bundle(tmp_path / "bundle", prepared)
    latents.encode(prepared, bundles.open_bundle(bundle))
    return with_faces(bundle, opencv_folder)


@pytest.fixture
def task(bundle, prepared):
    return make_task(bundle, prepared)


def make_task(bundle, prepared, **options):
    options = {"with_base": True, "text_encoder": False, "judged": 1.0} | options
    chosen, shown = np.split(np.arange(len(prepared)), [-3])
    return AdversarialTask(bundle, prepared, chosen, shown, Options(**options))


def test_it_learns_what_is_soft(task):
    torch.manual_seed(0)
    chosen = task._chosen[:8]
    true, given, _ = task._told(chosen, BOTH)
    soft = F.avg_pool2d(F.pad(true, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    optimizer, told = torch.optim.Adam(task.discriminator.heads.parameters(), lr=2e-3), []
    for _ in range(30):
        _, lost, figures = task._judged(true, soft, given, torch.full((8,), 999), chosen, BOTH)
        optimizer.zero_grad()
        lost.backward()
        optimizer.step()
        told.append((float(lost.detach()), float(figures["right"])))
    assert np.mean([lost for lost, _ in told[-5:]]) < np.mean([lost for lost, _ in told[:5]]) - 0.1
    assert np.mean([right for _, right in told[-5:]]) > 0.8
    assert not any(weight.grad is not None for weight in task.discriminator.backbone.parameters())


@pytest.mark.parametrize(("says", "learns"), [(1.0, True), (-1.0, False)])
def test_what_cannot_tell_teaches_nothing(task, monkeypatch, says, learns):
    """And what can teaches as much as the plain error would, which is large where noise is strong."""
    true, given, _ = task._told(task._chosen[:4], BOTH)
    made = true.clone().requires_grad_()
    asked = []

    def forward(seen, pooled, maps):
        asked.append(None)
        worth = {1: 0.0, 2: says, 3: -says, 4: 0.0}[len(asked)]
        return worth + seen[0].flatten(1)[:, :4] * 1e-6

    monkeypatch.setattr(task.discriminator, "forward", forward)
    sizes = []
    for at in (999, 99):
        asked.clear()
        realism, _, figures = task._judged(true, made, given, torch.full((4,), at), task._chosen[:4], BOTH)
        assert figures["right"] == float(learns)
        [slope] = torch.autograd.grad(realism, made)
        sizes.append(float(slope.flatten(1).norm(dim=1).mean()))
    if not learns:
        assert sizes == [0, 0]
        return
    strength = float(task.denoiser.strength(torch.tensor([999])))
    assert sizes[0] == pytest.approx(2 * strength / (4 * true[0].numel() ** 0.5), rel=0.02)
    assert sizes[1] < sizes[0] / 2


def test_what_captions_tell_is_to_be_read_in_what_is_made(bundle, tmp_path, monkeypatch):
    """By a classifier of things; of pictures of whom nothing is known it neither learns nor asks."""
    prepared, asked = make_prepared(tmp_path / "known", views=8, width=128), {}
    latents.encode(prepared, bundles.open_bundle(bundle))
    for number, known in enumerate(prepared.records):
        figure = {"attributes": NOTHING | {"glasses": number % 2 == 0}, "clothes": None}
        known.update(caption=f"disc {number}", captions={})
        if number % 3:
            known.update(figures=[figure], background=GREY)
    for drop in (0.0, 1.0):
        task = make_task(bundle, prepared, read=5, drop_text=drop, drop_both=0)
        reader = Mock(wraps=task.reader.forward)
        monkeypatch.setattr(task.reader, "forward", reader)
        torch.manual_seed(0)
        figures = task._made([0, 1, 2, 3], BOTH)
        asked[drop] = reader.call_args.args[2]
        assert {"unread", "unheard"} <= set(figures)
        figures["loss"].backward()
        assert task.reader.says.weight.grad.abs().max() > 0
    assert asked[0.0] == [prepared.records[i]["caption"] for i in task._chosen[:4]]
    assert asked[1.0] == [""] * 4


def test_who_does_not_know_what_pictures_show_cannot_read(bundle, tmp_path):
    with pytest.raises(InvalidRequest, match="read: 0"):
        make_task(bundle, make_prepared(tmp_path / "unknown", width=128), read=1)


def test_pictures_begin_with_noise_alone(task, monkeypatch):
    seen = {}

    def made(latents, noise, timesteps, conditions):
        seen.update(latents=latents, timesteps=timesteps)
        return latents.clone().requires_grad_()

    monkeypatch.setattr(task, "_timesteps", lambda count: torch.tensor([STEPS[0], STEPS[1]]))
    monkeypatch.setattr(task.denoiser, "made", made)
    task([0, 1])
    assert seen["latents"][0].abs().max() == 0 < seen["latents"][1].abs().max()


def test_later_steps_go_on_from_what_it_made_itself(bundle, prepared, monkeypatch):
    """As where pictures are made; what is made then need not be the picture that the caption is of."""
    task = make_task(bundle, prepared, simulated=1.0)
    true = task._told(task._chosen[:4], BOTH)[0]
    lead, made = Mock(wraps=task.denoiser.lead), Mock(wraps=task.denoiser.made)
    monkeypatch.setattr(task.denoiser, "lead", lead)
    monkeypatch.setattr(task.denoiser, "made", made)
    random.seed(0)
    steps = set()
    for _ in range(12):
        torch.manual_seed(0)
        figures = task._made([0, 1, 2, 3], BOTH)
        until, [begun, _, timesteps, _] = lead.call_args.args[4], made.call_args.args
        assert timesteps.tolist() == [STEPS[until]] * 4
        assert not any(torch.equal(one, other) for one, other in zip(begun, true, strict=True))
        assert not begun.requires_grad
        steps.add(until)
    assert steps == {1, 2, 3} and lead.call_args.kwargs["sampler"] == "LCM"
    monkeypatch.setattr(task, "_judged", lambda _, made, *others: (0 * made.sum(), torch.tensor(0.0), {}))
    figures = task._made([0, 1, 2, 3], BOTH)
    assert float(figures["loss"].detach()) == 0 and "kept" not in figures


def test_half_of_the_looks_are_where_the_sampler_looks(task):
    torch.manual_seed(0)
    drawn = task._timesteps(4000)
    share = torch.isin(drawn, torch.tensor(STEPS)).float().mean()
    assert 0.55 < share < 0.65 and drawn.min() < 20 and drawn.max() == 999


def test_a_run_teaches_unet_and_heads_and_goes_on(bundle, prepared, tmp_path):
    before, shown = (bundle / UNET).read_bytes(), {path.name for path in bundle.iterdir()}
    settings = Settings(
        steps=4, batch=4, learning_rate=1e-3, warmup=0, average=0, sheet_every=4, device="cpu", log_every=1
    )
    task = make_task(bundle, prepared)
    heads = {name: weight.clone() for name, weight in task.discriminator.heads.named_parameters()}
    told = list(train(task, settings, tmp_path / "run", bundle))
    assert {"told", "right", "kept"} <= set(told[0].figures)
    assert (bundle / UNET).read_bytes() != before
    assert {path.name for path in bundle.iterdir()} == shown  # nothing of the discriminator's
    made_by = bundles.open_bundle(bundle).defaults
    assert (made_by.scheduler, made_by.steps, made_by.guidance_scale) == ("LCM", len(STEPS), GUIDANCE)
    scheduler = schedulers.build("LCM", task.denoiser.pipeline.scheduler.config, len(STEPS))
    scheduler.set_timesteps(len(STEPS))
    assert scheduler.timesteps.tolist() == list(STEPS)
    assert any(
        not torch.equal(heads[name], weight) for name, weight in task.discriminator.heads.named_parameters()
    )
    assert list((tmp_path / "run" / "sheets").iterdir())


def test_a_run_that_was_stopped_comes_to_the_same(bundle, prepared, tmp_path):
    """Though the discriminator looks by a copy of the UNet that the run began with, and its bundle has moved on."""
    settings = Settings(
        steps=4, batch=4, learning_rate=1e-3, warmup=0, cooldown=0, average=0, sheet_every=0, device="cpu"
    )
    other = shutil.copytree(bundle, tmp_path / "other")
    list(train(make_task(bundle, prepared), settings, tmp_path / "run", bundle))
    first = settings.model_copy(update={"steps": 2})
    list(train(make_task(other, prepared), first, tmp_path / "again", other))
    list(train(make_task(other, prepared), settings, tmp_path / "again", other))
    one, two = (load_file(folder / UNET) for folder in (bundle, other))
    apart = max(float((two[name] - weight).abs().max()) for name, weight in one.items())
    assert apart < settings.learning_rate / 2  # by another copy: two steps of Adam's


def test_a_base_that_predicts_noise_is_refused(prepared, opencv_folder, tmp_path):  # noqa: F811
    bundle = with_faces(make_bundle(tmp_path / "bundle", prepared), opencv_folder)
    with pytest.raises(InvalidRequest, match="predicts v"):
        make_task(bundle, prepared)
