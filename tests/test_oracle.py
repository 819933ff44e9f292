"""The oracle is only as good as this: exact answers where they are known, and sensitive to every input."""

from dataclasses import replace

import numpy as np
import oracle
import pytest
import torch
from diffusers import (
    ControlNetModel,
    EulerDiscreteScheduler,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from oracle import OracleInputs, original_image, original_latents
from PIL import Image, ImageDraw
from torch.nn import functional

from instantid import mini

SIDE = 64


@pytest.fixture(scope="module")
def bundle(tiny):
    return tiny


@pytest.fixture(scope="module")
def weights(bundle):
    return torch.load(bundle / "ip-adapter.bin", weights_only=True)


@pytest.fixture(scope="module")
def inputs(bundle):
    return OracleInputs(
        embedding=np.random.default_rng(0).normal(size=mini.TINY.embedding),
        keypoint_map=dots(20),
        text=oracle.encode_text(bundle, "a man, snow", "blurry"),
        noise=oracle.initial_noise(bundle, 1, width=SIDE, height=SIDE),
        width=SIDE,
        height=SIDE,
        steps=2,
        guidance_scale=5.0,
        identity_strength=0.8,
        adapter_strength=0.8,
    )


@pytest.fixture(scope="module")
def latents(bundle, inputs):
    return original_latents(bundle, inputs)


def dots(left, size=(SIDE, SIDE)):
    image = Image.new("RGB", size)
    draw = ImageDraw.Draw(image)
    for x, colour in ((left, "red"), (left + 24, "lime")):
        draw.ellipse((x - 8, 16, x + 8, 32), fill=colour)
    return image


def distance(a, b):
    """Largest difference, relative to the size of b's numbers."""
    return float((a - b).abs().max() / b.abs().max())


# Exact answers.


def test_resampler_equals_a_second_form_written_head_by_head(weights):
    w = {name: tensor.double() for name, tensor in weights["image_proj"].items()}
    faces = torch.randn(2, 3, mini.TINY.embedding, generator=torch.manual_seed(0), dtype=torch.float64)

    def norm(x, name):
        centred = x - x.mean(-1, keepdim=True)
        variance = (centred**2).mean(-1, keepdim=True)
        return centred / (variance + 1e-5).sqrt() * w[name + ".weight"] + w[name + ".bias"]

    x = torch.einsum("bnd,wd->bnw", faces, w["proj_in.weight"]) + w["proj_in.bias"]
    latents = torch.stack([w["latents"][0]] * 2)
    for i in range(4):
        block = f"layers.{i}.0."
        queries, own = norm(latents, block + "norm2"), norm(latents, block + "norm2")
        context = torch.cat([norm(x, block + "norm1"), own], 1)
        out = torch.zeros_like(latents)
        for head in range(2):
            rows = slice(64 * head, 64 * head + 64)
            q = torch.einsum("bqw,hw->bqh", queries, w[block + "to_q.weight"][rows])
            k = torch.einsum("bnw,hw->bnh", context, w[block + "to_kv.weight"][:128][rows])
            v = torch.einsum("bnw,hw->bnh", context, w[block + "to_kv.weight"][128:][rows])
            odds = torch.einsum("bqh,bnh->bqn", q, k).div(8).exp()
            heard = torch.einsum("bqn,bnh->bqh", odds / odds.sum(-1, keepdim=True), v)
            out += torch.einsum("bqh,wh->bqw", heard, w[block + "to_out.weight"][:, rows])
        latents = latents + out
        hidden = torch.einsum("bqw,fw->bqf", norm(latents, f"layers.{i}.1.0"), w[f"layers.{i}.1.1.weight"])
        hidden = hidden * (1 + torch.erf(hidden / 2**0.5)) / 2
        latents = latents + torch.einsum("bqf,wf->bqw", hidden, w[f"layers.{i}.1.3.weight"])
    tokens = norm(torch.einsum("bqw,cw->bqc", latents, w["proj_out.weight"]) + w["proj_out.bias"], "norm_out")
    torch.testing.assert_close(oracle.resample(weights["image_proj"], faces), tokens, rtol=0, atol=1e-12)


def test_resampler_equals_diffusers_own(bundle, weights):
    unet = UNet2DConditionModel.from_pretrained(bundle / "base" / "unet")
    theirs = unet._convert_ip_adapter_image_proj_to_diffusers(weights["image_proj"]).double()
    faces = torch.randn(2, 1, mini.TINY.embedding, generator=torch.manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(
            oracle.resample(weights["image_proj"], faces), theirs(faces), rtol=0, atol=1e-12
        )


@pytest.mark.parametrize("steps", [1, 3, 30, 150])
def test_euler_equals_diffusers_scheduler(bundle, steps):
    scheduler = EulerDiscreteScheduler.from_pretrained(bundle / "base" / "scheduler")
    scheduler.set_timesteps(steps)
    timesteps, sigmas = oracle.euler_schedule(bundle / "base/scheduler/scheduler_config.json", steps)
    assert timesteps.tolist() == scheduler.timesteps.tolist()
    # diffusers' table is float32: its smallest levels are differences of numbers near one.
    torch.testing.assert_close(sigmas.float(), scheduler.sigmas, rtol=3e-6, atol=1e-6)
    assert float((sigmas[0] ** 2 + 1).sqrt()) == pytest.approx(float(scheduler.init_noise_sigma), rel=1e-6)


def test_another_schedule_is_refused_not_guessed(tmp_path):
    EulerDiscreteScheduler(beta_schedule="scaled_linear", timestep_spacing="trailing").save_pretrained(
        tmp_path
    )
    with pytest.raises(ValueError, match="trailing"):
        oracle.euler_schedule(tmp_path / "scheduler_config.json", 3)


def test_without_the_adapter_attention_equals_diffusers(bundle, inputs):
    unet = UNet2DConditionModel.from_pretrained(bundle / "base" / "unet").double()
    added = {"text_embeds": inputs.text.pooled, "time_ids": torch.ones(1, 6)}
    outputs = []
    with torch.no_grad():
        for _ in range(2):
            outputs.append(
                unet(inputs.noise.double(), 500, inputs.text.prompt, added_cond_kwargs=added).sample
            )
            unet.set_attn_processor(oracle.PlainAttention())
    assert distance(*outputs) < 1e-12


def test_the_files_numbers_count_down_then_up_then_middle(bundle, weights):
    unet = UNet2DConditionModel.from_pretrained(bundle / "base" / "unet")
    places = [name.split(".")[0] for name in unet.attn_processors]
    assert sorted(set(places), key=places.index) == ["down_blocks", "up_blocks", "mid_block"]
    numbers = {int(name.split(".")[0]) for name in weights["ip_adapter"]}
    assert numbers == {i for i, name in enumerate(unet.attn_processors) if "attn2" in name}


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_both_strengths_zero_is_plain_sdxl(bundle, inputs, guidance_scale):
    off = replace(inputs, identity_strength=0.0, adapter_strength=0.0, guidance_scale=guidance_scale)
    plain = StableDiffusionXLPipeline.from_pretrained(bundle / "base").to(torch.float64)
    assert distance(original_latents(bundle, off), latents_of(plain, off)) < 2e-6


@pytest.mark.parametrize("guidance_scale", [1.0, 5.0])
def test_equals_diffusers_own_adapter_and_controlnet(bundle, weights, inputs, guidance_scale):
    """Diffusers has every part but IdentityNet's context, which a hook exchanges here."""
    asked = replace(inputs, guidance_scale=guidance_scale, identity_strength=0.7, adapter_strength=0.4)
    net = ControlNetModel.from_pretrained(bundle / "ControlNetModel")
    pipe = StableDiffusionXLControlNetPipeline.from_pretrained(bundle / "base", controlnet=net)
    pipe.load_ip_adapter(weights, subfolder=None, weight_name=None, image_encoder_folder=None)
    pipe.to(torch.float64)
    pipe.set_ip_adapter_scale(0.4)
    face = torch.tensor(asked.embedding).reshape(1, 1, -1)
    faces = torch.cat([torch.zeros_like(face), face]) if asked.guided else face
    tokens = oracle.resample(weights["image_proj"], faces)

    def give_face_tokens(module, args, kwargs):
        return args, kwargs | {"encoder_hidden_states": tokens}

    net.register_forward_pre_hook(give_face_tokens, with_kwargs=True)
    theirs = latents_of(
        pipe,
        asked,
        image=asked.keypoint_map,
        controlnet_conditioning_scale=0.7,
        ip_adapter_image_embeds=[faces[:, None]],  # (batch, images, vectors, width)
    )
    assert distance(original_latents(bundle, asked), theirs) < 2e-6


def latents_of(pipe, inputs, **more):
    pipe.set_progress_bar_config(disable=True)
    return pipe(
        prompt_embeds=inputs.text.prompt,
        negative_prompt_embeds=inputs.text.negative,
        pooled_prompt_embeds=inputs.text.pooled,
        negative_pooled_prompt_embeds=inputs.text.negative_pooled,
        latents=inputs.noise.double(),
        width=inputs.width,
        height=inputs.height,
        num_inference_steps=inputs.steps,
        guidance_scale=inputs.guidance_scale,
        output_type="latent",
        **more,
    ).images


def test_noise_is_what_diffusers_draws(bundle):
    pipe = StableDiffusionXLPipeline.from_pretrained(bundle / "base")
    pipe.scheduler.set_timesteps(3)
    theirs = pipe.prepare_latents(2, 4, 72, 88, torch.float32, "cpu", torch.Generator("cpu").manual_seed(7))
    ours = oracle.initial_noise(bundle, 7, width=88, height=72, images=2)
    assert torch.equal(ours * pipe.scheduler.init_noise_sigma, theirs)


def test_picture_is_rounded_as_diffusers_rounds():
    pixels = np.array([[[0.0, 0.5 / 255, 1.5 / 255], [2.5 / 255, 0.999, 1.0]]])
    assert np.asarray(oracle.to_picture(pixels)).tolist() == [[[0, 0, 2], [2, 255, 255]]]


def test_picture_equals_the_pipelines(bundle, inputs):
    off = replace(inputs, identity_strength=0.0, adapter_strength=0.0)
    plain = StableDiffusionXLPipeline.from_pretrained(bundle / "base").to(torch.float64)
    latents = latents_of(plain, off)
    theirs = plain.image_processor.postprocess(
        plain.vae.decode(latents / plain.vae.config.scaling_factor).sample.detach()
    )[0]
    ours = oracle.to_picture(original_image(bundle, off))
    assert ours.size == theirs.size == (SIDE, SIDE)
    assert np.abs(np.asarray(ours, int) - np.asarray(theirs, int)).max() <= 1


# Sensitive to every input.


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda inputs: {"keypoint_map": dots(28)}, id="keypoints move by 8 pixels"),
        pytest.param(lambda inputs: {"embedding": 1.5 * inputs.embedding}, id="norm of the embedding"),
        pytest.param(lambda inputs: {"embedding": inputs.embedding[::-1].copy()}, id="another face"),
        pytest.param(lambda inputs: {"identity_strength": 0.7}, id="identity strength"),
        pytest.param(lambda inputs: {"adapter_strength": 0.7}, id="adapter strength"),
        pytest.param(lambda inputs: {"face_box": (16, 16, 48, 48)}, id="face region"),
        pytest.param(lambda inputs: {"guidance_scale": 1.0}, id="guidance off"),
        pytest.param(lambda inputs: {"guidance_scale": 4.0}, id="guidance scale"),
        pytest.param(lambda inputs: {"steps": 3}, id="steps"),
        pytest.param(lambda inputs: {"noise": inputs.noise.flip(-1)}, id="noise"),
        pytest.param(lambda inputs: {"text": replace(inputs.text, prompt=inputs.text.negative)}, id="prompt"),
        pytest.param(
            lambda inputs: {"text": replace(inputs.text, negative=inputs.text.prompt)}, id="negative prompt"
        ),
        pytest.param(
            lambda inputs: {"text": replace(inputs.text, pooled=inputs.text.negative_pooled)}, id="pooled"
        ),
    ],
)
def test_notices(bundle, inputs, latents, change):
    assert distance(original_latents(bundle, replace(inputs, **change(inputs))), latents) > 1e-3


