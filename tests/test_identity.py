"""The identity adapter and IdentityNet on tiny models, without the engine around them."""

import dataclasses
import os
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline
from diffusers.image_processor import IPAdapterMaskProcessor
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional

from instantid import adapter_file, branches, bundles, faces, identity, images, loading, mini
from instantid.errors import BundleError, InvalidRequest

THREE_LEVELS = dataclasses.replace(
    mini.TINY,
    name="three",
    channels=(32, 32, 64),
    transformer_layers=(0, 1, 2),
    heads=(2, 2, 4),
    embedding=128,
)
Snapshot = dict[str, object]


@pytest.fixture(scope="module")
def three_levels(tmp_path_factory) -> Path:
    """SDXL's shape in small: attention of two depths at two of three levels, and faces as long as SFace's."""
    return mini.build(tmp_path_factory.mktemp("bundles") / "three", THREE_LEVELS)


@pytest.fixture(scope="module", params=["tiny", "three_levels"])
def bundle(request) -> bundles.Bundle:
    return bundles.open_bundle(request.getfixturevalue(request.param))


def load(bundle: bundles.Bundle) -> StableDiffusionXLControlNetPipeline:
    return loading.load_pipeline(bundle, torch.float32)


@pytest.fixture(scope="module")
def pipeline(bundle) -> StableDiffusionXLControlNetPipeline:
    """With the adapter attached."""
    return load(bundle)


@pytest.fixture(scope="module")
def attached(pipeline, bundle) -> identity.Identity:
    return identity.attach(pipeline, bundle.require("identity_adapter"), pipeline.controlnet)


@pytest.fixture(scope="module")
def bare(tiny) -> StableDiffusionXLControlNetPipeline:
    """Without an adapter; tests leave it so."""
    return load(bundles.open_bundle(tiny))


@pytest.fixture(scope="module")
def adapter(tiny) -> Path:
    return tiny / "ip-adapter.bin"


@pytest.fixture(scope="module")
def embedding(attached) -> np.ndarray:
    return np.random.default_rng(1).normal(size=attached.embedding_size).astype(np.float32)


def sitter(
    embedding: np.ndarray,
    face,
    *,
    size: tuple[int, int] = (64, 64),
    adapter_strength: float = 0.8,
    identity_strength: float = 0.8,
    mask: np.ndarray | None = None,
) -> identity.Sitter:
    return identity.Sitter(
        embedding=embedding,
        identity_strength=identity_strength,
        adapter_strength=adapter_strength,
        mask=mask,
        keypoint_map=faces.draw_keypoints(face.keypoints, *size),
    )


@contextmanager
def lent(pipeline, attached: identity.Identity, *sitters: identity.Sitter, canvas=(64, 64)):
    sources = attached.sources(sitters)
    with attached.lend(sitters), branches.lend(pipeline, [sources], canvas):
        yield sources


def paint(
    pipeline: StableDiffusionXLControlNetPipeline,
    attached: identity.Identity,
    *sitters: identity.Sitter,
    size: tuple[int, int] = (64, 64),
    seed: int = 0,
    guidance_scale: float = 5.0,
    steps: int = 2,
) -> torch.Tensor:
    """Latents (c, h, w) of a picture of `size`, (width, height)."""
    with lent(pipeline, attached, *sitters, canvas=size) as sources:
        return pipeline(
            prompt="a man",
            image=Image.new("RGB", size),
            ip_adapter_image_embeds=[
                branches.embeddings(
                    branches.Branch(sources, attached.embedding_size), guided=guidance_scale > 1
                )
            ],
            controlnet_conditioning_scale=1.0,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=torch.Generator("cpu").manual_seed(seed),
            width=size[0],
            height=size[1],
            output_type="latent",
        ).images[0]


def snapshot(pipeline: StableDiffusionXLControlNetPipeline) -> Snapshot:
    """All that an adapter could leave a trace in, and what the UNet answers."""
    unet = pipeline.unet
    random = torch.Generator().manual_seed(0)
    added = {"text_embeds": torch.randn(1, 32, generator=random), "time_ids": torch.ones(1, 6)}
    sample, text = torch.randn(1, 4, 8, 8, generator=random), torch.randn(1, 77, 64, generator=random)
    with torch.inference_mode():
        answer = unet(sample, 500, text, added_cond_kwargs=added).sample
    return {
        "repr": repr(unet),
        "config": dict(unet.config) | {"as attribute": unet.config.encoder_hid_dim_type},
        "pipeline": pipeline.to_json_string(),
        "components": {name: id(part) for name, part in pipeline.components.items()},
        "attributes": sorted(vars(unet)),
        "modules": sorted(unet._modules),
        "processors": {name: type(each) for name, each in unet.attn_processors.items()},
        "weights": {name: weight.data_ptr() for name, weight in unet.state_dict().items()},
        "hooks": sum(len(m._forward_pre_hooks) + len(m._forward_hooks) for m in unet.modules()),
        "answer": answer.numpy().tobytes(),
    }


