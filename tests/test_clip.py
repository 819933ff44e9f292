"""The CLIP stage: what it learns from, what it counts as right, what it writes."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import CLIPImageProcessor, CLIPTextModelWithProjection, CLIPVisionModelWithProjection

from instantid import bundles, loading, mini
from instantid.styles import load_styles
from instantid.training.clip import ClipTask, Options, _contrast, texts_of
from instantid.training.clip_measures import measure
from instantid.training.prepared import Example, Prepared, write_piece

COLOURS = {"red": (200, 30, 30), "green": (40, 160, 60), "blue": (40, 60, 200), "yellow": (220, 200, 40)}
HAIR = {"red": "red", "green": "grey", "blue": "black", "yellow": "blonde"}


def example(number: int) -> Example:
    """A disc of one of four colours on the left or on the right; its caption says which and where."""
    random = np.random.default_rng(number)
    colour, side = list(COLOURS)[number % 4], ("left", "right")[number // 4 % 2]
    y, x = np.mgrid[:72, :72]
    image = random.integers(90, 130, (72, 72, 3)).astype(np.uint8)
    image[np.hypot(y - random.integers(30, 42), x - (22 if side == "left" else 50)) < 14] = COLOURS[colour]
    captions = {"full": f"a {colour} coat looking {side}", "terse": f"a {colour} coat", "empty": ""}
    noun = "man" if side == "left" else "woman"
    seen = {"attributes": {"noun": noun, "hair": f"short {HAIR[colour]} hair"}}
    record = {"captions": captions, "look": "photo", "figures": [seen]}
    return Example(image=image, face=None, person=number, depth=np.zeros((72, 72), np.uint8), record=record)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    write_piece(folder / "discs", [example(number) for number in range(96)], width=4)
    return Prepared(folder)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory) -> Path:
    return mini.build(tmp_path_factory.mktemp("bundles") / "tiny", mini.TINY)


@pytest.fixture
def task(bundle, prepared) -> ClipTask:
    return ClipTask(bundle, prepared, np.arange(64), np.arange(64, 96), Options())


def learn(task: ClipTask, steps: int) -> list[float]:
    optimizer = torch.optim.AdamW(task.parameters(), lr=1e-3)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = task(np.random.default_rng(step).permutation(len(task))[:32].tolist())["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_it_learns_what_words_mean_and_pictures_it_never_saw_are_found_by_them(task, prepared):
    before = measure(task, prepared, np.arange(64, 96))
    losses = learn(task, 40)
    after = measure(task, prepared, np.arange(64, 96))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:5])
    assert after["pictures"] == 32 and after["@1_by_chance"] == pytest.approx(1 / 8)
    # By chance the first five hold one that is right every other time.
    # Colours are told apart, if not yet left and right: one of two at first, and both among the first five.
    for asked in ("text_to_picture", "picture_to_text"):
        assert before[f"{asked}@5"] < 0.7 and before[f"{asked}@1"] < 0.3
        assert after[f"{asked}@5"] == 1 and after[f"{asked}@1"] > 0.4
    # Both text encoders know them.
    with torch.no_grad():
        words = task._embed_first([f"a {colour} coat looking left" for colour in COLOURS])
        pictures = task.embed_pictures(prepared.images([64, 65, 66, 67]))
    assert (words @ pictures.T).argmax(dim=1).tolist() == [0, 1, 2, 3]


def test_what_is_measured_is_named_beside_chance(task, prepared):
    figures = measure(task, prepared, np.arange(64, 96))
    assert figures["hair_by_chance"] == 0.25 and figures["sex_by_chance"] == 0.5
    assert {"hair", "sex", "text_to_picture@5"} <= set(figures)
    assert "look@1" not in figures  # all of them are photos
    assert all(0 <= value <= 1 for name, value in figures.items() if name != "pictures")
    assert task.training


def test_pictures_that_share_a_caption_are_no_mistakes_for_each_other():
    true = torch.tensor([[1, 1, 0], [1, 1, 0], [0, 0, 1]], dtype=torch.bool)
    fair = torch.where(true, 20.0, 0.0)
    assert _contrast(fair, true) == pytest.approx(2 * np.log(2) / 3, abs=1e-3)  # as low as it can be
    assert _contrast(fair, torch.eye(3, dtype=torch.bool)) == pytest.approx(2 * np.log(2) / 3, abs=1e-3)
    # A model that sees no difference is not told to make one: nothing pulls its logits apart.
    logits = fair.clone().requires_grad_()
    _contrast(logits, true).backward()
    assert logits.grad.abs().max() < 1e-6
    _contrast(logits, torch.eye(3, dtype=torch.bool)).backward()
    assert logits.grad.abs().max() > 0.1


def test_draws_follow_the_seed_and_pictures_are_seen_in_part(task, prepared):
    def figures(seed: int) -> float:
        torch.manual_seed(seed)
        return task([0, 1, 2, 3])["loss"].item()

    assert figures(1) == figures(1) != figures(2)
    pictures = prepared.images(range(4))
    torch.manual_seed(0)
    augmented = task._augmented(pictures)
    plain = CLIPImageProcessor(size=64, crop_size=64)(list(pictures), return_tensors="pt").pixel_values
    assert augmented.shape == plain.shape
    assert 0.05 < (augmented - plain).abs().mean() < 0.6


def test_unchanged_pictures_are_as_the_style_reference_will_see_them(bundle, prepared):
    task = ClipTask(bundle, prepared, np.arange(8), np.arange(8), Options(crop=1, light=0))
    pictures = prepared.images(range(4))
    plain = CLIPImageProcessor(size=64, crop_size=64)(list(pictures), return_tensors="pt").pixel_values
    assert (task._augmented(pictures) - plain).abs().mean() < 0.06  # another filter, the same picture


def test_training_reads_some_patches_and_measuring_all(bundle, prepared):
    task = ClipTask(bundle, prepared, np.arange(8), np.arange(8), Options(patches=0.25))
    embeddings, lengths = task.image_encoder.vision_model.embeddings, []
    with task.image_encoder.vision_model.encoder.layers[0].register_forward_pre_hook(
        lambda module, inputs, named: lengths.append((inputs or (named["hidden_states"],))[0].shape[1]),
        with_kwargs=True,
    ):
        task([0, 1, 2])
        task.embed_pictures(prepared.images([0, 1, 2]))
    assert lengths == [1 + 16, 1 + 64]
    assert not embeddings._forward_hooks
    tokens = torch.arange(65.0)[None, :, None].expand(2, -1, 3)
    some = task._keep_some(embeddings, (), tokens)
    assert (some[:, 0] == 0).all() and some[:, 1:].min() >= 1
    assert all(len(each.unique()) == 17 for each in some[..., 0]) and not torch.equal(some[0], some[1])


def test_texts_come_out_in_the_order_they_went_in(task):
    texts = [" ".join(["a red coat"] * (1 + number % 7)) + f" {number}" for number in range(130)]
    with torch.no_grad():
        together = task.embed_texts(texts)
        alone = torch.cat([task.embed_texts([text]) for text in texts[::13]])
    assert torch.allclose(together[::13], alone, atol=1e-4)


def test_looks_are_also_told_by_their_preset_and_pictures_without_words_are_left_out(bundle, tmp_path):
    styles = load_styles()
    record = {"captions": {"full": "a man", "empty": ""}, "look": "Watercolor"}
    told = texts_of(record, styles)
    assert told["full"] == "a man" and told["preset"].startswith("watercolor painting of a person")
    assert texts_of({"caption": "my holiday"}, styles) == {"full": "my holiday"}
    assert texts_of({"caption": "", "look": "Watercolor"}, styles) == {}
    worded, wordless = example(0), dataclasses.replace(example(1), record={"caption": ""})
    write_piece(tmp_path / "two", [worded, wordless, worded], width=4)
    assert len(ClipTask(bundle, Prepared(tmp_path), np.arange(3), np.arange(3), Options())) == 2


def test_what_it_writes_is_loaded_as_a_bundle_and_is_what_it_learned(task, tmp_path, prepared):
    copy = mini.build(tmp_path / "copy", mini.TINY, seed=5)
    learn(task, 2)
    task.save(copy)
    pipeline = loading.load_pipeline(bundles.open_bundle(copy), torch.float32)
    text = "a red coat looking left"
    pooled = pipeline.encode_prompt(text, device="cpu", do_classifier_free_guidance=False)[2]
    with torch.no_grad():
        assert torch.allclose(
            torch.nn.functional.normalize(pooled, dim=-1), task.embed_texts([text]), atol=1e-5
        )
    encoder = CLIPVisionModelWithProjection.from_pretrained(copy / "image_encoder")
    for one, other in zip(encoder.parameters(), task.image_encoder.parameters(), strict=True):
        assert torch.equal(one, other)
    saved = json.loads((copy / "base" / "text_encoder_2" / "config.json").read_text())
    assert saved["architectures"] == [CLIPTextModelWithProjection.__name__]


def test_the_sheet_shows_a_row_for_each_asked_picture(task):
    sheet = task.sheet(texts=3, columns=5)
    assert sheet.size == (6 * 74 - 2, 3 * 74 - 2)


def test_with_locked_text_encoders_only_the_image_encoder_learns(bundle, prepared, tmp_path):
    """For a bundle whose UNet knows its text encoders, and that has no image encoder yet."""
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    shutil.rmtree(folder / "image_encoder")
    described = json.loads((folder / "bundle.json").read_text())
    (folder / "bundle.json").write_text(
        json.dumps({k: v for k, v in described.items() if k != "image_encoder"})
    )
    options = Options(locked=True, fresh=True, patches=1, crop=1, light=0)
    task = ClipTask(folder, prepared, np.arange(64), np.arange(64, 96), options)
    before = {name: value.clone() for name, value in task.state_dict().items()}
    losses = learn(task, 60)
    assert np.mean(losses[-10:]) < np.mean(losses[:10]) - 0.5
    changed = {
        name.split(".")[0] for name, value in task.state_dict().items() if not value.equal(before[name])
    }
    assert changed == {"image_encoder", "warmth"}
    task.save(folder)
    opened = bundles.open_bundle(folder)
    assert loading.load_image_encoder(opened, torch.float32).config.projection_dim == mini.TINY.text_width
    assert json.loads((folder / "bundle.json").read_text())["licences"]["image_encoder"]
