"""Several ControlNets as one, held against diffusers' own on the same inputs: equal to the bit."""

import copy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
    StableDiffusionXLControlNetUnionPipeline,
)
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from PIL import Image
from unions import make_union

from instantid import bundles, loading
from instantid.identity import Conditioning, IdentityNet
from instantid.nets import Guide, Nets

SIDE, STEPS = 64, 4
PIPELINES = {
    "txt2img": StableDiffusionXLControlNetPipeline,
    "img2img": StableDiffusionXLControlNetImg2ImgPipeline,
    "inpaint": StableDiffusionXLControlNetInpaintPipeline,
}
UNION_PIPELINE = StableDiffusionXLControlNetUnionPipeline  # diffusers' own for Union models


@pytest.fixture(scope="module")
def parts(tiny) -> SimpleNamespace:
    """The tiny base, three ControlNets with weights of their own, and a Union model."""
    base = loading.load_pipeline(bundles.open_bundle(tiny), torch.float32)
    folders = ("ControlNetModel", "controlnets/canny", "controlnets/pose")
    nets = [ControlNetModel.from_pretrained(tiny / folder) for folder in folders]
    return SimpleNamespace(base=base, unet=base.unet, nets=nets, union=make_union(base.unet))


@pytest.fixture(scope="module")
def inputs(parts) -> dict:
    """Of one step with guidance: a batch of two."""
    draw = torch.Generator().manual_seed(11)
    width = parts.unet.config.cross_attention_dim
    return {
        "sample": torch.randn(2, 4, 8, 8, generator=draw),
        "timestep": torch.tensor(500),
        "encoder_hidden_states": torch.randn(2, 7, width, generator=draw),
        "added_cond_kwargs": {
            "text_embeds": torch.randn(2, width // 2, generator=draw),
            "time_ids": torch.tensor([[64.0, 64, 0, 0, 64, 64]] * 2),
        },
        "maps": [torch.rand(2, 3, SIDE, SIDE, generator=draw) for _ in range(4)],
    }


def picture(seed: int) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))


def guide(net: torch.nn.Module, seed: int = 0, **settings) -> Guide:
    return Guide(name="canny", net=net, map=picture(seed), **{"strength": 0.5} | settings)


@torch.inference_mode()
def residuals(net: torch.nn.Module, inputs: dict, count: int, scales: list[float], **more):
    told = {name: value for name, value in inputs.items() if name != "maps"}
    maps = inputs["maps"][:count]
    return net(**told, controlnet_cond=maps, conditioning_scale=scales, return_dict=False, **more)


def same(one, other) -> bool:
    (down, mid), (more, middle) = one, other
    return len(down) == len(more) and all(map(torch.equal, [*down, mid], [*more, middle]))


@pytest.fixture
def runs(parts):
    """How often each net has run, by its place among the nets; the Union model's is "union"."""
    counts = {0: 0, 1: 0, 2: 0, "union": 0}
    named = dict(enumerate(parts.nets)) | {"union": parts.union}

    def count(name):
        def add(*_):
            counts[name] += 1

        return add

    hooks = [net.register_forward_hook(count(name)) for name, net in named.items()]
    yield counts
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_all_on_is_what_diffusers_adds(parts, inputs, dtype):
    nets = [copy.deepcopy(net).to(dtype) for net in parts.nets]
    told = inputs | {
        "sample": inputs["sample"].to(dtype),
        "encoder_hidden_states": inputs["encoder_hidden_states"].to(dtype),
        "maps": [each.to(dtype) for each in inputs["maps"]],
    }
    scales = [0.8, 0.4, 1.3]
    ours = residuals(Nets(nets[0], [guide(net) for net in nets[1:]]), told, 3, scales)
    assert same(ours, residuals(MultiControlNetModel(nets), told, 3, scales))
    assert ours[1].dtype == dtype and ours[1].abs().sum() > 0


def test_identity_alone_is_identity_itself(parts, inputs):
    alone = inputs | {"maps": inputs["maps"][0]}
    told = {name: value for name, value in alone.items() if name != "maps"}
    with torch.inference_mode():
        plain = parts.nets[0](
            **told, controlnet_cond=alone["maps"], conditioning_scale=0.8, return_dict=False
        )
    assert same(residuals(Nets(parts.nets[0], []), inputs, 1, [0.8]), plain)


@pytest.mark.parametrize("off", [0, 1, 2])
def test_a_scale_of_0_is_the_net_left_out_and_not_run(parts, inputs, runs, off):
    scales = [0.8, 0.4, 1.3]
    scales[off] = 0.0
    ours = residuals(Nets(parts.nets[0], [guide(net) for net in parts.nets[1:]]), inputs, 3, scales)
    assert [runs[i] for i in range(3)] == [int(i != off) for i in range(3)]
    left = [i for i in range(3) if i != off]
    told = inputs | {"maps": [inputs["maps"][i] for i in left]}
    multi = MultiControlNetModel([parts.nets[i] for i in left])
    assert same(ours, residuals(multi, told, 2, [scales[i] for i in left]))