def test_each_strength_alone_lets_the_face_through(bundle, inputs):
    other = -inputs.embedding
    for identity, adapter, seen in ((0.8, 0.0, True), (0.0, 0.8, True), (0.0, 0.0, False)):
        asked = replace(inputs, identity_strength=identity, adapter_strength=adapter)
        same = torch.equal(
            original_latents(bundle, asked), original_latents(bundle, replace(asked, embedding=other))
        )
        assert same != seen


def test_without_guidance_the_negative_prompt_is_not_read(bundle, inputs):
    asked = replace(inputs, guidance_scale=1.0)
    other = replace(asked, text=replace(inputs.text, negative=inputs.text.prompt))
    assert torch.equal(original_latents(bundle, asked), original_latents(bundle, other))


def test_an_empty_face_region_is_both_strengths_zero(bundle, inputs):
    empty = original_latents(bundle, replace(inputs, face_box=(10, 10, 10, 40)))
    off = original_latents(bundle, replace(inputs, identity_strength=0.0, adapter_strength=0.0))
    assert torch.equal(empty, off)


def test_a_box_past_the_edge_is_cut_there():
    assert torch.equal(
        oracle.face_mask((-5.5, -3, 20.9, 30), 64, 48), oracle.face_mask((0, 0, 20, 30), 64, 48)
    )
    assert torch.equal(oracle.face_mask((10, 8, 99, 99), 64, 48), oracle.face_mask((10, 8, 64, 48), 64, 48))


