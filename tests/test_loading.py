"""A bundle's files as models: in each layout that publishers use, and damaged in each way that happens."""

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AutoencoderKL, ControlNetModel, StableDiffusionXLPipeline
from safetensors.torch import save_file

from instantid import bundles, loading, mini
from instantid.errors import BundleError, InstantIDError
from instantid.identity import IdentityNet


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    """A bundle to change."""
    return shutil.copytree(tiny, tmp_path / "copy")


def load(folder: Path, dtype: torch.dtype = torch.float32):
    return loading.load_pipeline(bundles.open_bundle(folder), dtype)


def describe(folder: Path, **changes) -> None:
    description = json.loads((folder / "bundle.json").read_text()) | changes
    (folder / "bundle.json").write_text(json.dumps(description))


def edit(file: Path, **changes) -> None:
    settings = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({key: value for key, value in settings.items() if value is not ...}))


def test_a_bundle_becomes_a_pipeline_with_identitynet(tiny):
    pipeline = load(tiny)
    assert type(pipeline.controlnet) is IdentityNet
    assert pipeline.watermark is None
    assert {pipeline.unet.dtype, pipeline.vae.dtype, pipeline.controlnet.dtype} == {torch.float32}


def test_weights_come_in_the_precision_asked_for(tiny):
    pipeline = load(tiny, torch.float16)
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2, pipeline.controlnet)
    assert {part.dtype for part in parts} == {torch.float16}


@pytest.mark.parametrize("all_parts", [True, False])
def test_half_precision_files_load_where_there_are_no_others(copy, all_parts):
    whole = load(copy)
    for weights in copy.rglob("*.safetensors"):
        if all_parts or weights.parent.name == "unet":
            weights.rename(weights.with_suffix(".fp16.safetensors"))
    pipeline = load(copy)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2", "controlnet"):
        before, after = (getattr(each, name).state_dict() for each in (whole, pipeline))
        assert all(torch.equal(before[key], after[key]) for key in before)


def test_a_bundles_own_vae_replaces_the_base_models(copy):
    torch.manual_seed(5)
    config = json.loads((copy / "base" / "vae" / "config.json").read_text())
    own = AutoencoderKL.from_config(config)
    own.save_pretrained(copy / "better-vae")
    describe(copy, vae="better-vae")
    pipeline = load(copy)
    assert torch.equal(pipeline.vae.decoder.conv_in.weight, own.decoder.conv_in.weight)


def test_a_damaged_vae_is_refused_in_words(copy):
    shutil.copytree(copy / "base" / "vae", copy / "better-vae")
    save_file({}, weights(copy / "better-vae"))
    describe(copy, vae="better-vae")
    with pytest.raises(BundleError, match=r"VAE at .*better-vae lacks"):
        load(copy)


def test_pipelines_of_another_class_with_unknown_entries_are_fine(copy):
    """As YamerMIX_v8's index, which names a class of its own."""
    edit(copy / "base" / "model_index.json", _class_name="StableDiffusionXLCommonPipeline", scale_factor=8)
    assert load(copy).unet.config.cross_attention_dim == 64


def without_second_encoder(base: Path) -> None:
    """What Stable Diffusion 1.5 looks like."""
    shutil.rmtree(base / "text_encoder_2")
    shutil.rmtree(base / "tokenizer_2")
    index = base / "model_index.json"
    edit(index, _class_name="StableDiffusionPipeline", text_encoder_2=..., tokenizer_2=...)
    edit(base / "unet" / "config.json", addition_embed_type=None, projection_class_embeddings_input_dim=None)


@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(lambda base: cut(base / "unet"), id="weights cut short"),
        pytest.param(lambda base: remove(base / "unet"), id="weights missing"),
        pytest.param(lambda base: remove(base / "text_encoder_2"), id="an encoder's weights missing"),
        pytest.param(lambda base: swap(base / "vae", base / "unet"), id="another model's weights"),
        pytest.param(lambda base: save_file({}, weights(base / "unet")), id="weights of nothing"),
        pytest.param(lambda base: to_bin(base / "unet", b"no pickle at all"), id="a damaged .bin"),
        pytest.param(lambda base: to_bin(base / "unet", b""), id="an empty .bin"),
        pytest.param(lambda base: (base / "model_index.json").unlink(), id="no index"),
        pytest.param(lambda base: (base / "model_index.json").write_text("{"), id="half an index"),
        pytest.param(lambda base: (base / "model_index.json").write_text("{}"), id="an empty index"),
        pytest.param(lambda base: (base / "unet/config.json").unlink(), id="no UNet config"),
        pytest.param(lambda base: (base / "unet/config.json").write_text("{}"), id="an empty UNet config"),
        pytest.param(lambda base: (base / "unet/config.json").write_text("[]"), id="a UNet config of a list"),
        pytest.param(lambda base: (base / "text_encoder/config.json").unlink(), id="no encoder config"),
        pytest.param(
            lambda base: (base / "tokenizer/tokenizer.json").write_text("{"), id="half a vocabulary"
        ),
        pytest.param(lambda base: shutil.rmtree(base / "tokenizer"), id="no tokenizer"),
        pytest.param(lambda base: shutil.rmtree(base / "scheduler"), id="no scheduler"),
        pytest.param(
            lambda base: edit(base / "model_index.json", unet=["diffusers", "NoSuchModel"]),
            id="unknown class",
        ),
        pytest.param(without_second_encoder, id="Stable Diffusion 1.5"),
    ],
)
def test_a_base_model_that_is_damaged_or_something_else_is_refused_in_words(copy, harm):
    harm(copy / "base")
    with pytest.raises(BundleError, match=r"(base|unet|text_encoder)") as caught:
        load(copy)
    assert str(copy / "base") in str(caught.value)