def test_with_nothing_on_the_unet_gets_nothing(parts, inputs, runs):
    nets = Nets(parts.nets[0], [guide(parts.nets[1]), guide(parts.union, kind=1)])
    down, mid = residuals(nets, inputs, 3, [0.0, 0.0, 0.0])
    assert not any(runs.values())
    told = {name: value for name, value in inputs.items() if name != "maps"}
    with torch.inference_mode():
        added = parts.unet(
            **told, down_block_additional_residuals=down, mid_block_additional_residual=mid
        ).sample
        assert torch.equal(added, parts.unet(**told).sample)


def test_an_identity_of_strength_0_leaves_the_others_as_they_are(tiny, parts, inputs):
    """IdentityNet answers with bare zeros then, which take any shape."""
    net = IdentityNet.from_pretrained(tiny / "ControlNetModel")
    tokens = inputs["encoder_hidden_states"]
    net.conditioning = (Conditioning(tokens, None, 0.0, inputs["maps"][0][:1]),)
    ours = residuals(Nets(net, [guide(parts.nets[1])]), inputs, 2, [1.0, 0.4])
    told = inputs | {"maps": inputs["maps"][1:]}
    assert same(ours, residuals(MultiControlNetModel(parts.nets[1:2]), told, 1, [0.4]))


@pytest.mark.parametrize("kinds", [[3], [0, 1], [1, 0, 3]])
def test_the_union_model_serves_its_guides_in_one_pass_as_diffusers_would(parts, inputs, runs, kinds):
    nets = Nets(parts.nets[0], [guide(parts.union, kind=kind) for kind in kinds])
    scales = [0.6, 1.1, 0.3][: len(kinds)]
    ours = residuals(nets, inputs, 1 + len(kinds), [0.0, *scales])
    assert runs == {0: 0, 1: 0, 2: 0, "union": 1}
    types = torch.zeros(2, 6)
    types[:, kinds] = 1
    told = inputs | {"maps": inputs["maps"][1:]}
    theirs = residuals(
        parts.union, told, len(kinds), scales, control_type=types, control_type_idx=list(kinds)
    )
    assert same(ours, theirs)


def test_a_union_guide_that_is_off_is_left_out(parts, inputs):
    both = Nets(parts.nets[0], [guide(parts.union, kind=0), guide(parts.union, kind=3)])
    one = Nets(parts.nets[0], [guide(parts.union, kind=3)])
    told = inputs | {"maps": [inputs["maps"][0], inputs["maps"][2]]}
    ours = residuals(both, inputs, 3, [0.8, 0.0, 0.5])
    assert same(ours, residuals(one, told, 2, [0.8, 0.5]))
    assert not same(ours, residuals(both, inputs, 3, [0.8, 0.2, 0.5]))


def test_the_control_type_tells(parts, inputs):
    as_pose, as_depth = (Nets(parts.nets[0], [guide(parts.union, kind=kind)]) for kind in (0, 1))
    assert not same(*(residuals(each, inputs, 2, [0.0, 1.0]) for each in (as_pose, as_depth)))


def test_identity_single_nets_and_the_union_model_add_up(parts, inputs):
    guides = [guide(parts.union, kind=0), guide(parts.nets[1]), guide(parts.union, kind=3)]
    down, mid = residuals(Nets(parts.nets[0], guides), inputs, 4, [0.8, 0.5, 0.4, 0.3])
    alone = [
        residuals(Nets(parts.nets[0], guides), inputs, 4, scales)
        for scales in ([0.8, 0, 0, 0], [0, 0.5, 0, 0.3], [0, 0, 0.4, 0])
    ]
    assert torch.equal(mid, alone[0][1] + alone[1][1] + alone[2][1])
    assert all(torch.equal(got, a + b + c) for got, a, b, c in zip(down, *(each[0] for each in alone)))


def test_the_answer_can_be_asked_for_as_diffusers_record(parts, inputs):
    told = {name: value for name, value in inputs.items() if name != "maps"}
    nets = Nets(parts.nets[0], [])
    with torch.inference_mode():
        record = nets(**told, controlnet_cond=inputs["maps"][:1], conditioning_scale=[1.0])
    assert same(
        (record.down_block_res_samples, record.mid_block_res_sample), residuals(nets, inputs, 1, [1.0])
    )


