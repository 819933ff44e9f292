"""LoRA files as trainers write them, and those that must be refused."""

import json
import pickle
import re

import pytest
import tiny_loras
import torch
from safetensors.torch import load_file, save_file

from instantid import bundles, loading
from instantid.errors import InvalidRequest
from instantid.lora_file import read_lora


@pytest.fixture(scope="module")
def pipeline(tiny):
    return loading.load_pipeline(bundles.open_bundle(tiny), torch.float32)


@pytest.fixture(scope="module")
def models(pipeline):
    return {component: getattr(pipeline, component) for component in tiny_loras.COMPONENTS}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "watercolour.safetensors"


def assert_changes(lora, wanted, atol=1e-6):
    found = {
        (component, name.removesuffix(".lora_A.weight")): down
        for component, part in lora.parts.items()
        for name, down in part.items()
        if ".lora_A." in name
    }
    assert found.keys() == wanted.keys()
    for (component, module), down in found.items():
        up = lora.parts[component][f"{module}.lora_B.weight"]
        product = (up.float().flatten(1) @ down.float().flatten(1)).reshape(wanted[component, module].shape)
        assert torch.allclose(product, wanted[component, module], atol=atol), module


def test_kohyas_names_ranks_and_alphas_of_every_layer(pipeline, models, path):
    pairs = tiny_loras.draw(pipeline)
    assert len(pairs) > 100 and {component for component, _ in pairs} == set(tiny_loras.COMPONENTS)
    lora = read_lora(tiny_loras.save_kohya(pairs, path), models)
    assert_changes(lora, tiny_loras.changes(pairs))
    assert lora.note == ""


def test_kohyas_names_of_its_own_unet(pipeline, models, path):
    places = [re.sub("_", ".", place) for place in tiny_loras.SGM]
    pairs = {
        (component, name): pair
        for (component, name), pair in tiny_loras.draw(pipeline).items()
        if component != "unet" or any(name.replace("_", ".").startswith(place) for place in places)
    }
    lora = read_lora(tiny_loras.save_kohya(pairs, path, sgm=True), models)
    assert_changes(lora, tiny_loras.changes(pairs))


def test_todays_diffusers_with_alphas_in_the_header(pipeline, models, path):
    pairs = tiny_loras.draw(pipeline)
    assert_changes(read_lora(tiny_loras.save_peft(pairs, path), models), tiny_loras.changes(pairs))


def test_diffusers_of_2023_and_pefts_own_names(pipeline, models, path):
    pairs = {
        place: (down, up, float(len(down)))
        for place, (down, up, _) in tiny_loras.draw(pipeline, pattern=r"attn.*(to_|_proj)").items()
    }
    assert_changes(read_lora(tiny_loras.save_old(pairs, path), models), tiny_loras.changes(pairs))
    only_unet = {place: pair for place, pair in pairs.items() if place[0] == "unet"}
    tiny_loras.save_peft(only_unet, path, prefix="base_model.model")
    assert_changes(read_lora(path, models), tiny_loras.changes(only_unet))


def test_only_some_projections_of_one_text_encoder(pipeline, models, path):
    pairs = tiny_loras.draw(pipeline, pattern="q_proj", components=["text_encoder_2"])
    assert_changes(read_lora(tiny_loras.save_kohya(pairs, path), models), tiny_loras.changes(pairs))


def test_half_precision_files(pipeline, models, path):
    pairs = tiny_loras.draw(pipeline)
    halves = {place: (down.half(), up.half(), alpha) for place, (down, up, alpha) in pairs.items()}
    lora = read_lora(tiny_loras.save_kohya(halves, path), models)
    assert_changes(lora, tiny_loras.changes(pairs), atol=2e-3)


def test_a_few_weights_without_a_place_are_told_of(pipeline, models, path):
    pairs = tiny_loras.draw(pipeline)
    tiny_loras.save_kohya(pairs, path)
    extra = {f"lora_unet_label_emb_7_7.lora_{end}.weight": torch.ones(2, 2) for end in ("down", "up")}
    save_file(load_file(path) | extra, path)
    lora = read_lora(path, models)
    assert_changes(lora, tiny_loras.changes(pairs))
    assert re.search(r"2 of the \d+ weights in the LoRA “watercolour” have no place", lora.note)


def wider(pairs, by=2):
    """For cross-attention of another width, as Stable Diffusion 1's is to SDXL's."""
    return {
        place: (
            torch.cat([down] * by, dim=1) if "attn2.to_k" in place[1] or "attn2.to_v" in place[1] else down,
            up,
            a,
        )
        for place, (down, up, a) in pairs.items()
    }


