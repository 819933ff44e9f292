"""Style pictures: where they act, what is read off them, and what is taken out by words."""

import dataclasses
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionXLControlNetPipeline
from photos import ASTRONAUT, NO_PEOPLE
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from instantid import acceleration, branches, bundles, loading, mini, style_reference
from instantid.adapter_file import read_adapter, read_style_adapter
from instantid.bundles import StyleBlocks
from instantid.engine import Engine
from instantid.errors import BundleError, InvalidRequest
from instantid.request import Request, Result
from instantid.style_reference import StyleEncoder, acts_in

ROCKET, COFFEE = NO_PEOPLE[:2]
MODES = ("style", "layout", "style and layout", "whole image")
STYLE, LAYOUT = "up_blocks.0.attentions.1", "down_blocks.1.attentions.0"  # in the tiny bundle's UNet


@pytest.fixture(scope="module")
def bundle(tiny) -> bundles.Bundle:
    return bundles.open_bundle(tiny)


@pytest.fixture(scope="module")
def image_encoder(bundle) -> CLIPVisionModelWithProjection:
    return loading.load_image_encoder(bundle, torch.float32)


@pytest.fixture(scope="module")
def pipeline(bundle, image_encoder) -> StableDiffusionXLControlNetPipeline:
    """With both adapters, and diffusers' own way from a picture to its embedding."""
    pipeline = loading.load_pipeline(bundle, torch.float32)
    pipeline.register_modules(image_encoder=image_encoder)
    branches.attach(
        pipeline,
        [
            read_adapter(bundle.require("identity_adapter")),
            read_style_adapter(bundle.require("style_adapter")),
        ],
    )
    return pipeline


@pytest.fixture(scope="module")
def encoder(pipeline, image_encoder) -> StyleEncoder:
    return StyleEncoder(image_encoder, pipeline, device=torch.device("cpu"), resident=True)


@pytest.fixture(scope="module")
def rocket() -> Image.Image:
    return Image.open(ROCKET).convert("RGB")


@pytest.fixture
def asked(face) -> Request:
    return Request(people=[{"references": [face]}], style_image=ROCKET)


def blocks(unet, mode: str) -> set[str]:
    """The transformers in whose cross-attention a mode acts."""
    acts = acts_in(unet, mode)
    names = [name.removesuffix(".processor") for name in unet.attn_processors if "attn2" in name]
    return {name.split(".transformer_blocks")[0] for name in names if acts(name)}


@pytest.mark.parametrize(
    ("unet", "style", "layout"),
    [
        ("sdxl", "up_blocks.0.attentions.1", "down_blocks.2.attentions.1"),
        ("mini", "up_blocks.0.attentions.1", "down_blocks.2.attentions.0"),
        ("tiny", "up_blocks.0.attentions.1", "down_blocks.1.attentions.0"),
    ],
)
def test_blocks_are_found_in_a_unet_of_any_size(sdxl_unet, unet, style, layout):
    if unet == "sdxl":
        unet = sdxl_unet
    else:
        with torch.device("meta"):
            unet = mini.models.unet({"mini": mini.MINI, "tiny": mini.TINY}[unet])
    assert blocks(unet, "style") == {style}
    assert blocks(unet, "layout") == {layout}
    assert blocks(unet, "style and layout") == {style, layout}
    everywhere = {name.split(".transformer_blocks")[0] for name in unet.attn_processors}
    assert blocks(unet, "whole image") == everywhere > {style, layout}


def test_a_block_of_a_longer_name_is_another_block(sdxl_unet):
    acts = acts_in(sdxl_unet, "style")
    assert acts("up_blocks.0.attentions.1.transformer_blocks.9.attn2")
    assert not acts("up_blocks.0.attentions.10.transformer_blocks.0.attn2")