def test_detach_is_the_exact_inverse_of_attach_twice_over(bundle):
    pipeline = load(bundle)
    before = snapshot(pipeline)
    for _ in range(2):
        identity.attach(pipeline, bundle.require("identity_adapter"), pipeline.controlnet)
        assert repr(pipeline.unet) != before["repr"]
        branches.detach(pipeline)
        after = snapshot(pipeline)
        assert {name for name in before if before[name] != after[name]} == set()


def test_a_second_adapter_is_refused(pipeline, attached, bundle):
    before = repr(pipeline.unet)
    with pytest.raises(RuntimeError, match="detach it first"):
        identity.attach(pipeline, bundle.require("identity_adapter"), attached.net)
    assert repr(pipeline.unet) == before


def test_flattened_safetensors_give_what_the_pickle_gives(bare, adapter, tmp_path, face):
    flat = tmp_path / "ip-adapter.safetensors"
    nested = torch.load(adapter, weights_only=True)
    save_file({f"{part}.{key}": tensor for part in nested for key, tensor in nested[part].items()}, flat)
    given = []
    for path in (adapter, flat):
        attached = identity.attach(bare, path, bare.controlnet)
        given.append((attached.tokens(face.embedding), paint(bare, attached, sitter(face.embedding, face))))
        branches.detach(bare)
    assert torch.equal(given[0][0], given[1][0])
    assert torch.equal(given[0][1], given[1][1])


class Trap:
    """A pickle of this runs a command where it is loaded without care."""

    def __init__(self, file: Path):
        self.file = file

    def __reduce__(self):
        return os.mkdir, (str(self.file),)


def test_a_pickle_that_would_run_code_is_refused_and_does_not_run(tmp_path):
    sprung, path = tmp_path / "sprung", tmp_path / "ip-adapter.bin"
    torch.save({"image_proj": Trap(sprung), "ip_adapter": {}}, path)
    with pytest.raises(BundleError, match=r"ip-adapter\.bin.*could run code"):
        adapter_file.read_adapter(path)
    assert not sprung.exists()


def without(part: str, *keys: str) -> Callable[[dict], object]:
    return lambda weights: weights | {part: {k: v for k, v in weights[part].items() if k not in keys}}


def reshaped(part: str, key: str, *shape: int) -> Callable[[dict], object]:
    return lambda weights: weights | {part: weights[part] | {key: torch.zeros(shape)}}