def test_a_lora_for_another_architecture_is_refused_in_words(pipeline, models, path):
    pairs = wider(tiny_loras.draw(pipeline, pattern="attn2", components=["unet"]))
    tiny_loras.save_kohya(pairs, path)
    with pytest.raises(InvalidRequest, match=r"does not fit.*another kind of model; one made for SDXL"):
        read_lora(path, models)
    tiny_loras.save_kohya(pairs, path, ss_base_model_version="sd_v1")
    with pytest.raises(InvalidRequest, match=r"made for “sd_v1”, its file says"):
        read_lora(path, models)


@pytest.mark.parametrize(
    ("module", "made_for"),
    [
        ("transformer.single_transformer_blocks.0.attn.to_q", "Flux"),
        ("transformer.transformer_blocks.0.attn.add_q_proj", "Stable Diffusion 3"),
        ("lora_te_text_model_encoder_layers_11_mlp_fc1", "Stable Diffusion 1 or 2"),
        ("diffusion_model.layers.3.attention.wq", "another kind of model"),
        ("lora_unet_input_blocks_99_7_out", "another kind of model"),
    ],
)
def test_a_lora_that_matches_nothing_is_refused_in_words(models, path, module, made_for):
    ends = ("lora_down", "lora_up") if module.startswith("lora_") else ("lora_A", "lora_B")
    save_file({f"{module}.{end}.weight": torch.ones(4, 4) for end in ends}, path)
    with pytest.raises(InvalidRequest, match=rf"“watercolour.safetensors” does not fit.*made for {made_for}"):
        read_lora(path, models)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("lora_unet_mid_block_attentions_0_proj_in.hada_w1_a", "LoHa"),
        ("lora_unet_mid_block_attentions_0_proj_in.lokr_w1", "LoKr"),
        ("lora_unet_mid_block_attentions_0_proj_in.dora_scale", "DoRA"),
        ("model.diffusion_model.input_blocks.0.0.weight", r"is no LoRA: none of its 1 weights.*“base”"),
    ],
)
def test_what_is_no_plain_lora_is_named(models, path, name, told):
    save_file({name: torch.ones(2, 2)}, path)
    with pytest.raises(InvalidRequest, match=told):
        read_lora(path, models)


@pytest.mark.parametrize("suffix", [".pt", ".bin", ".ckpt", ".PTH"])
def test_a_pickle_is_never_opened(models, tmp_path, suffix):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    path = tmp_path / f"lora{suffix}"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(InvalidRequest, match=r"can run code that hides in it. Take its .safetensors form"):
        read_lora(path, models)
    assert not (tmp_path / "sprung").exists()


def test_missing_cut_and_mistaken_files_are_told_apart(pipeline, models, path, tmp_path):
    with pytest.raises(InvalidRequest, match=r"There is no LoRA at .*watercolour"):
        read_lora(path, models)
    tiny_loras.save_kohya(tiny_loras.draw(pipeline, pattern="attn2"), path)
    whole = path.read_bytes()
    for content, told in (
        (whole[: len(whole) // 2], "cut short"),
        (b"<!DOCTYPE html><title>Sign in</title>", "web page"),
        (b"PK\x03\x04" + bytes(100), "cut short|no safetensors"),
        (b"", "0 bytes"),
    ):
        path.write_bytes(content)
        with pytest.raises(InvalidRequest, match=f"(?s)cannot be read.*({told})"):
            read_lora(path, models)
    with pytest.raises(InvalidRequest, match=r"ends in .safetensors is wanted"):
        (tmp_path / "notes.txt").write_text("a")
        read_lora(tmp_path / "notes.txt", models)


@pytest.mark.parametrize(
    "alphas",
    [
        "no JSON",
        "[" * 100_000,
        json.dumps({"unet.lora_alpha": "one"}),
        json.dumps(
            {"unet.lora_alpha": 1, "unet.alpha_pattern": {"((((.+)+)+)+)+!": 2}}
        ),  # would run for ever
    ],
)
def test_alphas_that_nobody_writes_are_refused_at_once(pipeline, models, path, alphas):
    tiny_loras.save_peft(tiny_loras.draw(pipeline, pattern="attn2", components=["unet"]), path)
    save_file(load_file(path), path, metadata={"lora_adapter_metadata": alphas})
    with pytest.raises(InvalidRequest, match="what it says about its alphas cannot be read"):
        read_lora(path, models)


MODULE = "lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_q"


@pytest.mark.parametrize(
    "tensors",
    [
        {"lora_down.weight": torch.ones(2, 64), "lora_up.weight": torch.ones(64, 2), "alpha": torch.ones(2)},
        {"lora_down.weight": torch.ones(0, 64), "lora_up.weight": torch.ones(64, 0), "alpha": torch.ones(())},
        {"lora_down.weight": torch.ones(()), "lora_up.weight": torch.ones(()), "alpha": torch.ones(())},
    ],
)
def test_tensors_of_no_sense_are_refused_in_words(models, path, tensors):
    save_file({f"{MODULE}.{name}": tensor for name, tensor in tensors.items()}, path)
    with pytest.raises(InvalidRequest, match="does not fit this base model"):
        read_lora(path, models)