def test_a_bundle_may_say_where_style_and_layout_act(sdxl_unet):
    told = StyleBlocks(style=("up_blocks",), layout=("down_blocks.2", "mid_block"))
    assert acts_in(sdxl_unet, "style", told)("up_blocks.1.attentions.0.transformer_blocks.0.attn2")
    layout, both = acts_in(sdxl_unet, "layout", told), acts_in(sdxl_unet, "style and layout", told)
    acting = {name.split(".attentions")[0] for name in sdxl_unet.attn_processors if layout(name)}
    assert acting == {"down_blocks.2", "mid_block"}
    assert not layout("down_blocks.20.attentions.0.attn2")
    assert {name for name in sdxl_unet.attn_processors if both(name)} > {
        name for name in sdxl_unet.attn_processors if layout(name)
    }
    assert all(acts_in(sdxl_unet, "whole image", told)(name) for name in sdxl_unet.attn_processors)


def test_blocks_that_are_not_there_are_named(sdxl_unet):
    with pytest.raises(BundleError, match=r"style_blocks name up_block, but"):
        acts_in(sdxl_unet, "style", StyleBlocks(style=("up_block",), layout=("down_blocks",)))


def test_the_engine_asks_the_bundle_where_style_acts(bundle, face):
    """Nowhere near SDXL's place, and so another picture; and no part to be fetched."""
    told = bundle.model_copy(
        update={"style_blocks": StyleBlocks(style=("mid_block",), layout=("down_blocks",))}
    )
    assert "style_blocks" not in told.sources
    request = Request(
        people=[{"references": [face]}], style_image=ROCKET, style_strength=1.5, seed=1, steps=2
    )
    usual, other = (np.asarray(Engine.load(each).generate(request).images[0]) for each in (bundle, told))
    assert not np.array_equal(usual, other)


def predict(pipeline, style: torch.Tensor) -> torch.Tensor:
    """The UNet's answer with a style embedding, or several, (n, d), beside a face."""
    random = torch.Generator().manual_seed(0)
    sample, text = torch.randn(1, 4, 8, 8, generator=random), torch.randn(1, 77, 64, generator=random)
    face = torch.randn(1, 1, 1, 512, generator=random)
    added = {
        "text_embeds": torch.randn(1, 32, generator=random),
        "time_ids": torch.ones(1, 6),
        "image_embeds": [face, style.reshape(1, -1, 1, 32)],
    }
    with torch.inference_mode():
        return pipeline.unet(sample, 500, text, added_cond_kwargs=added).sample


FACE = branches.Source(torch.zeros(512), 0.8)


@pytest.mark.parametrize(
    ("mode", "scale"),
    [
        ("style", {"up": {"block_0": [0.0, 1.0]}}),
        ("layout", {"down": {"block_1": [1.0]}}),
        ("style and layout", {"down": {"block_1": [1.0]}, "up": {"block_0": [0.0, 1.0]}}),
        ("whole image", 1.0),
    ],
)
def test_a_mode_equals_diffusers_scales_of_that_mode(pipeline, encoder, asked, mode, scale):
    found = style_reference.sources(asked.replace(style_mode=mode), encoder, pipeline.unet)
    with branches.lend(pipeline, [[FACE], found], (64, 64)):
        ours = predict(pipeline, found[0].embedding)
        without = predict(pipeline, torch.zeros(32))
    pipeline.set_ip_adapter_scale([0.8, scale])
    assert torch.equal(ours, predict(pipeline, found[0].embedding))
    assert not torch.equal(ours, without)  # the picture tells


@pytest.mark.parametrize("mode", MODES)
def test_blocks_outside_the_mode_receive_nothing(pipeline, encoder, asked, mode):
    found = style_reference.sources(asked.replace(style_mode=mode), encoder, pipeline.unet)
    reached = reached_by_style(pipeline, found)
    assert (
        reached
        == {
            "style": {STYLE},
            "layout": {LAYOUT},
            "style and layout": {STYLE, LAYOUT},
            "whole image": {STYLE, LAYOUT, "up_blocks.0.attentions.0", "mid_block.attentions.0"},
        }[mode]
    )