def latents(
    parts, kind: str, controlnet: torch.nn.Module, *, guidance: float = 4.0, steps: int = STEPS, **settings
):
    """Run a pipeline over the shared parts. Maps are named by their seeds."""
    parts_of = parts.base.components | {"controlnet": controlnet}
    pipeline = (PIPELINES | {"union": UNION_PIPELINE})[kind](**parts_of, add_watermarker=False)
    pipeline.set_progress_bar_config(disable=True)
    width = parts.unet.config.cross_attention_dim
    draw = torch.Generator().manual_seed(2)
    text = {
        name: torch.randn(1, *shape, generator=draw)
        for name, shape in {
            "prompt_embeds": (7, width),
            "negative_prompt_embeds": (7, width),
            "pooled_prompt_embeds": (width // 2,),
            "negative_pooled_prompt_embeds": (width // 2,),
        }.items()
    }
    maps = [picture(seed) for seed in settings.pop("maps")]
    told = {"image": maps} if kind == "txt2img" else {"control_image": maps}
    if kind in ("img2img", "inpaint"):
        told |= {"image": picture(90), "strength": 1.0}
    if kind == "inpaint":
        mask = np.zeros((SIDE, SIDE), np.uint8)
        mask[16:48, 16:48] = 255
        told["mask_image"] = Image.fromarray(mask)
    return pipeline(
        **text,
        **told,
        **settings,
        width=SIDE,
        height=SIDE,
        num_inference_steps=steps,
        guidance_scale=guidance,
        generator=torch.Generator().manual_seed(1),
        output_type="latent",
    ).images


@pytest.mark.parametrize("guidance", [4.0, 1.0])
@pytest.mark.parametrize("kind", PIPELINES)
def test_every_pipeline_takes_them_in_its_own_nets_place(parts, kind, guidance):
    asked = {
        "maps": [1, 2, 3],
        "controlnet_conditioning_scale": [0.8, 0.4, 0.6],
        "control_guidance_start": [0.0, 0.0, 0.5],
        "control_guidance_end": [1.0, 0.5, 1.0],
        "guidance": guidance,
    }
    nets = Nets(parts.nets[0], [guide(net) for net in parts.nets[1:]])
    ours = latents(parts, kind, nets, **asked)
    assert torch.equal(ours, latents(parts, kind, MultiControlNetModel(parts.nets), **asked))
    asked["controlnet_conditioning_scale"] = [0.8, 0.0, 0.0]
    assert not torch.equal(ours, latents(parts, kind, nets, **asked))


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_net_runs_in_its_window_alone(parts, runs, kind):
    nets = Nets(parts.nets[0], [guide(net) for net in parts.nets[1:]])
    window = {"control_guidance_start": [0.0, 0.0, 0.75], "control_guidance_end": [1.0, 0.5, 1.0]}
    latents(parts, kind, nets, maps=[1, 2, 3], controlnet_conditioning_scale=[0.8, 0.4, 0.6], **window)
    assert runs == {0: STEPS, 1: STEPS // 2, 2: 1, "union": 0}


@pytest.mark.parametrize("kind", PIPELINES)
def test_a_net_of_strength_0_never_runs_and_changes_nothing(parts, runs, kind):
    both = Nets(parts.nets[0], [guide(parts.nets[1]), guide(parts.union, kind=3)])
    one = Nets(parts.nets[0], [guide(parts.nets[1])])
    off = latents(parts, kind, both, maps=[1, 2, 3], controlnet_conditioning_scale=[0.8, 0.4, 0.0])
    assert runs == {0: STEPS, 1: STEPS, 2: 0, "union": 0}
    out = latents(parts, kind, one, maps=[1, 2], controlnet_conditioning_scale=[0.8, 0.4])
    assert torch.equal(off, out)


@pytest.mark.parametrize("guidance", [4.0, 1.0])
@pytest.mark.parametrize(("kinds", "strengths"), [([3], [0.7]), ([0, 3], [0.7, 0.4])])
def test_the_union_model_paints_as_in_diffusers_own_pipeline(parts, guidance, kinds, strengths):
    maps = [2, 3][: len(kinds)]
    nets = Nets(parts.nets[0], [guide(parts.union, kind=kind) for kind in kinds])
    ours = latents(
        parts,
        "txt2img",
        nets,
        maps=[1, *maps],
        controlnet_conditioning_scale=[0.0, *strengths],
        guidance=guidance,
    )
    theirs = latents(
        parts,
        "union",
        parts.union,
        maps=maps,
        controlnet_conditioning_scale=strengths,
        guidance=guidance,
        control_mode=kinds,
    )
    assert torch.equal(ours, theirs)


@pytest.mark.parametrize("steps", [1, 4, 7])
@pytest.mark.parametrize("window", [(0.0, 1.0), (0.5, 0.6), (0.3, 0.62), (0.9, 1.0), (0.0, 0.1), (0.25, 0.5)])
def test_a_guide_knows_whether_its_window_holds_a_step(parts, runs, steps, window):
    start, end = window
    follows = guide(parts.nets[1], start=start, end=end)
    latents(
        parts,
        "txt2img",
        Nets(parts.nets[0], [follows]),
        maps=[1, 2],
        controlnet_conditioning_scale=[0.0, 0.5],
        control_guidance_start=[0.0, start],
        control_guidance_end=[1.0, end],
        steps=steps,
    )
    assert follows.acts_in(steps) is (runs[1] > 0)


def test_the_nets_are_those_given(parts):
    nets = Nets(parts.nets[0], [guide(parts.union, kind=0), guide(parts.union, kind=3)])
    assert isinstance(nets, MultiControlNetModel) and isinstance(nets.nets[0], ControlNetModel)
    assert [id(net) for net in nets.nets] == [id(parts.nets[0]), id(parts.union), id(parts.union)]
    own = sum(weight.numel() for weight in parts.union.parameters())
    assert sum(weight.numel() for weight in nets.parameters()) == own + sum(
        weight.numel() for weight in parts.nets[0].parameters()
    )