def weights(folder: Path) -> Path:
    [file] = folder.glob("*.safetensors")
    return file


def cut(folder: Path) -> None:
    file = weights(folder)
    file.write_bytes(file.read_bytes()[:-100])


def remove(folder: Path) -> None:
    weights(folder).unlink()


def swap(one: Path, other: Path) -> None:
    first, second = weights(one), weights(other)
    content = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(content)


def to_bin(folder: Path, content: bytes) -> None:
    remove(folder)
    (folder / "diffusion_pytorch_model.bin").write_bytes(content)


@pytest.mark.parametrize("part", ["identitynet", "controlnets.canny"])
@pytest.mark.parametrize(
    "harm",
    [
        pytest.param(cut, id="cut short"),
        pytest.param(remove, id="weights missing"),
        pytest.param(lambda net: (net / "config.json").unlink(), id="no config"),
        pytest.param(lambda net: save_file({}, weights(net)), id="weights of nothing"),
        pytest.param(lambda net: (net / "config.json").write_text("{}"), id="an empty config"),
    ],
)
def test_a_damaged_controlnet_is_refused_in_words(tiny, copy, part, harm):
    bundle = bundles.open_bundle(copy)
    harm(bundle.require(part))
    with pytest.raises(BundleError, match=part):
        loading.load_controlnet(bundle, part, load(tiny).unet)


@pytest.mark.parametrize(
    "sizes",
    [
        dataclasses.replace(mini.TINY, text_width=48),
        dataclasses.replace(mini.TINY, channels=(64, 64)),
        dataclasses.replace(mini.TINY, channels=(32, 64, 64), transformer_layers=(1, 1, 1), heads=(2, 4, 4)),
    ],
    ids=["token width", "channels", "levels"],
)
def test_a_controlnet_for_another_base_is_refused_in_words(copy, tmp_path, sizes):
    other = mini.build(tmp_path / "other", sizes)
    shutil.rmtree(copy / "ControlNetModel")
    (other / "ControlNetModel").rename(copy / "ControlNetModel")
    with pytest.raises(BundleError, match=r"identitynet.*another kind of base"):
        load(copy)


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """An empty cache, and no embedded mini."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(bundles.opening, "EMBEDDED_MINI", tmp_path / "none")
    monkeypatch.setattr(mini.build, "__defaults__", (mini.TINY,))  # quicker than MINI
    return tmp_path / "instantid-studio"


def test_mini_is_built_once_and_then_reused(cache, monkeypatch):
    first = loading.open_bundle("mini")
    assert first.folder == bundles.mini_folder() and cache in first.folder.parents
    assert first.untrained and first.faces.kind == "opencv"
    assert [path.name for path in cache.iterdir()] == [first.folder.name]
    monkeypatch.setattr(mini, "build", None)
    assert loading.open_bundle("mini") == first
    load(first.folder)


def test_the_same_seed_builds_the_same_files(tmp_path):
    one, other, third = (mini.build(tmp_path / str(i), mini.TINY, seed=i // 2) for i in range(3))
    files = sorted(path.relative_to(one) for path in one.rglob("*.safetensors"))
    assert files and all((one / file).read_bytes() == (other / file).read_bytes() for file in files)
    assert any((one / file).read_bytes() != (third / file).read_bytes() for file in files)


def test_building_leaves_the_callers_random_numbers_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    mini.build(tmp_path / "tiny", mini.TINY)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_build_leaves_nothing_and_the_next_one_works(cache, monkeypatch, error):
    def interrupted(*_, **__):
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", interrupted)
        with pytest.raises(error):
            loading.open_bundle("mini")
    assert list(cache.iterdir()) == []
    load(loading.open_bundle("mini").folder)


def test_an_interrupted_build_leaves_the_one_before_it(tmp_path, monkeypatch):
    built = mini.build(tmp_path / "tiny", mini.TINY)
    before = {path: path.stat().st_mtime_ns for path in built.rglob("*")}
    monkeypatch.setattr(ControlNetModel, "save_pretrained", None)
    with pytest.raises(TypeError):
        mini.build(built, mini.TINY, seed=1)
    assert {path: path.stat().st_mtime_ns for path in built.rglob("*")} == before


def test_a_disk_without_room_is_told_in_words(cache, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StableDiffusionXLPipeline, "save_pretrained", full)
    with pytest.raises(InstantIDError, match="No space left on device"):
        loading.open_bundle("mini")
