"""Checkpoints, VAEs and ControlNets of one file: the same pictures as from folders, and every other file refused."""

import json
import shutil
import socket
from pathlib import Path

import original_layout
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerDiscreteScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from instantid import bundles, loading, schedulers, single_files
from instantid.errors import BundleError, DownloadError

UNET = original_layout.UNET
ENTRY = f"{UNET}input_blocks.0.0.weight"


@pytest.fixture(scope="module")
def weights(tiny) -> original_layout.Weights:
    """The tiny base as the tensors of one checkpoint."""
    return original_layout.original(tiny / "base")


@pytest.fixture
def checkpoint(weights, tmp_path) -> Path:
    return original_layout.write(tmp_path / "models" / "tiny.safetensors", weights)


@pytest.fixture
def bundle(tiny):
    return bundles.open_bundle(tiny)


def load(bundle, **changes):
    return loading.load_pipeline(loading.with_base(bundle, **changes), torch.float32)


def paint(pipeline) -> torch.Tensor:
    parts = {name: part for name, part in pipeline.components.items() if name != "controlnet"}
    base = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    base.set_progress_bar_config(disable=True)
    return base(
        "a man in the snow",
        negative_prompt="blurry",
        num_inference_steps=2,
        width=64,
        height=64,
        generator=torch.Generator().manual_seed(3),
        output_type="pt",
    ).images


def test_one_file_paints_what_its_folder_paints_and_asks_nobody(bundle, checkpoint, monkeypatch):
    def refuse(*_):
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    assert torch.equal(paint(load(bundle, base=checkpoint)), paint(load(bundle)))


def test_both_text_encoders_keep_their_own_weights(bundle, checkpoint):
    """diffusers alone takes the first one's for both where they are of one width, as here."""
    first, second = (load(bundle, base=checkpoint), load(bundle))
    for name in ("text_encoder", "text_encoder_2"):
        ours, theirs = (getattr(each, name).state_dict() for each in (first, second))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)


def test_a_base_built_like_sdxl_loads_whole(tiny, tmp_path):
    """SDXL's own blocks, layers and two unlike text encoders, in narrow."""
    base = shutil.copytree(tiny / "base", tmp_path / "base")
    settings = json.loads((base / "text_encoder_2" / "config.json").read_text())
    settings |= {"hidden_size": 40, "intermediate_size": 80, "projection_dim": 48, "num_hidden_layers": 6}
    CLIPTextModelWithProjection(CLIPTextConfig(**settings)).save_pretrained(base / "text_encoder_2")
    UNet2DConditionModel(
        block_out_channels=(32, 64, 64),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        transformer_layers_per_block=(1, 2, 10),
        attention_head_dim=(2, 4, 4),
        cross_attention_dim=32 + 40,
        sample_size=8,
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=32,
        projection_class_embeddings_input_dim=48 + 6 * 32,
    ).save_pretrained(base / "unet")
    file = original_layout.write(tmp_path / "sdxl.safetensors", original_layout.original(base))
    one = single_files.load_checkpoint(file, base, dtype=torch.float32)
    folder = StableDiffusionXLPipeline.from_pretrained(base, add_watermarker=False)
    for name in ("unet", "vae", "text_encoder", "text_encoder_2"):
        ours, theirs = (getattr(each, name).state_dict() for each in (one, folder))
        assert ours.keys() == theirs.keys() and all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert torch.equal(paint(one), paint(folder))


def test_another_checkpoint_changes_the_picture_and_the_bundle_stays(bundle, weights, tmp_path):
    other = weights | {f"{UNET}out.2.weight": -weights[f"{UNET}out.2.weight"]}
    file = original_layout.write(tmp_path / "other.safetensors", other)
    assert not torch.equal(paint(load(bundle, base=file)), paint(load(bundle)))
    assert bundle.base == "base"


def test_half_precision_files_load_in_the_precision_asked_for(bundle, weights, tmp_path):
    half = {name: each.half() if each.is_floating_point() else each for name, each in weights.items()}
    pipeline = load(bundle, base=original_layout.write(tmp_path / "half.safetensors", half))
    parts = (pipeline.unet, pipeline.vae, pipeline.text_encoder, pipeline.text_encoder_2)
    assert {part.dtype for part in parts} == {torch.float32}