def reached_by_style(pipeline, found: list[branches.Source]) -> set[str]:
    """The transformers in which the style adapter's keys or values are computed at all."""
    reached, hooks = set(), []
    for name, processor in pipeline.unet.attn_processors.items():
        if "attn2" in name:
            block = name.split(".transformer_blocks")[0]
            for layer in (processor.to_k_ip[1], processor.to_v_ip[1]):
                hooks.append(layer.register_forward_hook(lambda *_, block=block: reached.add(block)))
    try:
        with branches.lend(pipeline, [[FACE], found], (64, 64)):
            predict(pipeline, torch.stack([source.embedding for source in found]))
    finally:
        for hook in hooks:
            hook.remove()
    return reached


def test_two_pictures_share_out_style_and_layout(pipeline, encoder, asked, rocket):
    both = asked.replace(layout_image=COFFEE, style_strength=0.6, style_mode="whole image")
    style, layout = style_reference.sources(both, encoder, pipeline.unet)
    assert torch.equal(style.embedding, encoder.embed(rocket))
    assert torch.equal(layout.embedding, encoder.embed(Image.open(COFFEE).convert("RGB")))
    name = "{}.transformer_blocks.0.attn2"
    assert [style.strength_in(name.format(block)) for block in (STYLE, LAYOUT)] == [0.6, 0]
    assert [layout.strength_in(name.format(block)) for block in (STYLE, LAYOUT)] == [0, 0.6]
    assert reached_by_style(pipeline, [style, layout]) == {STYLE, LAYOUT}


def test_off_is_nothing_and_needs_no_encoder(asked):
    for off in (asked.replace(style_strength=0), asked.replace(style_strength=0, layout_image=COFFEE)):
        assert not style_reference.is_asked(off)
        assert style_reference.sources(off, None, None) == []
    plain = asked.replace(style_image=None)
    assert not style_reference.is_asked(plain) and style_reference.sources(plain, None, None) == []
    assert style_reference.is_asked(asked)


@pytest.mark.parametrize("photo", [ROCKET, COFFEE, ASTRONAUT])
def test_a_picture_is_read_as_diffusers_reads_it(pipeline, encoder, photo):
    picture = Image.open(photo).convert("RGB")
    with torch.no_grad():
        theirs, _ = pipeline.encode_image(picture, "cpu", 1)
    ours = encoder.embed(picture)
    assert torch.equal(ours, theirs[0])
    assert (ours.shape, ours.dtype) == ((32,), torch.float32)


@pytest.mark.parametrize("strength", [0.25, 1.0])
def test_words_are_taken_out_before_the_projection(pipeline, encoder, rocket, strength):
    with torch.no_grad():
        picture, _ = pipeline.encode_image(rocket, "cpu", 1)
        *_, words, _ = pipeline.encode_prompt("a red car", device="cpu", negative_prompt="")
    expected = picture[0].double() - strength * words[0].double()
    ours = encoder.embed(rocket, content="a red car", content_strength=strength)
    assert torch.allclose(ours.double(), expected, atol=1e-5)
    assert (ours - picture[0]).norm() > 0.1 * picture.norm()  # both weigh something: the test could fail


def test_no_words_or_no_strength_take_out_nothing(encoder, rocket):
    plain = encoder.embed(rocket)
    assert torch.equal(encoder.embed(rocket, content="a red car", content_strength=0), plain)
    assert torch.equal(encoder.embed(rocket, content="  ", content_strength=1), plain)


def test_content_is_taken_out_of_the_style_picture_alone(pipeline, encoder, asked, rocket):
    words = {"style_content": "a rocket", "style_content_strength": 0.7}
    style, layout = style_reference.sources(
        asked.replace(layout_image=COFFEE, **words), encoder, pipeline.unet
    )
    assert torch.equal(style.embedding, encoder.embed(rocket, content="a rocket", content_strength=0.7))
    assert torch.equal(layout.embedding, encoder.embed(Image.open(COFFEE).convert("RGB")))


