"""The whole family by a plan: stage after stage, stopped and gone on with, and a bundle that the engine opens."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_family import SIZES

from instantid import Engine, Person, Request, bundles, mini
from instantid.adapter_file import read_adapter
from instantid.errors import InvalidRequest
from instantid.training import family, runs, several
from instantid.training.blending import blend
from instantid.training.bundle_file import describe
from instantid.training.checkpoints import TrainingFailed, steps_done
from instantid.training.people.orders import read_order
from instantid.training.prepared import Prepared
from instantid.training.settings import Settings

ASSETS = Path(__file__).parents[1] / "assets"
SAMPLE, EXAMPLE = ASSETS / "people-sample", ASSETS / "examples" / "eileen-collins.jpg"
FACES = {"kind": "opencv", "path": str(bundles.face_files_folder().absolute())}
QUICK = {"steps": 2, "batch": 2, "sheet_every": 0, "warmup": 0}


@pytest.fixture
def plan(tmp_path):
    """Of the rendered sample, which needs no rendering, on a tiny bundle."""
    sizes = {**SIZES.__dict__, "embedding": 128, "side": 64}
    start = mini.build(tmp_path / "start", mini.Sizes(**sizes), faces=FACES)
    order = dict(read_order(SAMPLE).__dict__)
    shutil.copytree(SAMPLE, tmp_path / "work" / "people")
    stages = [{"stage": stage, "settings": QUICK} for stage in ("autoencoder", "base", "identity")]
    return family.Plan(start=str(start), people=order, held_out=2, stages=stages)


def test_stages_go_on_with_each_others_bundles(plan, tmp_path, monkeypatch):
    told = []
    folder = tmp_path / "work"
    paused = family.train_family(plan, folder, device="cpu", minutes=1e-9, tell=told.append)
    assert paused is None, "there was no time"
    finished = family.train_family(plan, folder, device="cpu", tell=told.append)
    assert finished == folder / "identity" / "bundle"

    vae = load_file(folder / "autoencoder" / "bundle/base/vae/diffusion_pytorch_model.safetensors")
    first = load_file(Path(plan.start) / "base/vae/diffusion_pytorch_model.safetensors")
    last = load_file(finished / "base/vae/diffusion_pytorch_model.safetensors")
    assert any((vae[name] != first[name]).any() for name in vae), "it learned"
    assert all((vae[name] == last[name]).all() for name in vae), "and was handed on"

    lines = len(told)
    assert family.train_family(plan, folder, device="cpu", tell=told.append) == finished
    assert not any("identity" in line for line in told[lines:]), "nothing is trained twice"

    request = Request(people=[Person(references=[EXAMPLE])], prompt="a woman", steps=2, seed=1)
    made = Engine.load(finished).generate(request).images[0]
    assert made.size == (64, 64)

    monkeypatch.setattr(family, "hours", lambda run: 0.5)
    card = {"hardware": "a test", "command": "a test", "commit": "none"}
    family.pack_family(plan, folder, tmp_path / "assets" / "mini", **card)
    packed = Engine.load(tmp_path / "assets" / "mini")
    assert packed.bundle.trained.on == "128 pictures of 8 rendered people"
    assert "style_adapter" not in packed.bundle.sources, "nobody trained it"
    again = packed.generate(request).images[0]
    assert np.abs(np.asarray(again, int) - np.asarray(made, int)).mean() < 8, (
        "but for 8 bits a weight, the same"
    )

    # What was packed can be gone on with, and tells of all its hours.
    stage = {"stage": "identity", "settings": QUICK}
    stage["options"] = {"fresh": False, "with_base": True, "guided": 1.0}
    further = plan.model_copy(
        update={"start": str(tmp_path / "assets" / "mini"), "stages": (family.StagePlan(**stage),)}
    )
    shutil.rmtree(folder / "identity")
    assert family.train_family(further, folder, device="cpu") == folder / "identity" / "bundle"
    family.pack_family(further, folder, tmp_path / "assets" / "mini", **card)
    assert packed.bundle.trained.hours == 1.5
    more = Engine.load(tmp_path / "assets" / "mini").bundle
    assert more.trained.hours == 2.0
    assert more.present("controlnets.union"), "the identity stage trained it along"

    # Whatever is trained after that may be packed, too.
    alone = further.model_copy(update={"stages": (family.StagePlan(stage="base", settings=QUICK),)})
    shutil.rmtree(folder / "base")
    assert family.train_family(alone, folder, device="cpu") == folder / "base" / "bundle"
    family.pack_family(alone, folder, tmp_path / "assets" / "mini", **card)
    assert Engine.load(tmp_path / "assets" / "mini").bundle.trained.hours == 2.5


def test_what_learned_close_faces_paints_close_faces(plan, tmp_path):
    close = plan.model_copy(update={"fill": 0.5, "strengths": 1.0, "stages": plan.stages[:2]})
    finished = family.train_family(close, tmp_path / "work", device="cpu")
    usual = bundles.open_bundle(finished).defaults
    assert (usual.least_face, usual.identity_strength, usual.adapter_strength) == (0.6, 1.0, 1.0)
    boxes = Prepared(tmp_path / "work" / "prepared").boxes
    widths = (boxes[:, 2] - boxes[:, 0])[boxes[:, 2] > 0]
    assert 0.4 < np.median(widths) / plan.order.size < 0.6


def test_a_plan_doubles_what_it_begins_with_once(plan, tmp_path, monkeypatch):
    sizes = {**SIZES.__dict__, "embedding": 128, "side": 64, "vae_channels": (16, 16, 16, 16)}
    small = mini.build(tmp_path / "small", mini.Sizes(**sizes), faces=FACES)
    stages = ({"stage": "decoder", "settings": QUICK, "options": {"crop": 64}},)
    twice = family.Plan(
        **plan.model_dump() | {"start": str(small), "double": True, "size": 128, "stages": stages}
    )
    folder = tmp_path / "work"
    assert family.train_family(twice, folder, device="cpu", minutes=1e-9) is None, "there was no time"
    monkeypatch.setattr(family, "double", lambda *_: pytest.fail("it was doubled before"))
    finished = family.train_family(twice, folder, device="cpu")
    assert Prepared(folder / "prepared").size == 128
    request = Request(people=[Person(references=[EXAMPLE])], prompt="a woman", steps=2, seed=1)
    assert Engine.load(finished).generate(request).images[0].size == (128, 128)


def test_a_stage_may_come_twice_under_another_name(plan, tmp_path):
    twice = [{"stage": "base", "settings": QUICK}, {"stage": "base", "called": "more", "settings": QUICK}]
    again = family.Plan(**plan.model_dump() | {"stages": twice})
    finished = family.train_family(again, tmp_path / "work", device="cpu")
    assert finished == tmp_path / "work" / "more" / "bundle"
    first, second = (
        load_file(tmp_path / "work" / name / "bundle/base/unet/diffusion_pytorch_model.safetensors")
        for name in ("base", "more")
    )
    assert any((first[name] != second[name]).any() for name in first), "it went on from there"
    with pytest.raises(ValueError, match="base is there twice"):
        family.Plan(**plan.model_dump() | {"stages": twice[:1] * 2})


def test_weights_half_way_may_be_gone_on_with(plan, tmp_path, monkeypatch):
    def weights(folder) -> list[dict]:
        bundle = bundles.open_bundle(folder)
        net = load_file(bundle.require("identitynet") / "diffusion_pytorch_model.safetensors")
        return [net, *read_adapter(bundle.require("identity_adapter")).values()]

    halves = {"identitynet": 0.5, "identity_adapter": 0.5, "base": 0.0}
    half = [
        {"stage": "identity", "settings": QUICK, "options": {"fresh": False}, "blended": halves},
        {"stage": "base", "settings": QUICK},
    ]
    half, folder = family.Plan(**plan.model_dump() | {"stages": half}), tmp_path / "work"
    finished = family.train_family(half, folder, device="cpu")
    all_three = (plan.start, folder / "identity" / "bundle", finished)
    moved = 0.0
    for old, new, between in zip(*map(weights, all_three), strict=True):
        for name, weight in between.items():
            assert torch.allclose(weight, (old[name] + new[name]) / 2, atol=1e-6), name
            moved += float((new[name] - old[name]).abs().sum())
    assert moved > 0
    monkeypatch.setattr(family, "blend", lambda *_: pytest.fail("it was blended before"))
    assert family.train_family(half, folder, device="cpu") == finished
    with pytest.raises(ValueError, match="half-way from nothing"):
        family.Plan(**half.model_dump() | {"start": "new:small"})


def test_weights_in_another_layout_are_not_blended(plan, tmp_path):
    other = mini.build(tmp_path / "other", mini.TINY, faces=FACES)
    for file in list((other / "base").rglob("*.safetensors")):
        file.rename(file.with_suffix(".fp16.safetensors"))
    with pytest.raises(InvalidRequest, match=r"There is no .*safetensors"):
        blend(
            bundles.open_bundle(other), bundles.open_bundle(plan.start), {"base": 0.5}, tmp_path / "between"
        )
    with pytest.raises(InvalidRequest, match=r"style cannot be blended.*identitynet"):
        blend(
            bundles.open_bundle(other), bundles.open_bundle(plan.start), {"style": 0.5}, tmp_path / "between"
        )
    assert not (tmp_path / "between").exists()


def test_controlnets_may_be_louder(plan, tmp_path):
    """What they add is so many times as much; everything else is as it was."""
    bundle, louder = bundles.open_bundle(plan.start), {"identitynet": 1.5}
    laid = bundles.open_bundle(blend(bundle, bundle, {}, tmp_path / "louder", louder=louder))
    was, now = (
        load_file(each.require("identitynet") / "diffusion_pytorch_model.safetensors")
        for each in (bundle, laid)
    )
    told = {name for name in was if name.startswith(("controlnet_down_blocks.", "controlnet_mid_block."))}
    assert told < was.keys() == now.keys()
    for name, weight in was.items():
        assert torch.allclose(now[name], weight * (1.5 if name in told else 1)), name
    with pytest.raises(InvalidRequest, match="base cannot be louder"):
        blend(bundle, bundle, {}, tmp_path / "again", louder={"base": 2})
    other = shutil.copytree(plan.start, tmp_path / "other")
    net = bundle.require("identitynet") / "diffusion_pytorch_model.safetensors"
    before = net.read_bytes()
    describe(other, "identitynet", str(net.parent))  # where it lies, as large bundles have it
    with pytest.raises(InvalidRequest, match="identitynet cannot be louder"):
        blend(bundle, bundles.open_bundle(other), {}, tmp_path / "elsewhere", louder=louder)
    assert net.read_bytes() == before, "it is somebody else's, too"


def test_several_processes_learn_what_one_would(plan, tmp_path):
    told = []
    stage = plan.stages[0].model_copy(update={"settings": Settings(**QUICK | {"log_every": 1})})
    plan = plan.model_copy(update={"stages": (stage,)})
    finished = family.train_family(plan, tmp_path / "work", device="cpu", processes=2, tell=told.append)
    assert finished == tmp_path / "work" / "autoencoder" / "bundle"
    assert [line for line in told if line.startswith("autoencoder 2/2")]
    assert steps_done(tmp_path / "work" / "autoencoder") == 2
    assert bundles.open_bundle(finished).present("base")


def test_several_processes_are_paused_as_one_is(plan, tmp_path):
    stage = plan.stages[0].model_copy(
        update={"settings": Settings(**QUICK | {"steps": 4000, "log_every": 1})}
    )
    plan, told = plan.model_copy(update={"stages": (stage,)}), []
    work = {"device": "cpu", "processes": 2, "tell": told.append}
    paused = family.train_family(
        plan, tmp_path / "work", **work, stopping=lambda: any("autoencoder" in line for line in told)
    )
    done = steps_done(tmp_path / "work" / "autoencoder")
    assert paused is None and 0 < done < 4000 and done % 10 == 0, "they agree on a step"


def test_a_failing_process_tells_what_it_said(plan, tmp_path):
    run = runs.Run(
        bundle=plan.start, data=tmp_path / "nothing", out=tmp_path / "run", settings=Settings(**QUICK)
    )
    with pytest.raises(TrainingFailed, match=r"process-\d\.log[\s\S]*nothing"):
        list(several.start_several("base", run, 2))
    with pytest.raises(TrainingFailed, match="3 processes cannot share a batch of 2"):
        list(several.start_several("base", run, 3))


def test_without_the_identity_stage_there_is_nothing_to_pack(plan, tmp_path):
    with pytest.raises(family.NothingToPack, match="identity stage"):
        family.pack_family(
            plan, tmp_path / "work", tmp_path / "packed", hardware="a test", command="a test", commit="none"
        )


@pytest.mark.parametrize("name", sorted(file.stem for file in family.PLANS.glob("*.yaml")))
def test_the_plans_that_come_along_are_right(name):
    plan = family.read_plan(name)
    assert plan.start in (*runs.NEW, "mini") or plan.start.endswith("/bundle")
    for stage in plan.stages:
        runs.checked(runs.STAGES[stage.stage][1], stage.options, stage.stage)
    reads = [i for i, stage in enumerate(plan.stages) if stage.options.get("wording")]
    encoders = [i for i, stage in enumerate(plan.stages) if stage.stage == "clip"]
    known = plan.start == "mini" and bundles.open_bundle("mini").has("image_encoder")
    assert all(known or min(encoders) < i for i in reads), (
        "captions are found by an image encoder that has learned"
    )
    family.Order(**{**plan.people, "framings": tuple(plan.people.get("framings", ()))})


def test_a_plan_may_be_tried_small():
    whole = family.read_plan("small")
    part = whole.scaled(0.01)
    assert whole.scaled(1) is whole
    assert (part.order.people, part.held_out) == (80, 20)
    assert whole.scaled(0.0001).order.people == family.FEWEST
    for one, other in zip(whole.stages, part.stages, strict=True):
        assert other.settings.steps == max(1, round(one.settings.steps / 100))
        assert (other.options, other.settings.batch) == (one.options, one.settings.batch)


def test_an_unknown_plan_names_those_there_are():
    with pytest.raises(InvalidRequest, match="further, large, lifelike, small"):
        family.read_plan("huge")


def test_an_unknown_option_is_named(tmp_path):
    file = tmp_path / "plan.yaml"
    file.write_text(
        "start: new:small\npeople: {people: 4}\nstages:\n  - {stage: base, settings: {stepps: 3}}\n"
    )
    with pytest.raises(InvalidRequest, match="stepps"):
        family.read_plan(str(file))