def test_a_bundle_may_name_a_file_and_where_its_configuration_comes_from(tiny, checkpoint, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    shutil.copy(checkpoint, copy / "mine.safetensors")
    described = json.loads((copy / "bundle.json").read_text())
    for weights in (copy / "base").rglob("*.safetensors"):
        weights.unlink()
    (copy / "bundle.json").write_text(
        json.dumps(described | {"base": "mine.safetensors", "base_config": "base"})
    )
    pipeline = loading.load_pipeline(bundles.open_bundle(copy), torch.float32)
    assert torch.equal(paint(pipeline), paint(load(bundles.open_bundle(tiny))))

    (copy / "bundle.json").write_text(json.dumps(described | {"base": "mine.safetensors"}))
    with pytest.raises(
        BundleError, match=r"single file, which holds weights alone.*“base_config” in bundle\.json"
    ):
        loading.load_pipeline(bundles.open_bundle(copy), torch.float32)


def test_the_published_bundle_lends_its_configuration_to_a_file_or_says_how_to_fetch_it(tmp_path, checkpoint):
    sdxl = bundles.open_bundle("sdxl", cache=tmp_path, hub=bundles.Hub(cache=tmp_path / "hub"))
    with pytest.raises(DownloadError, match=r"fetch --bundle sdxl --part base_config"):
        loading.with_base(sdxl, base=checkpoint)


def test_a_folder_in_the_base_s_place_needs_no_configuration(tiny, bundle, tmp_path):
    copy = shutil.copytree(tiny / "base", tmp_path / "copy")
    changed = loading.with_base(bundle, base=copy)
    assert changed.base_config is None and changed.require("base") == copy
    assert torch.equal(paint(load(bundle, base=copy)), paint(load(bundle)))


@pytest.mark.parametrize(
    ("marks", "notes", "expected"),
    [
        ({}, {}, ("epsilon", False, "leading")),
        ({"v_pred": torch.empty(0)}, {}, ("v_prediction", False, "leading")),
        ({"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}, {}, ("v_prediction", True, "trailing")),
        ({}, {"modelspec.prediction_type": "v"}, ("v_prediction", False, "leading")),
        ({}, {"modelspec.prediction_type": "epsilon"}, ("epsilon", False, "leading")),
    ],
)
def test_the_marks_of_v_prediction_reach_the_scheduler(bundle, weights, tmp_path, marks, notes, expected):
    file = original_layout.write(tmp_path / "v.safetensors", weights | marks, **notes)
    config = load(bundle, base=file).scheduler.config
    assert (config.prediction_type, config.rescale_betas_zero_snr, config.timestep_spacing) == expected


@pytest.mark.parametrize("name", list(schedulers.SCHEDULERS))
def test_every_sampler_paints_with_a_zero_terminal_checkpoint(bundle, weights, tmp_path, name):
    marks = {"v_pred": torch.empty(0), "ztsnr": torch.empty(0)}
    pipeline = load(bundle, base=original_layout.write(tmp_path / "v.safetensors", weights | marks))
    pipeline.scheduler = schedulers.build(name, pipeline.scheduler.config, 2)
    assert pipeline.scheduler.config.prediction_type == "v_prediction"
    assert paint(pipeline).isfinite().all()


def test_a_file_without_marks_predicts_noise_whatever_its_configuration_says(tiny, checkpoint, tmp_path):
    copy = shutil.copytree(tiny, tmp_path / "copy")
    EulerDiscreteScheduler(prediction_type="v_prediction").save_pretrained(copy / "base" / "scheduler")
    pipeline = load(bundles.open_bundle(copy), base=checkpoint)
    assert pipeline.scheduler.config.prediction_type == "epsilon"


def without(weights, *prefixes):
    return {name: each for name, each in weights.items() if not name.startswith(prefixes)}


def renamed(weights, old, new):
    return {name.replace(old, new): each for name, each in weights.items()}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda w: renamed(
                without(w, "conditioner.embedders.1."), "conditioner.embedders.0.", "cond_stage_model."
            ),
            "an SD 1.5 checkpoint",
        ),
        (
            lambda w: renamed(
                without(w, "conditioner.embedders.0."), "conditioner.embedders.1.", "cond_stage_model."
            ),
            "an SD 2 checkpoint",
        ),
        (
            lambda w: renamed(
                without(w, "conditioner.embedders.0."), "conditioner.embedders.1.", "conditioner.embedders.0."
            ),
            "the SDXL refiner",
        ),
        (lambda w: w | {ENTRY: torch.zeros(32, 9, 3, 3)}, "an SDXL inpainting checkpoint"),
        (lambda w: w | {ENTRY: torch.zeros(32, 8, 3, 3)}, "8 input channels"),
        (lambda w: w | {"edm_mean": torch.zeros(4)}, "EDM"),
        (lambda w: w | {"edm_vpred.sigma_max": torch.zeros(1)}, "EDM"),
        (lambda w: w | {f"{UNET}out.2.scale_weight": torch.zeros(1)}, "a quantised SDXL checkpoint"),
        (lambda w: without(w, "conditioner."), "a UNet alone"),
        (
            lambda w: {"model.diffusion_model.double_blocks.0.img_attn.qkv.weight": torch.zeros(1)},
            "a FLUX model",
        ),
        (lambda w: {"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, "a FLUX model"),
        (lambda w: {"model.diffusion_model.joint_blocks.0.x": torch.zeros(1)}, "an SD 3 model"),
        (lambda w: {"model.diffusion_model.layers.0.x": torch.zeros(1)}, "another architecture"),
        (lambda w: {"lora_unet_input_blocks_4_1.lora_down.weight": torch.zeros(1)}, "a LoRA"),
        (lambda w: {"unet.down_blocks.0.to_q.lora_A.weight": torch.zeros(1)}, "a LoRA"),
        (lambda w: {"control_model.input_hint_block.0.weight": torch.zeros(1)}, "a ControlNet"),
        (lambda w: {"controlnet_cond_embedding.conv_in.weight": torch.zeros(1)}, "a ControlNet"),
        (lambda w: {"image_proj.proj.weight": torch.zeros(1)}, "an IP-Adapter"),
        (lambda w: {"clip_l": torch.zeros(2, 768), "clip_g": torch.zeros(2, 1280)}, "a textual inversion"),
        (lambda w: renamed(without(w, "model.", "conditioner."), "first_stage_model.", ""), "a VAE"),
        (lambda w: {"anything": torch.zeros(1)}, "not known here"),
        (lambda w: without(w, f"{UNET}middle_block."), "lacks some of its weights"),
        (lambda w: w | {f"{UNET}middle_block.3.x": torch.zeros(1)}, "of another build"),
        (lambda w: without(w, "conditioner.embedders.0."), "without its first text encoder"),
        (lambda w: without(w, "first_stage_model."), "comes without a VAE"),
        (lambda w: without(w, "first_stage_model.encoder.mid"), "lacks some of its weights"),
        (
            lambda w: w | {ENTRY: torch.zeros(320, 4, 3, 3)},
            "of another size .*block_out_channels is 320, theirs 32",
        ),
    ],
)
def test_a_file_that_is_something_else_is_refused_by_name(bundle, weights, tmp_path, change, words):
    file = original_layout.write(tmp_path / "other.safetensors", change(weights))
    with pytest.raises(BundleError, match=words) as error:
        load(bundle, base=file)
    assert "other.safetensors" in str(error.value)


def test_a_sdxl_checkpoint_s_width_is_told_before_it_is_read(bundle, weights, tmp_path):
    key = next(name for name in weights if name.endswith("attn2.to_k.weight"))
    file = original_layout.write(tmp_path / "large.safetensors", weights | {key: torch.zeros(64, 2048)})
    with pytest.raises(BundleError, match=r"cross_attention_dim is 2048, theirs 64"):
        load(bundle, base=file)


@pytest.mark.parametrize("suffix", [".ckpt", ".pt", ".pth", ".bin"])
@pytest.mark.parametrize("part", ["base", "vae"])
def test_a_pickle_is_refused_with_the_reason_and_never_opened(bundle, tmp_path, suffix, part):
    file = tmp_path / f"model{suffix}"
    torch.save({"state_dict": {}}, file)
    with pytest.raises(BundleError, match=r"pickle, which can run any code.*\.safetensors"):
        load(bundle, **{part: file})


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html><html>", b"\x04\0\0\0\0\0\0\0oops"])
def test_a_damaged_file_is_told(bundle, tmp_path, content):
    file = tmp_path / "broken.safetensors"
    file.write_bytes(content)
    with pytest.raises(BundleError, match="broken"):
        load(bundle, base=file)


@pytest.mark.parametrize("part", ["vae", "base"])
def test_half_a_file_is_told(bundle, checkpoint, part):
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    with pytest.raises(BundleError, match="cut short"):
        load(bundle, **{part: checkpoint})


@pytest.fixture
def own_vae(tiny) -> AutoencoderKL:
    torch.manual_seed(5)
    return AutoencoderKL.from_config(json.loads((tiny / "base" / "vae" / "config.json").read_text()))


def old_attention(vae: AutoencoderKL) -> original_layout.Weights:
    """As diffusers saved VAEs before it renamed their attention."""
    names = {".to_q.": ".query.", ".to_k.": ".key.", ".to_v.": ".value.", ".to_out.0.": ".proj_attn."}
    weights = vae.state_dict()
    for new, old in names.items():
        weights = renamed(weights, new, old)
    return weights


@pytest.mark.parametrize(
    "layout",
    [
        pytest.param(original_layout.vae, id="original"),
        pytest.param(
            lambda vae: {f"first_stage_model.{n}": w for n, w in original_layout.vae(vae).items()},
            id="prefixed",
        ),
        pytest.param(lambda vae: vae.state_dict(), id="diffusers"),
        pytest.param(old_attention, id="old diffusers"),
    ],
)
def test_a_vae_of_one_file_takes_the_base_s_place(bundle, own_vae, tmp_path, layout):
    pipeline = load(bundle, vae=original_layout.write(tmp_path / "vae.safetensors", layout(own_vae)))
    has, wanted = pipeline.vae.state_dict(), own_vae.state_dict()
    assert has.keys() == wanted.keys() and all(torch.equal(has[key], wanted[key]) for key in wanted)
    assert pipeline.vae.config.scaling_factor == 0.13025
    assert torch.equal(pipeline.unet.conv_in.weight, load(bundle).unet.conv_in.weight)


def test_a_vae_in_its_folder_takes_the_base_s_place(bundle, own_vae, tmp_path):
    own_vae.save_pretrained(tmp_path / "vae")
    pipeline = load(bundle, vae=tmp_path / "vae")
    assert torch.equal(pipeline.vae.decoder.conv_in.weight, own_vae.decoder.conv_in.weight)


def test_a_checkpoint_without_a_vae_takes_one_beside_it(bundle, weights, own_vae, tmp_path):
    base = original_layout.write(tmp_path / "base.safetensors", without(weights, "first_stage_model."))
    vae = original_layout.write(tmp_path / "vae.safetensors", original_layout.vae(own_vae))
    pipeline = load(bundle, base=base, vae=vae)
    assert torch.equal(pipeline.vae.decoder.conv_in.weight, own_vae.decoder.conv_in.weight)
    assert paint(pipeline).shape == (1, 3, 64, 64)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (
            {"decoder.conv_in.weight": torch.zeros(16, 16, 3, 3)},
            "latents have 16 channels, the base model's 4",
        ),
        ({"lora_unet_x.lora_up.weight": torch.zeros(1)}, "a LoRA.* no VAE"),
        ({"decoder.conv_in.weight": torch.zeros(16, 4, 3, 3)}, "lacks some of its weights"),
    ],
)
def test_what_is_no_vae_for_this_base_is_refused(bundle, tmp_path, content, words):
    save_file(content, tmp_path / "vae.safetensors")
    with pytest.raises(BundleError, match=words):
        load(bundle, vae=tmp_path / "vae.safetensors")