def deeper(weights: dict) -> object:
    extra = {
        k.replace("layers.3.", "layers.4."): v for k, v in weights["image_proj"].items() if ".3." in k[:9]
    }
    return weights | {"image_proj": weights["image_proj"] | extra}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda weights: {}, "no 'image_proj' weights"),
        (lambda weights: [1, 2], "no 'image_proj' weights"),
        (lambda weights: {"image_proj": 3, "ip_adapter": None}, "no 'image_proj' weights"),
        (lambda weights: {"unet.conv_in.weight": torch.zeros(3)}, "no 'image_proj' weights"),
        (lambda weights: {"image_proj": weights["image_proj"]}, "no 'ip_adapter' weights"),
        (lambda weights: weights | {"image_proj": {"proj.weight": torch.zeros(2, 2)}}, "lacks latents"),
        (without("image_proj", "latents"), "lacks latents"),
        (without("image_proj", "layers.2.0.to_q.weight"), "layers.2.0.to_q.weight"),
        (without("image_proj", "proj_out.bias"), "proj_out.bias"),
        (reshaped("image_proj", "layers.1.1.3.weight", 8, 8), "layers.1.1.3.weight"),
        (reshaped("image_proj", "layers.0.0.to_kv.weight", 256, 64), "layers.0.0.to_kv.weight"),
        (deeper, "5 layers"),
        (reshaped("image_proj", "proj_out.weight", 768, 128), "width 768, this base model wants 64"),
        (without("ip_adapter", "1.to_k_ip.weight"), r"1 of its attention weights differ.* 1\.to_k_ip"),
        (reshaped("ip_adapter", "1.to_v_ip.weight", 64, 96), r"1\.to_v_ip\.weight \(the file has \(64, 96\)"),
        (reshaped("ip_adapter", "99.to_v_ip.weight", 64, 64), r"99\.to_v_ip"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_by_name_and_changes_nothing(
    bare, adapter, tmp_path, change, words
):
    before, path = repr(bare.unet), tmp_path / "face-adapter.bin"
    torch.save(change(torch.load(adapter, weights_only=True)), path)
    with pytest.raises(BundleError, match=rf"face-adapter\.bin.*{words}"):
        identity.attach(bare, path, bare.controlnet)
    assert repr(bare.unet) == before


def test_an_adapter_made_for_another_unet_is_refused(bare, three_levels):
    with pytest.raises(BundleError, match=r"ip-adapter\.bin does not fit this base model"):
        identity.attach(bare, three_levels / "ip-adapter.bin", bare.controlnet)
    assert bare.unet.encoder_hid_proj is None


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
@pytest.mark.parametrize("part", [0.0, 0.5, 0.999])
def test_a_file_that_is_cut_short_is_damaged(adapter, tmp_path, suffix, part):
    whole = adapter.read_bytes()
    if suffix == ".safetensors":
        save_file({"image_proj.latents": torch.zeros(100)}, tmp_path / "whole")
        whole = (tmp_path / "whole").read_bytes()
    path = tmp_path / f"adapter{suffix}"
    path.write_bytes(whole[: int(part * len(whole))])
    with pytest.raises(BundleError, match=rf"adapter\{suffix} cannot be read; it looks damaged"):
        adapter_file.read_adapter(path)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_file_that_is_something_else_is_refused(tmp_path, suffix):
    path = tmp_path / f"adapter{suffix}"
    path.write_text("<html>Not found</html>")
    with pytest.raises(BundleError, match=rf"adapter\{suffix}"):
        adapter_file.read_adapter(path)


@pytest.mark.parametrize("suffix", [".bin", ".safetensors"])
def test_a_file_that_is_not_there_is_missing(tmp_path, suffix):
    with pytest.raises(BundleError, match=rf"adapter\{suffix} is missing"):
        adapter_file.read_adapter(tmp_path / f"adapter{suffix}")


def test_tokens_equal_the_originals_resampler(attached, bundle, embedding):
    weights = torch.load(bundle.require("identity_adapter"), weights_only=True)["image_proj"]
    both = torch.stack([torch.zeros(len(embedding)), torch.from_numpy(embedding)])[:, None].double()
    expected = oracle.resample(weights, both)
    tokens = attached.tokens(embedding)
    assert tokens.shape == expected.shape and tokens.dtype == torch.float32
    assert (tokens - expected).abs().max() < 1e-5


def test_the_unconditional_half_is_the_projection_of_nobody(attached, embedding):
    tokens = attached.tokens(embedding)
    nobody = attached.tokens(np.zeros_like(embedding))
    assert torch.equal(tokens[0], nobody[1])
    assert tokens[0].abs().max() > 0.1
    assert not torch.allclose(tokens[0], tokens[1], atol=0.1)


def test_the_embeddings_norm_matters(attached, embedding):
    tokens, normed = (attached.tokens(each)[1] for each in (embedding, embedding / np.linalg.norm(embedding)))
    assert (tokens - normed).abs().mean() > 0.01


def test_an_embedding_of_another_length_is_refused(attached):
    with pytest.raises(InvalidRequest, match=rf"of 7 numbers.*{attached.embedding_size}"):
        attached.tokens(np.zeros(7, np.float32))


def lent_state(pipeline, attached) -> tuple[int, str, int]:
    unet = pipeline.unet
    scales = [getattr(processor, "scale", None) for processor in unet.attn_processors.values()]
    return id(attached.net.conditioning), str(scales), sum(len(m._forward_pre_hooks) for m in unet.modules())


def test_what_is_lent_comes_back_when_a_call_fails(pipeline, attached, embedding, face):
    before = lent_state(pipeline, attached)
    guest = sitter(embedding, face, adapter_strength=0.3, mask=np.ones((64, 64), np.float32))
    with pytest.raises(ZeroDivisionError), lent(pipeline, attached, guest):
        during = lent_state(pipeline, attached)
        raise ZeroDivisionError
    assert all(then != now for then, now in zip(before, during, strict=True))
    assert lent_state(pipeline, attached) == before


def test_nothing_is_lent_where_the_face_is_refused(pipeline, attached, face):
    before = lent_state(pipeline, attached)
    with pytest.raises(InvalidRequest), attached.lend([sitter(np.zeros(3), face)]):
        pass
    assert lent_state(pipeline, attached) == before


def test_what_is_lent_within_gives_the_outer_one_back(pipeline, attached, embedding, face):
    inner = sitter(-embedding, face, adapter_strength=0.9, mask=np.ones((64, 64), np.float32))
    with lent(pipeline, attached, sitter(embedding, face, adapter_strength=0.3)):
        outer = lent_state(pipeline, attached)
        with lent(pipeline, attached, inner):
            assert lent_state(pipeline, attached) != outer
        assert lent_state(pipeline, attached) == outer


def test_identitynet_has_nothing_to_read_unless_it_is_lent(attached):
    with pytest.raises(RuntimeError, match=r"inside Identity\.lend"):
        attached.net(torch.zeros(1, 4, 8, 8), 500, torch.zeros(1, 77, 64))


@pytest.mark.parametrize("guidance_scale", [5.0, 1.0])
def test_identitynet_reads_the_face_and_without_guidance_its_conditional_half_alone(
    pipeline, attached, embedding, face, monkeypatch, guidance_scale
):
    seen, forward = [], ControlNetModel.forward

    def watched(self, sample, timestep, text, *rest, **inputs):
        seen.append(text)
        return forward(self, sample, timestep, text, *rest, **inputs)

    monkeypatch.setattr(ControlNetModel, "forward", watched)
    paint(pipeline, attached, sitter(embedding, face), guidance_scale=guidance_scale, steps=1)
    nobody, somebody = attached.tokens(embedding)
    assert torch.equal(seen[0], torch.stack([nobody, somebody] if guidance_scale > 1 else [somebody]))


def test_strength_zero_does_not_run_the_network(pipeline, attached, embedding, face, monkeypatch):
    nobody = sitter(embedding, face, identity_strength=0.0)
    off = paint(pipeline, attached, nobody)

    def forward(*_, **__):
        raise AssertionError("IdentityNet ran")

    monkeypatch.setattr(ControlNetModel, "forward", forward)
    assert torch.equal(paint(pipeline, attached, nobody), off)
    with pytest.raises(AssertionError, match="IdentityNet ran"):
        paint(pipeline, attached, sitter(embedding, face, identity_strength=0.01))


def test_at_adapter_strength_zero_identitynet_still_sees_the_face(pipeline, attached, embedding, face):
    one, other = (
        paint(pipeline, attached, sitter(each, face, adapter_strength=0), steps=1)
        for each in (embedding, -embedding)
    )
    assert (one - other).abs().max() > 1e-3


def test_a_region_of_nothing_equals_both_strengths_at_zero(pipeline, attached, embedding, face):
    nowhere = sitter(embedding, face, mask=np.zeros((64, 64), np.float32))
    nobody = sitter(embedding, face, adapter_strength=0, identity_strength=0.0)
    assert torch.equal(paint(pipeline, attached, nowhere), paint(pipeline, attached, nobody))


def test_a_region_of_everything_equals_no_region(pipeline, attached, embedding, face):
    everywhere = sitter(embedding, face, mask=np.ones((64, 64), np.float32))
    assert torch.equal(
        paint(pipeline, attached, everywhere), paint(pipeline, attached, sitter(embedding, face))
    )


def halves() -> list[np.ndarray]:
    left = np.zeros((64, 64), np.float32)
    left[:, :32] = 1
    return [left, 1 - left]


def test_two_of_one_person_each_in_a_half_equal_that_person_everywhere(pipeline, attached, embedding, face):
    twice = [sitter(embedding, face, mask=half) for half in halves()]
    whole = paint(pipeline, attached, sitter(embedding, face))
    # IdentityNet's residuals are resampled masks apart: equal but where the halves meet, and there nearly.
    assert (paint(pipeline, attached, *twice) - whole).abs().max() < 1e-4 * whole.abs().max()


def test_a_second_person_of_strength_zero_is_not_there(pipeline, attached, embedding, face):
    here, there = halves()
    alone = sitter(embedding, face, mask=here)
    absent = sitter(-embedding, face, mask=there, adapter_strength=0, identity_strength=0.0)
    assert torch.equal(paint(pipeline, attached, alone, absent), paint(pipeline, attached, alone))
    present = sitter(-embedding, face, mask=there)
    assert not torch.equal(paint(pipeline, attached, alone, present), paint(pipeline, attached, alone))


def test_each_person_has_their_own_keypoints_tokens_and_strength(
    pipeline, attached, embedding, face, monkeypatch
):
    seen, forward = [], ControlNetModel.forward

    def watched(self, sample, timestep, text, controlnet_cond, conditioning_scale, **inputs):
        seen.append((text[-1], controlnet_cond[-1], conditioning_scale))
        return forward(
            self, sample, timestep, text, controlnet_cond, conditioning_scale=conditioning_scale, **inputs
        )

    monkeypatch.setattr(ControlNetModel, "forward", watched)
    other = dataclasses.replace(face, keypoints=face.keypoints + 9)
    people = [
        sitter(embedding, face, mask=halves()[0]),
        sitter(-embedding, other, mask=halves()[1], identity_strength=0.4),
    ]
    paint(pipeline, attached, *people, steps=1)
    for person, (tokens, drawn, strength) in zip(people, seen, strict=True):
        assert torch.equal(tokens, attached.tokens(person.embedding)[1])
        drawn = (drawn * 255).round().permute(1, 2, 0).numpy()
        assert np.array_equal(drawn, np.asarray(person.keypoint_map))
        assert strength == person.identity_strength


@pytest.mark.parametrize("size", [(64, 64), (104, 72), (72, 104), (200, 64), (520, 512), (64, 328)], ids=str)
def test_the_region_lies_on_the_right_grid_at_every_level(pipeline, attached, embedding, face, size):
    """Against the grids that the UNet really uses, seen where its transformers take pictures in."""
    mask = images.box_mask(np.array([13, 20, 43, 51]), *size)
    blocks = [module for module in pipeline.unet.modules() if isinstance(module, Transformer2DModel)]
    grids, handed = {}, {}

    def see_grid(block, inputs):
        grids.update({part.attn2: tuple(inputs[0].shape[-2:]) for part in block.transformer_blocks})

    def see_mask(attention, inputs, options):
        handed[attention] = (inputs[0].shape[1], options["ip_adapter_masks"])

    guest = sitter(embedding, face, adapter_strength=1, identity_strength=0.0, mask=mask, size=size)
    with ExitStack() as watches, lent(pipeline, attached, guest, canvas=size):
        for block in blocks:
            watches.callback(block.register_forward_pre_hook(see_grid).remove)
            for part in block.transformer_blocks:
                hook = part.attn2.register_forward_pre_hook(see_mask, with_kwargs=True)
                watches.callback(hook.remove)
        paint(pipeline, attached, guest, size=size, steps=1)
    assert len(set(grids.values())) == len(pipeline.unet.config.block_out_channels) - 1
    assert handed.keys() == grids.keys()
    for attention, (queries, [column]) in handed.items():
        height, width = grids[attention]
        nearest = functional.interpolate(torch.from_numpy(mask)[None, None], (height, width), mode="nearest")
        assert queries == height * width
        assert torch.equal(column.flatten(), nearest.flatten())
        assert 0 < column.mean() < 1


def test_diffusers_takes_a_column_as_it_is():
    """It derives a grid from the column's area and aspect; no number of queries may make it miss."""
    random = torch.Generator().manual_seed(0)
    for queries in {h * w for h in range(2, 40) for w in range(2, 40)} | {4096, 4160, 16384, 65 * 64 * 4}:
        column = (torch.rand(1, queries, 1, generator=random) > 0.5).float()
        taken = IPAdapterMaskProcessor.downsample(column, 1, queries, 1)
        assert torch.equal(taken, column)


def test_noise_to_lead_away_from_reaches_both_ways_in(attached, embedding):
    noise = torch.rand(attached.embedding_size, generator=torch.Generator().manual_seed(3))
    assert torch.equal(attached.tokens(embedding, noise)[0], attached.tokens(noise.numpy())[1])
    twice = [branches.Source(torch.from_numpy(embedding), 1.0)] * 2
    rows = branches.embeddings(branches.Branch(twice, len(embedding), noise), guided=True)
    assert rows.shape == (2, 2, 1, len(embedding))
    assert torch.equal(rows[0], noise.expand(2, 1, -1))
    assert torch.equal(rows[1], torch.from_numpy(embedding).expand(2, 1, -1))