def test_masks_of_multiples_of_32_are_the_originals():
    mask = oracle.face_mask((13, 21, 75, 90), 128, 96)
    residual = torch.ones(1, 1, 12, 16, dtype=torch.float64)
    middle_four = mask[0, 0].unfold(0, 8, 8).unfold(1, 8, 8)[..., 3:5, 3:5].mean((-1, -2))
    torch.testing.assert_close(oracle.masked(residual, mask)[0, 0], middle_four)
    by_length = oracle.masks_by_length(mask, (12, 16), 3)
    for step in (8, 16, 32):  # the original: scale_factor 1 / sqrt(pixels of the mask / pixels of the level)
        level = functional.interpolate(mask, scale_factor=1 / step, mode="nearest").reshape(1, -1, 1)
        assert torch.equal(by_length[level.shape[1]], level)
        assert torch.equal(level.flatten(), mask[0, 0, ::step, ::step].flatten())


@pytest.mark.parametrize("size", [(72, 88), (88, 72)])
def test_any_multiple_of_8_works_with_the_face_region(bundle, inputs, size):
    width, height = size
    asked = replace(
        inputs,
        width=width,
        height=height,
        keypoint_map=dots(20, size),
        noise=oracle.initial_noise(bundle, 1, width=width, height=height),
        face_box=(20, 20, 60, 60),
    )
    assert original_image(bundle, asked).shape == (height, width, 3)


