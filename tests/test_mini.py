"""The built bundle: the published layout, and weights through which every input tells."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from diffusers import ControlNetModel
from photos import ASTRONAUT, NO_PEOPLE
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPImageProcessor, CLIPTokenizer, CLIPVisionModelWithProjection

from instantid import bundles, loading, mini


@pytest.fixture(scope="module")
def pipeline(tiny):
    return loading.load_pipeline(bundles.open_bundle(tiny), torch.float32)


def test_it_is_laid_out_as_the_published_bundle_is(tiny):
    assert (tiny / "base" / "model_index.json").is_file()
    assert (tiny / "ControlNetModel" / "diffusion_pytorch_model.safetensors").is_file()
    weights = torch.load(tiny / "ip-adapter.bin", weights_only=True)
    assert list(weights) == ["image_proj", "ip_adapter"]
    assert weights["image_proj"]["latents"].shape == (1, 16, 128)
    style = load_file(tiny / "ip-adapter-style.safetensors")
    assert {key: tuple(tensor.shape) for key, tensor in style.items() if "proj" in key} == {
        "image_proj.proj.weight": (4 * 64, 32),
        "image_proj.proj.bias": (4 * 64,),
        "image_proj.norm.weight": (64,),
        "image_proj.norm.bias": (64,),
    }
    assert {key.removeprefix("ip_adapter.") for key in style if key.startswith("ip_adapter.")} == set(
        weights["ip_adapter"]
    )
    bundle = bundles.open_bundle(tiny)
    assert bundle.untrained
    assert set(bundle.controlnets) == {"canny", "pose", "depth"}
    assert all(bundle.require(part).exists() for part in bundle.sources)


def test_what_the_description_says_is_what_was_asked_for(tmp_path):
    sizes = dataclasses.replace(mini.TINY, name="small", side=72, steps=9)
    faces = {"kind": "opencv", "path": "faces"}
    bundle = bundles.open_bundle(mini.build(tmp_path / "small", sizes, faces=faces))
    assert (bundle.name, bundle.faces.kind) == ("small", "opencv")
    assert (bundle.defaults.width, bundle.defaults.height, bundle.defaults.steps) == (72, 72, 9)


def test_the_same_seed_writes_the_same_files_and_another_one_other_weights(tmp_path):
    folders = [mini.build(tmp_path / f"{seed}-{i}", mini.TINY, seed=seed) for i, seed in enumerate((3, 3, 4))]
    first, again, other = (
        {file.relative_to(folder): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        for folder in folders
    )
    assert first == again
    weights = [file for file in first if file.suffix in {".safetensors", ".bin"}]
    assert weights and not [file for file in weights if first[file] == other[file]]


def test_building_again_replaces_all_of_the_old_one(tmp_path):
    folder = mini.build(tmp_path / "tiny", mini.TINY)
    (folder / "stray").write_text("left over")
    mini.build(folder, mini.TINY)
    assert not (folder / "stray").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["tiny"]


def test_an_untrained_controlnet_acts(tiny):
    """A new one's zero convolutions would hide every mistake in what it is given."""
    net = ControlNetModel.from_pretrained(tiny / "ControlNetModel")
    config = json.loads((tiny / "base" / "unet" / "config.json").read_text())
    sample, text = torch.randn(1, 4, 8, 8), torch.randn(1, 77, config["cross_attention_dim"])
    added = {"text_embeds": torch.randn(1, 32), "time_ids": torch.ones(1, 6)}

    def residuals(brightness: float) -> list[torch.Tensor]:
        picture = torch.full((1, 3, 64, 64), brightness)
        with torch.inference_mode():
            down, middle = net(sample, 500, text, picture, added_cond_kwargs=added, return_dict=False)
        return [*down, middle]

    for dark, bright in zip(residuals(0.0), residuals(1.0), strict=True):
        assert dark.abs().mean() > 0.05
        assert (dark - bright).abs().mean() > 0.01


@pytest.mark.parametrize(("number", "pad"), [("tokenizer", "<|endoftext|>"), ("tokenizer_2", "!")])
def test_tokenizers_write_anything_and_pad_as_sdxls_do(tiny, number, pad):
    tokenizer = CLIPTokenizer.from_pretrained(tiny / "base" / number)
    ids = tokenizer("a man in Paris", padding="max_length", truncation=True).input_ids
    assert len(ids) == tokenizer.model_max_length == 77
    assert (ids[0], tokenizer.pad_token, ids[-1]) == (tokenizer.bos_token_id, pad, tokenizer.pad_token_id)
    assert tokenizer.eos_token_id == max(tokenizer.get_vocab().values())  # where CLIP pools
    for text in ("a man in paris", "żółw 雪 🙂", "x" * 40):
        inside = tokenizer(text).input_ids[1:-1]
        assert inside and tokenizer.eos_token_id not in inside
        assert tokenizer.decode(inside).replace(" ", "") == text.replace(" ", "")


def test_words_tell(pipeline):
    def pooled(prompt: str) -> torch.Tensor:
        return pipeline.encode_prompt(prompt, device="cpu", do_classifier_free_guidance=False)[2]

    cat, dog = pooled("an old man in the snow"), pooled("a neon city")
    assert torch.cosine_similarity(cat, dog).item() < 0.9


def test_pictures_tell_in_the_space_of_words(tiny):
    encoder = CLIPVisionModelWithProjection.from_pretrained(tiny / "image_encoder")
    text = json.loads((tiny / "base" / "text_encoder_2" / "config.json").read_text())
    assert encoder.config.projection_dim == text["projection_dim"]
    side = encoder.config.image_size
    processor = CLIPImageProcessor(size=side, crop_size=side)

    def embed(path: Path) -> torch.Tensor:
        with torch.inference_mode():
            return encoder(
                processor(Image.open(path).convert("RGB"), return_tensors="pt").pixel_values
            ).image_embeds

    woman, rocket = embed(ASTRONAUT), embed(NO_PEOPLE[0])
    assert torch.cosine_similarity(woman, rocket).item() < 0.9
