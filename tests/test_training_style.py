"""The style stage: which picture teaches which, where the adapter acts, and what the engine makes of it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from instantid import bundles, loading, mini
from instantid.adapter_file import check_style_fit, read_style_adapter
from instantid.engine import Engine
from instantid.errors import BundleError, InvalidRequest
from instantid.request import Request
from instantid.style_reference import StyleEncoder, acts_in
from instantid.training.denoising import Denoiser
from instantid.training.prepared import Example, Prepared, write_piece
from instantid.training.style import ADAPTER, Options, StyleTask, _embed, _given, _processors, unstyled

SIDE = 64
COLOURS = {"photo": (120, 120, 120), "Watercolor": (220, 60, 60), "Anime": (60, 60, 220)}
LOOKS = list(COLOURS)


def example(number: int) -> Example:
    """Each of four people in each of three looks; a look is a colour."""
    look = LOOKS[number % 3]
    noise = np.random.default_rng(number).integers(-30, 30, (SIDE, SIDE, 3))
    image = (np.array(COLOURS[look]) + noise).astype(np.uint8)
    attributes = {"noun": "woman", "hair": None if number % 2 else "long red hair"}
    record = {"caption": f"a woman, {look}", "look": look, "figures": [{"attributes": attributes}]}
    depth = np.zeros((SIDE, SIDE), np.uint8)
    return Example(image=image, face=None, person=number // 3, depth=depth, record=record)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> Prepared:
    folder = tmp_path_factory.mktemp("prepared")
    write_piece(folder / "colours", [example(number) for number in range(12)], width=4)
    levels = np.array([-2, 0, 2])[np.arange(12) % 3]  # of the looks, in what is to be painted
    latents = np.broadcast_to(levels[:, None, None, None], (12, 4, 8, 8))
    np.save(folder / "colours" / "latents.npy", latents.astype(np.float16))
    return Prepared(folder)


@pytest.fixture
def bundle(tiny, tmp_path) -> Path:
    return Path(shutil.copytree(tiny, tmp_path / "bundle"))


def task_for(bundle: Path, prepared: Prepared, **options) -> StyleTask:
    return StyleTask(bundle, prepared, np.arange(9), np.arange(9, 12), Options(**options))


def learn(task: StyleTask, steps: int) -> list[float]:
    learned = [weight for weight in task.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=1e-2)
    losses = []
    for step in range(steps):
        torch.manual_seed(step)
        loss = task(list(range(9)))["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    return losses


def test_pictures_are_read_once_as_the_style_reference_reads_them(bundle, prepared, monkeypatch):
    opened = bundles.open_bundle(bundle)
    image_encoder = loading.load_image_encoder(opened, torch.float32)
    _embed(prepared, image_encoder)
    pipeline = loading.load_pipeline(opened, torch.float32)
    encoder = StyleEncoder(image_encoder, pipeline, device=torch.device("cpu"), resident=True)
    for i in (0, 5):
        read = encoder.embed(Image.fromarray(prepared.images([i])[0]))
        assert np.allclose(prepared.picture_embeddings[i], read, atol=1e-4)
    written = prepared.pieces[0] / "picture_embeddings.npy"
    before = written.stat().st_mtime_ns
    _embed(prepared, image_encoder)
    assert written.stat().st_mtime_ns == before
    with torch.no_grad():
        next(image_encoder.parameters()).mul_(1.01)
    _embed(prepared, image_encoder)
    assert written.stat().st_mtime_ns > before  # another encoder says something else


def test_a_picture_of_the_same_look_is_of_another_person_and_never_held_out(bundle, prepared):
    task = task_for(bundle, prepared)
    torch.manual_seed(0)
    drawn = {task._alike(4) for _ in range(40)}
    assert drawn == {1, 7}  # 4 is person 1 in look 1; 10 is held out
    alone = StyleTask(bundle, prepared, np.arange(3), np.arange(9, 12), Options())
    assert [alone._alike(i) for i in range(3)] == [0, 1, 2]


def test_which_picture_is_read_follows_the_mode(bundle, prepared, monkeypatch):
    read = []
    for mode in ("style", "layout"):
        task = task_for(bundle, prepared, modes={mode: 1}, same_look=1)
        monkeypatch.setattr(task, "_embeddings", lambda pictures: read.append(pictures) or torch.zeros(3, 32))
        task([0, 4, 8])
    style, layout = read
    assert layout == [0, 4, 8]
    assert not set(style) & {0, 4, 8} and [i % 3 for i in style] == [0, 1, 2]


def test_blocks_of_its_own_are_learned_in_and_told_to_the_engine(bundle, prepared):
    blocks = {"style": ["up_blocks"], "layout": ["down_blocks", "mid_block"]}
    task = task_for(bundle, prepared, modes={"style": 1}, blocks=blocks)
    loud = {name for name, processor in _processors(task.denoiser.unet) if processor.to_k_ip[0].weight.any()}
    assert loud == {
        name for name in task.denoiser.unet.attn_processors if "up_blocks" in name and "attn2" in name
    }
    task.save(bundle)
    assert bundles.open_bundle(bundle).style_blocks.style == ("up_blocks",)
    again = task_for(bundle, prepared, fresh=False, modes={"style": 1})
    assert again._blocks == task._blocks


@pytest.mark.parametrize("mode", ["style", "layout"])
def test_where_no_mode_acts_nothing_is_learned_and_zeros_are_written(bundle, prepared, mode):
    task = task_for(bundle, prepared, modes={mode: 1, "whole image": 0})
    unet, acts = task.denoiser.unet, acts_in(task.denoiser.unet, mode)
    start = {name: tensor.clone() for name, tensor in unet.state_dict().items() if "to_k_ip" in name}
    learn(task, 3)
    task.save(bundle)
    written = read_style_adapter(bundle / ADAPTER)
    check_style_fit(written, unet, bundle / ADAPTER)
    silent = 0
    for number, name in enumerate(unet.attn_processors):
        if not name.endswith("attn2.processor"):
            continue
        keys = written["ip_adapter"][f"{number}.to_k_ip.weight"]
        assert bool(keys.any()) == acts(name)
        silent += not acts(name)
        if acts(name):
            assert not torch.equal(keys, start[f"{name}.to_k_ip.0.weight"])
    assert silent


def test_it_learns_looks_with_the_unet_as_it_was_and_goes_on_with_what_it_wrote(bundle, prepared):
    scheduler = bundle / "base" / "scheduler" / "scheduler_config.json"
    described = json.loads(scheduler.read_text()) | {"prediction_type": "v_prediction"}
    scheduler.write_text(
        json.dumps(described)
    )  # an untrained UNet can be told what to paint, not what the noise is
    # The text says nothing of the look, so the picture has to.
    options = {"modes": {"whole image": 1}, "same_look": 1, "unnamed": 1, "drop_image": 0, "drop_both": 0}
    task = task_for(bundle, prepared, **options)
    unet = task.denoiser.unet
    before = {name: weight.clone() for name, weight in unet.named_parameters() if not weight.requires_grad}

    def loss_with(pictures: list[int]) -> float:
        told = task.denoiser.read(["a woman"] * 3)
        latents = torch.from_numpy(prepared.latents([9, 10, 11])).float()
        torch.manual_seed(5)
        with torch.no_grad():
            losses = [
                task.denoiser.loss(latents, _given(told, task._embeddings(pictures)), task._options)
                for _ in range(8)
            ]
        return float(sum(losses))

    def telling() -> float:
        """How much worse a person nobody has seen is painted after somebody in another look."""
        return loss_with([10, 11, 9]) / loss_with([9, 10, 11])

    assert telling() < 1.01
    learn(task, 40)
    assert telling() > 1.02
    assert all(torch.equal(weight, before.get(name, weight)) for name, weight in unet.named_parameters())
    task.save(bundle)
    again = task_for(bundle, prepared, fresh=False, **options)
    torch.manual_seed(0)
    loss = task([0, 1])["loss"]
    torch.manual_seed(0)
    assert torch.allclose(again([0, 1])["loss"], loss, atol=1e-6)


def test_looks_are_foretold_from_pictures_and_learned_out_of_the_same_noise(bundle, prepared, monkeypatch):
    with pytest.raises(InvalidRequest, match="predicts v"):
        task_for(bundle, prepared, foretold=0.5)
    schedule = bundle / "base" / "scheduler" / "scheduler_config.json"
    schedule.write_text(json.dumps(json.loads(schedule.read_text()) | {"prediction_type": "v_prediction"}))
    task = task_for(bundle, prepared, foretold=1.0, modes={"whole image": 1})
    for own in (False, True):
        told = task._told.latents(torch.from_numpy(prepared.picture_embeddings[:9]), own=own)
        told = told.reshape(3, 3, -1).mean(dim=(0, 2))
        assert told[0] < told[1] < told[2], "photos are darkest, Anime is brightest"
    seen, compared = [], Denoiser.compared
    monkeypatch.setattr(
        Denoiser, "compared", lambda self, *told: (seen.append(told), compared(self, *told))[1]
    )
    losses = learn(task, 60)
    latents, where, given = seen[0]
    assert len(latents) == 10 and where.min() == 1
    assert torch.equal(given.hidden[:5], given.hidden[5:])
    read = given.adapters[0][:, 0, 0]
    assert torch.equal(read[:5].roll(1, dims=0), read[5:])
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:10])


def test_text_and_picture_are_dropped_as_asked(bundle, prepared, monkeypatch):
    told = {}

    def loss(latents, conditions, options):
        told["text"], told["pictures"] = conditions.hidden, conditions.adapters[0]
        return latents.sum()

    for drop, texts, pictures in (("image", True, False), ("text", False, True), ("both", False, False)):
        shares = {"drop_image": 0, "drop_text": 0, "drop_both": 0} | {f"drop_{drop}": 1}
        task = task_for(bundle, prepared, **shares)
        monkeypatch.setattr(task.denoiser, "loss", loss)
        task([0, 1, 2])
        empty = task.denoiser.read([""] * 3).hidden
        assert torch.equal(told["text"], empty) != texts
        assert bool(told["pictures"].any()) == pictures


def test_a_new_adapter_is_the_same_each_time(bundle, prepared):
    one = task_for(bundle, prepared).denoiser.unet.state_dict()
    torch.manual_seed(99)
    other = task_for(bundle, prepared).denoiser.unet.state_dict()
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_the_engine_paints_with_what_was_written(bundle, prepared, face):
    engine = Engine.load(bundle)
    asked = Request(
        people=[{"references": [face]}],
        seed=1,
        steps=2,
        width=64,
        height=64,
        style_image={"image": Image.fromarray(prepared.images([1])[0])},
    )
    before = engine.generate(asked).images[0]
    task = task_for(bundle, prepared)
    learn(task, 2)
    task.save(bundle)
    opened = bundles.open_bundle(bundle)
    assert opened.style_adapter == ADAPTER and opened.licences["style_adapter"] == mini.LICENCE
    after = Engine.load(bundle).generate(asked).images[0]
    assert np.abs(np.asarray(before, int) - np.asarray(after, int)).max() > 0


def test_the_sheet_has_a_row_for_styles_each_mode_and_none(bundle, prepared):
    task = task_for(bundle, prepared)
    with torch.no_grad():
        sheet = np.asarray(task.sheet())
    assert sheet.shape == (5 * SIDE + 4 * 2, 3 * SIDE + 2 * 2, 3)
    for x, colour in zip((0, SIDE + 2, 2 * (SIDE + 2)), sorted(COLOURS), strict=True):
        assert np.allclose(sheet[:SIDE, x : x + SIDE].mean(axis=(0, 1)), COLOURS[colour], atol=5)


def test_who_is_told_without_the_look():
    seen = {"noun": "man", "hair": "short grey hair"}
    assert unstyled({"figures": [{"attributes": seen}]}) == "a man with short grey hair"
    assert unstyled({"figures": [{"attributes": seen | {"hair": None}}]}) == "a man"
    assert unstyled({"figures": [{"attributes": seen}] * 2}) == "two people"
    assert unstyled({"caption": "my holiday"}) is None


def test_what_does_not_fit_is_said(bundle, prepared):
    with pytest.raises(InvalidRequest, match="more than 1 together"):
        Options(drop_image=0.6, drop_text=0.6)
    with pytest.raises(InvalidRequest, match="one of them above 0"):
        Options(modes={"style": 0})
    weights = load_file(bundle / ADAPTER)
    weights["image_proj.proj.weight"] = weights["image_proj.proj.weight"][:, :8].contiguous()
    save_file(weights, bundle / ADAPTER)
    with pytest.raises(BundleError, match="reads 8 numbers for a picture"):
        task_for(bundle, prepared, fresh=False)
