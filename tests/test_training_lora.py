"""The LoRA stage: whom it learns from, that it learns, and that the engine and diffusers read what it writes."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny_prepared
import torch

from instantid import bundles, loading
from instantid.engine import Engine
from instantid.errors import InvalidRequest
from instantid.request import Lora, Person, Request
from instantid.training.lora import LoraTask, Options, without_lora
from instantid.training.prepared import Prepared

EVERYBODY = np.arange(20)


@pytest.fixture(scope="module")
def bundle(tiny, tmp_path_factory) -> Path:
    return shutil.copytree(tiny, tmp_path_factory.mktemp("bundles") / "own")


@pytest.fixture(scope="module")
def prepared(bundle, tmp_path_factory) -> Prepared:
    return tiny_prepared.prepare(tmp_path_factory.mktemp("prepared"), bundle, faceless=3)


def make(bundle, prepared, chosen=EVERYBODY, **options) -> LoraTask:
    return LoraTask(bundle, prepared, chosen, np.arange(0), Options(**{"persons": (1,)} | options))


def draw(task: LoraTask) -> LoraTask:
    """A LoRA begins at nothing; drawn weights change pictures."""
    generator = torch.Generator().manual_seed(3)
    for name, weight in task.named_parameters():
        if ".lora_B." in name:
            torch.nn.init.normal_(weight, std=0.3, generator=generator)
    return task


def predict(unet, text: torch.Tensor) -> torch.Tensor:
    noisy = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    added = {"text_embeds": text[:, 0, :32], "time_ids": torch.zeros(1, 6)}
    with torch.no_grad():
        return unet(noisy, 500, text, added_cond_kwargs=added).sample


def test_a_few_steps_bring_the_loss_down_and_only_the_lora_learns(bundle, prepared):
    task = make(bundle, prepared, rank=8)
    learned = {name for name, weight in task.named_parameters() if weight.requires_grad}
    assert learned and all(".lora_" in name and ".unet." in name for name in learned)

    def look() -> float:
        torch.manual_seed(5)
        with torch.no_grad():
            return task([0, 1, 2, 3])["loss"].item()

    before = look()
    optimizer = torch.optim.AdamW([w for w in task.parameters() if w.requires_grad], lr=1e-2)
    for step in range(40):
        torch.manual_seed(step)
        figures = task([0, 1, 2, 3])
        assert figures["loss"].item() == pytest.approx((figures["own"] + figures["prior"]).item())
        figures["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    assert look() < 0.95 * before


def test_the_engine_lays_it_over_its_base_like_any_other(bundle, prepared, face):
    draw(make(bundle, prepared, name="somebody", rank=4)).save(bundle)
    engine = Engine.load(bundle, device="cpu")

    def paint(*loras: Lora) -> np.ndarray:
        request = Request(people=[Person(references=[face])], prompt="a man", steps=2, seed=1, loras=loras)
        return np.asarray(engine.generate(request).images[0]).astype(int)

    source = str(bundle / "loras" / "somebody.safetensors")
    without = paint()
    assert (paint(Lora(source=source, strength=0)) == without).all()
    assert np.abs(paint(Lora(source=source, strength=1)) - without).max() > 8
    assert (paint() == without).all()


def test_diffusers_reads_it_too_with_its_alpha_and_both_text_encoders(bundle, prepared):
    task = draw(make(bundle, prepared, name="whole", rank=4, alpha=2.0, text_encoders=True))
    task.save(bundle)
    pipeline = loading.load_pipeline(bundles.open_bundle(bundle), torch.float32)
    plain = pipeline.encode_prompt("sks person", device="cpu", do_classifier_free_guidance=False)[0]
    text = torch.randn(1, 77, 64, generator=torch.Generator().manual_seed(1))
    base = predict(pipeline.unet, text)
    pipeline.load_lora_weights(bundle / "loras", weight_name="whole.safetensors")
    hidden, _, pooled, _ = pipeline.encode_prompt(
        "sks person", device="cpu", do_classifier_free_guidance=False
    )
    with torch.no_grad():
        told = task.denoiser.read(["sks person"])
    assert torch.allclose(hidden, told.hidden, atol=0.02) and torch.allclose(pooled, told.pooled, atol=0.02)
    assert torch.allclose(predict(pipeline.unet, text), predict(task.denoiser.unet, text), atol=0.02)
    assert (hidden - plain).abs().max() > 0.2
    assert (predict(pipeline.unet, text) - base).abs().max() > 0.2


def test_without_it_the_base_is_as_it_was_and_learning_goes_on_after(bundle, prepared):
    task = make(bundle, prepared)
    unet, text = task.denoiser.unet, torch.ones(1, 77, 64)
    before = predict(unet, text)  # a new LoRA changes nothing
    draw(task)
    assert (predict(unet, text) - before).abs().max() > 0.1
    with without_lora(unet):
        assert torch.equal(predict(unet, text), before)
    task([0])["loss"].backward()
    assert all(weight.grad is not None for weight in task.parameters() if weight.requires_grad)


def test_it_learns_from_a_few_photos_of_whom_it_is_told_and_others_keep_the_prior(bundle, prepared):
    def of(numbers) -> set[str]:
        return {prepared.records[i]["captions"]["terse"] for i in numbers}

    task = make(bundle, prepared, photos=3)
    assert task._chosen.tolist() == [1, 5, 13]  # 9 is a watercolour
    assert of(task._chosen) == {"a green disc"}
    assert of(task._others) == {"a red disc", "a blue disc", "a yellow disc"}
    assert all(prepared.records[i]["look"] == "photo" for i in task._others)
    assert make(bundle, prepared, photos=0, look="")._chosen.tolist() == [1, 5, 9, 13, 17]
    held_out = make(bundle, prepared, chosen=np.flatnonzero(prepared.persons != 1))
    assert held_out._chosen.tolist() == [*task._chosen.tolist(), 17]  # whom a baseline is measured on
    assert sorted(make(bundle, prepared, persons=(), prior=0, photos=1)._chosen) == [0, 1, 2]


def test_who_cannot_be_learned_is_said(bundle, prepared):
    with pytest.raises(InvalidRequest, match="no picture of person 3 in which a face was found"):
        make(bundle, prepared, persons=(1, 3))
    with pytest.raises(InvalidRequest, match=r"nobody else in the data.*prior to 0"):
        make(bundle, prepared, persons=())


def test_prompts_call_a_person_or_say_what_the_picture_shows(bundle, prepared):
    task = make(bundle, prepared)
    assert task._texts(np.array([1, 5]), "a photo of sks person") == ["a photo of sks person"] * 2
    told = task._texts(np.array([1, 2]), "sks, {caption}")
    assert [text.split()[:3] for text in told] == [["sks,", "a", "green"], ["sks,", "a", "blue"]]


def test_the_sheet_shows_photos_and_paintings_with_and_without(bundle, prepared):
    task = draw(make(bundle, prepared, photos=2))
    task.denoiser.paint = _few_steps(task.denoiser.paint)
    with torch.no_grad():
        sheet = np.asarray(task.sheet())
    assert sheet.shape == (3 * 66 - 2, 2 * 66 - 2, 3)
    assert (sheet[:64, :64] == prepared.images([1])[0]).all()
    assert np.abs(sheet[66:130].astype(int) - sheet[132:]).max() > 8


def _few_steps(paint):
    return lambda *conditions: paint(*conditions, steps=2)
