"""Consistency distillation: its steps against diffusers' own samplers, that it learns, and that recipes find it."""

import json
import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tiny_prepared
import torch
from diffusers import DDIMScheduler

from instantid import bundles, recipes, schedulers
from instantid.engine import Engine
from instantid.request import Person, Request
from instantid.training.distillation import DistillationTask, Options
from instantid.training.prepared import Prepared


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def bundle(request, tiny, tmp_path_factory) -> Path:
    folder = shutil.copytree(tiny, tmp_path_factory.mktemp("bundles") / "own")
    path = folder / "base" / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"prediction_type": request.param}))
    return folder


@pytest.fixture(scope="module")
def prepared(tiny, tmp_path_factory) -> Prepared:
    return tiny_prepared.prepare(tmp_path_factory.mktemp("prepared"), tiny, faceless=3)


def make(bundle, prepared, **options) -> DistillationTask:
    everybody = np.arange(len(prepared))
    return DistillationTask(bundle, prepared, everybody, np.arange(2), Options(**{"rank": 8} | options))


def draw(task: DistillationTask) -> DistillationTask:
    """A LoRA begins at nothing; drawn weights change pictures."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in task.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.05, generator=generator)
    return task


@pytest.fixture(scope="module")
def task(bundle, prepared) -> DistillationTask:
    return draw(make(bundle, prepared, faces=0))


@pytest.fixture(scope="module")
def noisy() -> torch.Tensor:
    return torch.randn(3, 4, 8, 8, generator=torch.Generator().manual_seed(0))


TIMES = torch.tensor([999, 519, 19])


def test_the_teacher_takes_one_of_fifty_guided_ddim_steps_without_the_lora(bundle, prepared, task, noisy):
    towards, away = task._told(["a red disc"] * 3, np.arange(3), faces=False)
    guidance = torch.tensor([3.0, 5.0, 7.0])[:, None, None, None]
    made = task.step_back(noisy, TIMES, (TIMES - 20).clamp(min=0), towards, away, guidance)
    untuned = make(bundle, prepared, faces=0).denoiser
    with torch.no_grad():
        plain = untuned.predict(noisy, TIMES, away)
        guided = plain + guidance * (untuned.predict(noisy, TIMES, towards) - plain)
    config = {"clip_sample": False, "set_alpha_to_one": False, "timestep_spacing": "trailing"}
    ddim = DDIMScheduler.from_config(untuned.pipeline.scheduler.config, **config)
    ddim.set_timesteps(50)
    assert set(TIMES.tolist()) <= set(ddim.timesteps.tolist())
    for i, time in enumerate(TIMES.tolist()):
        wanted = ddim.step(guided[i : i + 1], time, noisy[i : i + 1]).prev_sample
        assert torch.allclose(made[i : i + 1], wanted, rtol=1e-3, atol=1e-4)


def test_the_student_arrives_where_the_sampler_of_the_recipes_takes_it(task, noisy):
    towards, _ = task._told(["a red disc"] * 3, np.arange(3), faces=False)
    with torch.no_grad():
        made = task.arrive(noisy, TIMES, towards)
        predicted = task.denoiser.predict(noisy, TIMES, towards)
        lcm = schedulers.build("LCM", task.denoiser.pipeline.scheduler.config, 4)
        for i, time in enumerate(TIMES.tolist()):
            lcm.set_timesteps(50)
            wanted = lcm.step(predicted[i : i + 1], time, noisy[i : i + 1]).denoised
            assert torch.allclose(made[i : i + 1], wanted, rtol=1e-3, atol=1e-4)
        # At the path's end there is nothing left to predict.
        assert torch.equal(task.arrive(noisy, torch.zeros(3, dtype=torch.long), towards), noisy)


def test_recipes_ask_at_times_that_were_learned(task):
    learned = {number * task._skipped - 1 for number in range(1, 51)}
    for name in ("LCM, 4 steps", "LCM, 8 steps"):
        recipe = recipes.RECIPES[name]
        scheduler = schedulers.build(
            recipe.scheduler, task.denoiser.pipeline.scheduler.config, recipe.steps, recipe.scheduler_settings
        )
        scheduler.set_timesteps(recipe.steps)
        assert set(scheduler.timesteps.tolist()) <= learned


def test_ends_of_a_step_come_nearer_each_other(bundle, prepared):
    task = make(bundle, prepared, faces=0, rank=16)
    assert all(".lora_" in name for name, weight in task.named_parameters() if weight.requires_grad)

    def look() -> float:
        torch.manual_seed(5)
        with torch.no_grad():
            return task(list(range(16)))["l2"].item()

    before = look()
    optimizer = torch.optim.AdamW([w for w in task.parameters() if w.requires_grad], lr=1e-3)
    for step in range(30):
        torch.manual_seed(
            5
        )  # the same draws: an untrained base is nearly consistent, and others hide what is gained
        task(list(range(16)))["loss"].backward()
        assert step or all(w.grad is not None for w in task.parameters() if w.requires_grad)
        optimizer.step()
        optimizer.zero_grad()
    assert look() < 0.9 * before


def test_the_recipes_find_it_in_the_bundle(task, bundle, face):
    before = bundles.open_bundle(bundle)
    assert recipes.usable(before) == ()
    task.save(bundle)
    opened = bundles.open_bundle(bundle)
    assert recipes.usable(opened) == ("LCM, 4 steps", "LCM, 8 steps")
    assert opened.licences["loras.lcm"] == before.licences["base"] and opened.defaults == before.defaults
    engine = Engine.load(bundle, device="cpu")
    asked = Request(people=[Person(references=[face])], prompt="a red disc", seed=1)
    plain = asked.replace(scheduler="LCM", steps=4, guidance_scale=1.0)
    fast = engine.generate(asked.replace(recipe="LCM, 4 steps"))
    assert (fast.request.steps, fast.request.guidance_scale) == (4, 1.0)
    difference = np.asarray(fast.images[0]).astype(int) - np.asarray(engine.generate(plain).images[0])
    assert np.abs(difference).max() > 8


def test_faces_are_given_in_their_share_of_batches(bundle, prepared, task):
    assert task.denoiser.unet.encoder_hid_proj is None  # no share: the adapter is left alone
    assert len(task) == 20
    portraits = make(bundle, prepared, faces=1.0, drop_text=1.0)
    assert len(portraits) == 15  # one of four people has no face
    towards, away = portraits._conditions(np.array([0, 1]))
    assert torch.equal(towards.hidden, away.hidden)  # text left out
    assert torch.equal(towards.adapters[0].flatten(1), torch.from_numpy(prepared.embeddings[:2]))
    assert towards.residuals is not None and not away.adapters[0].any()
    noisy, times = torch.randn(2, 4, 8, 8), torch.tensor([999, 999])
    with torch.no_grad():
        seen = portraits.arrive(noisy, times, towards) - portraits.arrive(noisy, times, away)
        assert seen.abs().max() > 0.02
        plain = portraits._told(["a red disc"] * 2, np.array([0, 1]), faces=False)[0]
        other = portraits._told(["a red disc"] * 2, np.array([1, 2]), faces=False)[0]
        assert torch.equal(portraits.arrive(noisy, times, plain), portraits.arrive(noisy, times, other))


def test_the_sheet_shows_teacher_and_student_with_and_without_faces(bundle, prepared):
    portraits = draw(make(bundle, prepared, faces=0.5))
    paint = portraits.denoiser.paint
    portraits.denoiser.paint = lambda *conditions, **how: paint(*conditions, **how | {"steps": 2})
    with torch.no_grad():
        sheet = np.asarray(portraits.sheet()).astype(int)
    assert sheet.shape == (5 * 66 - 2, 2 * 66 - 2, 3)
    rows = [sheet[i * 66 : i * 66 + 64] for i in range(5)]
    assert (rows[0][:, :64] == prepared.images([0])[0]).all()
    assert min(np.abs(one - other).max() for one, other in pairwise(rows)) > 8
    assert all(weight.requires_grad for name, weight in portraits.named_parameters() if ".lora_" in name)