def test_other_controlnets_see_text_but_neither_face_nor_region(bundle, inputs):
    off = replace(inputs, identity_strength=0.0, adapter_strength=0.0)
    canny = (bundle / "controlnets" / "canny", dots(12), 0.6)
    asked = replace(off, extra_controls=(canny,))
    drawn = original_latents(bundle, asked)
    assert distance(drawn, original_latents(bundle, off)) > 1e-3
    assert torch.equal(drawn, original_latents(bundle, replace(asked, embedding=-inputs.embedding)))
    assert torch.equal(
        drawn,
        original_latents(bundle, replace(inputs, extra_controls=(canny,), face_box=(10, 10, 10, 40))),
    )


def test_controlnets_add_up(bundle, inputs):
    """The same net twice at half strength is the net once."""
    off = replace(inputs, identity_strength=0.0)
    canny = (bundle / "controlnets" / "canny", dots(12))
    once = original_latents(bundle, replace(off, extra_controls=((*canny, 0.6),)))
    twice = original_latents(bundle, replace(off, extra_controls=((*canny, 0.3), (*canny, 0.3))))
    assert distance(twice, once) < 1e-12


def test_a_map_of_another_size_is_refused(bundle, inputs):
    with pytest.raises(ValueError, match="64x64"):
        original_latents(bundle, replace(inputs, keypoint_map=dots(20, (72, 64))))
