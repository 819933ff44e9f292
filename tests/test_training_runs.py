"""Runs: their files, which bundle they begin with, who is held out, and what keeps memory small."""

import json
import shutil
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from small_family import make_bundle, make_prepared

from instantid import Engine, Person, Request, bundles, loading, mini
from instantid.errors import BundleError, InvalidRequest
from instantid.request import Face
from instantid.training import runs, starts
from instantid.training.memory import spare
from instantid.training.prepared import Prepared
from instantid.training.settings import Settings

CONFIGS = sorted(Path(str(resources.files("instantid.training") / "configs")).glob("*.yaml"))
QUICK = {"steps": 2, "batch": 2, "warmup": 0, "sheet_every": 0, "device": "cpu"}
WEIGHTS = {".safetensors", ".bin"}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Twelve people: eight are held out."""
    return make_prepared(tmp_path_factory.mktemp("prepared"), people=12)


@pytest.fixture(scope="module")
def bundle(prepared, tmp_path_factory):
    return make_bundle(tmp_path_factory.mktemp("bundles") / "bundle", prepared)


@pytest.fixture
def large(monkeypatch):
    """Every bundle counts as large."""
    monkeypatch.setattr(starts, "LARGEST_COPY", 0)


def make_run(bundle, prepared, out, settings=None, **options) -> runs.Run:
    content = {"bundle": str(bundle), "data": str(prepared.folder), "out": str(out), "held_out": 8}
    return runs.Run(**content, settings=Settings(**QUICK | (settings or {})), options=options)


def weight_files(folder: Path) -> set[str]:
    return {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.suffix in WEIGHTS}


@pytest.mark.parametrize("file", CONFIGS, ids=lambda file: file.stem)
def test_the_configurations_that_come_along_are_right(file):
    run = runs.read_run(file)
    stage = file.stem.split("-")[0]
    runs.checked(runs.STAGES[stage][1], run.options, file.name)
    assert (
        run.bundle == "sdxl:sdxl-base"
        and run.settings.rate(0) == run.settings.rate(run.settings.steps - 1) == 1
    )


def test_every_stage_that_goes_on_from_sdxl_has_a_configuration():
    assert {file.stem.split("-")[0] for file in CONFIGS} == set(runs.STAGES) - {
        "autoencoder",
        "clip",
        "base",
        "projector",
        "placing",
        "drawing",
        "annotator",
        "adversarial",  # for bases that predict v
        "decoder",
        "twins",
    }


def test_what_a_file_says_may_be_changed_and_must_be_known(tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text("{bundle: mini, data: d, out: o}")
    assert runs.read_run(file, {"settings.steps": 7}).settings.steps == 7
    with pytest.raises(InvalidRequest, match="stepps"):
        runs.read_run(file, {"settings.stepps": 7})
    with pytest.raises(InvalidRequest, match="bf16"):
        runs.read_run(file, {"settings.frozen": "bf16"})


def test_a_tracker_that_is_not_installed_is_named_before_anything_is_loaded(
    tmp_path, prepared, bundle, monkeypatch
):
    monkeypatch.setattr(runs, "find_spec", lambda name: None)
    run = make_run(bundle, prepared, tmp_path / "run", {"trackers": ["wandb"]})
    with pytest.raises(InvalidRequest, match="pip install wandb"):
        runs.start("identity", run)
    assert not run.out.exists()


def test_strangers_are_held_out_one_by_one(prepared, tmp_path):
    shutil.copytree(prepared.folder, tmp_path / "data")
    for piece in (tmp_path / "data").iterdir():
        persons = np.load(piece / "persons.npy")
        np.save(piece / "persons.npy", np.full_like(persons, -1))
    strangers = Prepared(tmp_path / "data")
    chosen, held = runs.split(strangers, 8)
    assert len(held) == 8 and len(chosen) == len(strangers) - 8 and not set(chosen) & set(held)


def test_a_small_bundle_is_copied_and_its_outer_parts_are_found_again(bundle, tmp_path):
    source = tmp_path / "source"
    shutil.copytree(bundle, source)
    shutil.move(source / "image_encoder", tmp_path / "image_encoder")
    description = json.loads((source / "bundle.json").read_text())
    (source / "bundle.json").write_text(json.dumps(description | {"image_encoder": "../image_encoder"}))
    folder = starts.lay_out(bundles.open_bundle(source), tmp_path / "far" / "away" / "bundle")
    opened = bundles.open_bundle(folder)
    assert opened.require("image_encoder") == tmp_path / "image_encoder"
    assert opened.require("base") == folder / "base"


def test_of_a_large_bundle_only_what_is_trained_is_written(bundle, prepared, tmp_path, large):
    run = make_run(bundle, prepared, tmp_path / "run", projector=64)
    list(runs.start("identity", run))
    folder = run.out / "bundle"
    assert weight_files(folder) == {"ip-adapter.bin", "ControlNetModel/diffusion_pytorch_model.safetensors"}
    opened = bundles.open_bundle(folder)
    assert opened.require("base") == (bundle / "base").resolve()
    assert opened.licences["identitynet"] == opened.licences["base"]
    embedding = np.random.default_rng(0).normal(size=8).astype(np.float32)
    points = np.array([[20, 24], [36, 22], [28, 32], [22, 42], [34, 41]], np.float32)
    face = Face(embedding=embedding, keypoints=points, box=np.array([12, 10, 44, 54], np.float32))
    request = Request(people=[Person(references=[face])], prompt="a disc", steps=1, seed=1)
    assert Engine.load(folder).generate(request).images[0].size == (64, 64)


def test_identity_begins_with_sdxl_alone(bundle, prepared, tmp_path, large):
    """As from `sdxl:sdxl-base` with nothing fetched but base, VAE and faces."""
    source = tmp_path / "alone"
    source.mkdir()
    description = json.loads((bundle / "bundle.json").read_text())
    shutil.copytree(bundle / "base", source / "base")
    there = {
        "identitynet": "InstantX/InstantID/ControlNetModel",
        "identity_adapter": "InstantX/InstantID/ip-adapter.bin",
    }
    for part in ("style_adapter", "image_encoder"):
        description.pop(part)
    (source / "bundle.json").write_text(json.dumps(description | there))
    with pytest.raises(bundles.bundle.DownloadError, match="identity_adapter"):
        runs.start("identity", make_run(source, prepared, tmp_path / "refused"))
    run = make_run(source, prepared, tmp_path / "run", projector=128)
    list(runs.start("identity", run))
    adapter = torch.load(run.out / "bundle" / "ip-adapter.bin", weights_only=True)
    assert adapter["image_proj"]["latents"].shape == (1, 16, 128)
    assert adapter["image_proj"]["proj_in.weight"].shape == (128, 8)
    assert adapter["image_proj"]["proj_out.weight"].shape == (64, 128)
    loading.load_pipeline(bundles.open_bundle(run.out / "bundle"), torch.float32)


def test_a_trained_base_comes_whole_into_the_run_and_half_precision_names_go(
    bundle, prepared, tmp_path, large
):
    source = tmp_path / "source"
    shutil.copytree(bundle, source)
    for file in (source / "base").rglob("*.safetensors"):  # as publishers' fp16 files are called
        file.rename(file.with_name(file.name.replace(".safetensors", ".fp16.safetensors")))
    run = make_run(source, prepared, tmp_path / "run", {"average": 0}, text_encoder=False)
    list(runs.start("base", run))
    folder = run.out / "bundle"
    assert weight_files(folder) == {
        f"base/{part}.safetensors"
        for part in (
            "unet/diffusion_pytorch_model",
            "vae/diffusion_pytorch_model",
            "text_encoder/model",
            "text_encoder_2/model",
        )
    }
    assert bundles.open_bundle(folder).licences["base"] == mini.LICENCE
    loading.load_base(bundles.open_bundle(folder), torch.float32)
    name = "unet/diffusion_pytorch_model"
    before = load_file(source / "base" / f"{name}.fp16.safetensors")
    after = load_file(folder / "base" / f"{name}.safetensors")
    assert before.keys() == after.keys() and any((before[key] != after[key]).any() for key in before)


def test_a_base_of_one_file_is_not_written_into(bundle, prepared, tmp_path, large):
    folder = starts.lay_out(bundles.open_bundle(bundle), tmp_path / "bundle")
    (tmp_path / "base.safetensors").write_bytes((bundle / "ip-adapter-style.safetensors").read_bytes())
    description = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(
        json.dumps(description | {"base": str(tmp_path / "base.safetensors")})
    )
    with pytest.raises(BundleError, match="single file"):
        starts.write_base(folder, {})


def test_parts_on_the_hub_stay_there_at_their_commits(tmp_path):
    lock = tmp_path / "sdxl.lock.json"
    lock.write_text(json.dumps({"version": 1, "parts": {}}))
    source = bundles.open_bundle("sdxl:sdxl-base").model_copy(update={"lock": lock})
    folder = starts.lay_out(source, tmp_path / "run" / "bundle")
    opened = bundles.open_bundle(folder)
    assert opened.sources == source.sources and opened.lock.read_text() == lock.read_text()


def test_frozen_weights_take_half_and_it_still_learns(bundle, prepared, tmp_path):
    settings = {"precision": "bf16", "frozen": "bf16", "checkpointing": True, "sheet_every": 2}
    run = make_run(bundle, prepared, tmp_path / "run", settings)
    task = runs.make_task("identity", run)
    before = {name: weight.nbytes for name, weight in task.named_parameters()}
    spare(task, run.settings)
    for name, weight in task.named_parameters():
        if weight.requires_grad or ".vae." in f".{name}":
            assert weight.dtype == torch.float32, name
    frozen = [name for name, weight in task.named_parameters() if not weight.requires_grad and "unet" in name]
    after = dict(task.named_parameters())
    assert sum(after[name].nbytes for name in frozen) < 0.55 * sum(before[name] for name in frozen)
    assert (
        task.denoiser.unet.is_gradient_checkpointing and task.denoiser.identitynet.is_gradient_checkpointing
    )
    last = list(runs.start("identity", run))[-1]
    assert np.isfinite(last.figures["loss"]) and last.figures["gradient"] > 0
    assert list((run.out / "sheets").iterdir())


def test_checkpointing_changes_nothing_that_is_learned(bundle, prepared, tmp_path):
    for name, checkpointing in (("with", True), ("without", False)):
        settings = {"checkpointing": checkpointing, "average": 0}
        list(runs.start("identity", make_run(bundle, prepared, tmp_path / name, settings)))
    files = [tmp_path / name / "bundle" / "ip-adapter.bin" for name in ("with", "without")]
    one, other = (torch.load(file, weights_only=True)["ip_adapter"] for file in files)
    assert all(torch.allclose(one[key], other[key], atol=1e-6) for key in one)
