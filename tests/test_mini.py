"""The built bundle: the published layout, and weights through which every input tells."""

import dataclasses
import json

import pytest
import torch
from diffusers import ControlNetModel
from transformers import CLIPTokenizer

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
    assert bundles.open_bundle(tiny).untrained


def test_what_the_description_says_is_what_was_asked_for(tmp_path):
    sizes = dataclasses.replace(mini.TINY, name="small", side=72, steps=9)
    faces = {"kind": "opencv", "path": "faces"}
    bundle = bundles.open_bundle(mini.build(tmp_path / "small", sizes, faces=faces))
    assert (bundle.name, bundle.faces.kind) == ("small", "opencv")
    assert (bundle.defaults.width, bundle.defaults.height, bundle.defaults.steps) == (72, 72, 9)


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