def test_a_bare_controlnet_loads_by_the_base_s_configuration(tiny, bundle):
    file = next((tiny / "ControlNetModel").glob("*.safetensors"))
    bare = bundle.model_copy(update={"identitynet": str(file)})
    pipeline, whole = (loading.load_pipeline(each, torch.float32) for each in (bare, bundle))
    has, wanted = (each.controlnet.state_dict() for each in (pipeline, whole))
    assert has.keys() == wanted.keys() and all(torch.equal(has[key], wanted[key]) for key in wanted)
    assert not pipeline.controlnet.training
    assert type(pipeline.controlnet) is type(whole.controlnet)


@pytest.mark.parametrize("harm", [lambda w: w.pop("conv_in.bias"), lambda w: w.update(extra=torch.zeros(1))])
def test_a_bare_controlnet_of_another_build_is_refused(tiny, bundle, tmp_path, harm):
    weights = load_file(next((tiny / "ControlNetModel").glob("*.safetensors")))
    harm(weights)
    save_file(weights, tmp_path / "net.safetensors")
    bare = bundle.model_copy(update={"identitynet": str(tmp_path / "net.safetensors")})
    with pytest.raises(BundleError, match=r"does not fit .*config\.json"):
        loading.load_pipeline(bare, torch.float32)