def test_a_picture_is_opened_like_every_other(pipeline, encoder, asked, rocket):
    """Upright, and on white where it is transparent."""
    whole = rocket.convert("RGBA")
    whole.putalpha(0)
    white = Image.new("RGB", rocket.size, "white")
    [found] = style_reference.sources(asked.replace(style_image=whole), encoder, pipeline.unet)
    assert torch.equal(found.embedding, encoder.embed(white))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("car " * 90, "too long: .* tokens, where 77 can be read"),
        ("a \ud83d", "half a character at position 2"),
    ],
)
def test_words_that_cannot_be_read_are_refused(encoder, rocket, content, words):
    with pytest.raises(InvalidRequest, match=words):
        encoder.embed(rocket, content=content, content_strength=0.5)


def test_an_encoder_that_is_not_resident_goes_back_however_it_ends(
    pipeline, image_encoder, rocket, monkeypatch
):
    moves = []
    move = type(image_encoder).to
    monkeypatch.setattr(
        image_encoder, "to", lambda *to: moves.append(str(to[0])) or move(image_encoder, *to), raising=False
    )
    device = torch.device("cpu:0")
    StyleEncoder(image_encoder, pipeline, device=device, resident=False).embed(rocket)
    assert moves == ["cpu:0", "cpu"]
    StyleEncoder(image_encoder, pipeline, device=device, resident=True).embed(rocket)
    assert moves == ["cpu:0", "cpu", "cpu:0"]
    monkeypatch.setattr(image_encoder, "forward", lambda pixels: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        StyleEncoder(image_encoder, pipeline, device=device, resident=False).embed(rocket)
    assert moves[3:] == ["cpu:0", "cpu"]


@pytest.mark.parametrize("placement", ["model offload", "group offload"])
def test_words_are_read_wherever_the_text_encoder_is_kept(bundle, image_encoder, pipeline, rocket, placement):
    elsewhere = loading.load_pipeline(bundle, torch.float32)
    plan = acceleration.Plan(torch.device("cpu"), torch.float32, placement)
    acceleration.place(plan, elsewhere)
    placed = StyleEncoder(image_encoder, elsewhere, device=plan.device, resident=False)
    resident = StyleEncoder(image_encoder, pipeline, device=plan.device, resident=True)
    words = {"content": "a rocket", "content_strength": 0.5}
    assert torch.equal(placed.embed(rocket, **words), resident.embed(rocket, **words))


@pytest.fixture(scope="module")
def narrow() -> CLIPVisionModelWithProjection:
    """As vit-h is beside bigG: its embeddings are of another width than the text encoder's."""
    config = CLIPVisionConfig(
        hidden_size=32, intermediate_size=64, projection_dim=24, num_hidden_layers=1, num_attention_heads=2,
        image_size=32, patch_size=16,
    )  # fmt: skip
    return CLIPVisionModelWithProjection(config)


def test_words_need_an_encoder_that_shares_their_space(pipeline, narrow, rocket):
    other = StyleEncoder(narrow, pipeline, device=torch.device("cpu"), resident=True)
    assert other.embed(rocket).shape == (24,)
    with pytest.raises(
        InvalidRequest, match=r"image encoder gives 24 numbers, .* 32. Leave style_content empty"
    ):
        other.embed(rocket, content="a rocket", content_strength=0.5)


def test_an_encoder_that_does_not_go_with_the_adapter_is_refused(pipeline, narrow, asked):
    other = StyleEncoder(narrow, pipeline, device=torch.device("cpu"), resident=True)
    with pytest.raises(BundleError, match="gives 24 numbers for a picture, its style adapter reads 32"):
        style_reference.sources(asked, other, pipeline.unet)


def test_an_adapter_that_was_not_there_at_the_start_is_missed_aloud(bundle, encoder, asked):
    pipeline = loading.load_pipeline(bundle, torch.float32)
    branches.attach(pipeline, [read_adapter(bundle.require("identity_adapter"))])
    with pytest.raises(BundleError, match="fetched after this program had started"):
        style_reference.sources(asked, encoder, pipeline.unet)


@pytest.fixture
def copy(tiny, tmp_path) -> Path:
    """A bundle to change."""
    return shutil.copytree(tiny, tmp_path / "copy")


@pytest.mark.parametrize(
    ("lacking", "words"),
    [
        (("style_adapter",), "names no style_adapter. Add"),
        (("image_encoder",), "names no image_encoder. Add"),
        (("style_adapter", "image_encoder"), "names no style_adapter and no image_encoder. Add"),
    ],
)
def test_a_bundle_without_the_parts_says_what_to_add_and_type(copy, lacking, words):
    style_reference.check_bundle(bundles.open_bundle(copy))
    description = json.loads((copy / "bundle.json").read_text())
    (copy / "bundle.json").write_text(json.dumps({k: v for k, v in description.items() if k not in lacking}))
    with pytest.raises(BundleError, match=words) as told:
        style_reference.check_bundle(bundles.open_bundle(copy))
    assert f"instantid fetch --bundle {copy}" in str(told.value)


def test_a_part_that_was_not_fetched_is_told_with_its_command(copy):
    (copy / "ip-adapter-style.safetensors").unlink()
    with pytest.raises(BundleError, match=r"as its style_adapter, but there is nothing at"):
        style_reference.check_bundle(bundles.open_bundle(copy))


@pytest.mark.parametrize("half", [False, True])
def test_the_image_encoder_comes_in_the_precision_asked_for(bundle, rocket, encoder, pipeline, half):
    read = loading.load_image_encoder(bundle, torch.float16 if half else torch.float32)
    assert read.dtype == (torch.float16 if half else torch.float32) and not read.training
    other = StyleEncoder(read, pipeline, device=torch.device("cpu"), resident=True).embed(rocket)
    whole = encoder.embed(rocket)
    assert other.dtype == torch.float32
    assert torch.allclose(other, whole, atol=0.02 * whole.abs().max().item() if half else 0)


def test_an_image_encoder_that_lacks_weights_or_is_something_else_is_refused(copy):
    file = copy / "image_encoder" / "model.safetensors"
    weights = load_file(file)
    projection = weights.pop("visual_projection.weight")
    for more in ({}, {"visual_projection.weight": projection[:, :7].contiguous()}):
        save_file(weights | more, file, {"format": "pt"})
        with pytest.raises(BundleError, match=r"image encoder at .* lacks 1 .*visual_projection.weight"):
            loading.load_image_encoder(bundles.open_bundle(copy), torch.float32)
    shutil.rmtree(copy / "image_encoder")
    shutil.copytree(copy / "base" / "text_encoder_2", copy / "image_encoder")
    with pytest.raises(BundleError, match="it is no CLIP image encoder"):
        loading.load_image_encoder(bundles.open_bundle(copy), torch.float32)


@pytest.fixture(scope="module")
def engine(tiny) -> Engine:
    return Engine.load(tiny, device="cpu")


def pixels(result: Result) -> np.ndarray:
    """(images, h, w, 3) int16, so that differences do not wrap."""
    return np.stack([np.asarray(picture, dtype=np.int16) for picture in result.images])


def test_strength_0_is_exactly_off_and_a_style_is_given_back(engine, asked):
    plain = pixels(engine.generate(asked.replace(style_image=None)))
    styled = pixels(engine.generate(asked))
    assert np.abs(styled - plain).max() > 8
    off = asked.replace(style_strength=0, layout_image=COFFEE, style_content="a cat")
    assert np.array_equal(pixels(engine.generate(off)), plain)
    assert np.array_equal(pixels(engine.generate(asked.replace(style_image=None))), plain)
    assert np.array_equal(pixels(engine.generate(asked)), styled)


def test_every_mode_strength_and_picture_makes_another_picture(engine, asked):
    requests = [asked.replace(style_mode=mode) for mode in MODES]
    requests += [asked.replace(style_strength=0.4), asked.replace(style_image=COFFEE)]
    requests += [asked.replace(layout_image=COFFEE), asked.replace(style_content="a rocket")]
    made = [pixels(engine.generate(request)) for request in requests]
    for i, one in enumerate(made):
        assert all(np.abs(one - other).max() > 2 for other in made[:i]), requests[i]


def test_through_the_engine_blocks_outside_the_mode_receive_nothing(engine, asked):
    reached, hooks = set(), []
    for name, processor in engine._models.pipeline.unet.attn_processors.items():
        if "attn2" in name:
            block = name.split(".transformer_blocks")[0]
            hooks.append(processor.to_k_ip[1].register_forward_hook(lambda *_, b=block: reached.add(b)))
    try:
        for mode, expected in (("style", {STYLE}), ("layout", {LAYOUT})):
            reached.clear()
            engine.generate(asked.replace(style_mode=mode))
            assert reached == expected
        reached.clear()
        engine.generate(asked.replace(layout_image=COFFEE))
        assert reached == {STYLE, LAYOUT}
        reached.clear()
        engine.generate(asked.replace(style_strength=0))
        assert reached == set()
    finally:
        for hook in hooks:
            hook.remove()


def test_one_picture_for_both_is_the_same_as_that_picture_twice(engine, asked):
    both = pixels(engine.generate(asked.replace(style_mode="style and layout")))
    twice = pixels(engine.generate(asked.replace(layout_image=ROCKET)))
    assert np.abs(both - twice).max() <= 1


def test_several_images_of_a_run_each_repeat_alone_and_the_picture_is_read_once(engine, asked, monkeypatch):
    """InstantStyle's own code mixes up shapes where content is taken out of several images."""
    several = asked.replace(style_content="a rocket", layout_image=COFFEE, images=3, seed=5)
    engine.generate(several)  # the encoder is loaded with the first style picture
    reads = []
    monkeypatch.setattr(StyleEncoder, "embed", counting(StyleEncoder.embed, reads))
    made = pixels(engine.generate(several))
    assert len(reads) == 2  # style and layout
    for i in range(3):
        alone = pixels(engine.generate(several.replace(images=1, seed=5 + i)))
        assert np.array_equal(alone[0], made[i])
    assert np.abs(made[0] - made[1]).max() > 8


def counting(function, calls: list):
    def counted(*arguments, **options):
        calls.append(arguments)
        return function(*arguments, **options)

    return counted


@pytest.mark.parametrize(
    "changes",
    [
        {"guidance_scale": 1.0},
        {"face_region": False},
        {"identity_strength": 0, "adapter_strength": 0},
        {"controls": {"canny": {"strength": 0.5, "map": COFFEE}}, "layout_image": COFFEE},
        {"width": 72, "height": 104, "layout_image": COFFEE},
        {"free_pose": True},
        {"start_image": COFFEE, "start_strength": 0.7, "free_pose": True},
        {"upscale": 1.5, "upscale_strength": 0.7},
    ],
)
def test_a_style_goes_with_everything_else(engine, asked, changes):
    request = asked.replace(**changes)
    styled = pixels(engine.generate(request))
    off = request.replace(style_strength=0)
    assert np.abs(styled - pixels(engine.generate(off))).max() > 2
    plain = pixels(engine.generate(request.replace(style_image=None, layout_image=None)))
    assert np.array_equal(pixels(engine.generate(off)), plain)


def test_a_style_goes_with_several_people(engine, asked, face):
    other = dataclasses.replace(face, box=face.box + np.array([16, 0, 16, 0]), embedding=-face.embedding)
    people = [{"references": [face]}, {"references": [other]}]
    request = asked.replace(people=people, layout_image=COFFEE)
    plain = pixels(engine.generate(request.replace(style_strength=0)))
    assert np.abs(pixels(engine.generate(request)) - plain).max() > 2


def test_a_bundle_without_the_parts_makes_plain_pictures_and_says_why_no_styled_ones(copy, engine, asked):
    description = json.loads((copy / "bundle.json").read_text())
    for part in bundles.STYLE_PARTS:
        del description[part]
    (copy / "bundle.json").write_text(json.dumps(description))
    bare = Engine.load(copy, device="cpu")
    with pytest.raises(BundleError, match="cannot follow a style picture"):
        bare.generate(asked)
    plain = asked.replace(style_image=None)
    assert np.array_equal(pixels(bare.generate(plain)), pixels(engine.generate(plain)))
