"""LoRAs and textual inversions over a pipeline: what they do, beside what, and that nothing of them stays."""

import os
import warnings

import pytest
import tiny_loras
import torch
from diffusers import StableDiffusionXLPipeline
from safetensors.torch import save_file
from torch import nn

from instantid import acceleration, branches, bundles, loading, prompts
from instantid.acceleration import Plan
from instantid.adapter_file import read_adapter
from instantid.errors import InvalidRequest
from instantid.tuning import COMPONENTS, Tuning

CPU = torch.device("cpu")
PROMPT = "a my-style man"
SOME = r"attn2|self_attn\.q|resnets\.0\.conv1"  # enough layers of every kind, and quicker than all of them


def load(tiny, dtype=torch.float32):
    return loading.load_pipeline(bundles.open_bundle(tiny), dtype)


@pytest.fixture
def pipeline(tiny):
    return load(tiny)


@pytest.fixture(scope="module")
def untouched(tiny):
    return load(tiny)


@pytest.fixture
def saved(untouched, tmp_path):
    def save(name: str, *, seed: int = 0, pattern: str = SOME, components=COMPONENTS, times: float = 1.0):
        pairs = tiny_loras.draw(untouched, seed=seed, pattern=pattern, components=components)
        pairs = {place: (down, times * up, alpha) for place, (down, up, alpha) in pairs.items()}
        return tiny_loras.save_kohya(pairs, tmp_path / f"{name}.safetensors"), pairs

    return save


@pytest.fixture
def word(tmp_path):
    path = tmp_path / "my-style.safetensors"
    vectors = 3 * torch.randn(2, 32, generator=torch.Generator().manual_seed(3))
    save_file({"clip_l": vectors, "clip_g": vectors.flip(0)}, path)
    return path


def picture(pipeline, *, adapter: bool = False) -> torch.Tensor:
    """Latents of a two-step run with the base model in `pipeline`, guided."""
    text = prompts.encode(pipeline, PROMPT, "blurry", device="cpu")
    parts = {name: part for name, part in pipeline.components.items() if name != "controlnet"}
    painter = StableDiffusionXLPipeline(**parts, add_watermarker=False)
    painter.set_progress_bar_config(disable=True)
    face = torch.linspace(-1, 1, 512).reshape(1, 1, 1, -1)
    return painter(
        **vars(text),
        ip_adapter_image_embeds=[torch.cat([0 * face, face]).to(pipeline.unet.dtype)] if adapter else None,
        num_inference_steps=2,
        generator=torch.Generator().manual_seed(0),
        height=64,
        width=64,
        output_type="latent",
    ).images.float()


def state(pipeline) -> list:
    models = [getattr(pipeline, component) for component in COMPONENTS]
    return [
        *(repr(model) for model in models),
        *("peft_config" in vars(model) for model in models),
        *(
            {name: (id(weight), weight.requires_grad) for name, weight in m.named_parameters()}
            for m in models
        ),
        *({name: weight.double().sum().item() for name, weight in m.state_dict().items()} for m in models),
        *(model.training for model in models),
        *(id(tokenizer) for tokenizer in (pipeline.tokenizer, pipeline.tokenizer_2)),
        *(model.get_input_embeddings().num_embeddings for model in models[1:]),
    ]


def loras_in(pipeline) -> set[str]:
    return {
        name for component in COMPONENTS for name in getattr(getattr(pipeline, component), "peft_config", ())
    }


def merge(pipeline, changes) -> None:
    """Add changes to the weights themselves."""
    for (component, name), change in changes.items():
        layer = getattr(pipeline, component).get_submodule(name)
        layer.weight = nn.Parameter(layer.weight + change.to(layer.weight))


@pytest.mark.parametrize("strength", [1.0, 0.35, -0.5])
def test_a_lora_does_what_merging_it_into_the_weights_does(tiny, pipeline, saved, strength):
    path, pairs = saved("style", pattern="")
    plain = picture(pipeline)
    Tuning(pipeline).use([(path, strength)])
    tuned = picture(pipeline)
    merged = load(tiny)
    merge(merged, tiny_loras.changes(pairs, strength))
    assert torch.allclose(tuned, picture(merged), atol=1e-3)
    assert (tuned - plain).abs().max() > 0.1


def test_several_add_up_each_with_its_strength(tiny, pipeline, saved):
    (first, ones), (second, others) = (
        saved("one"),
        saved("other", seed=1, pattern="attn2", components=["unet"]),
    )
    Tuning(pipeline).use([(first, 0.5), (second, -1.2)])
    merged = load(tiny)
    merge(merged, tiny_loras.changes(ones, 0.5))
    merge(merged, tiny_loras.changes(others, -1.2))
    assert torch.allclose(picture(pipeline), picture(merged), atol=1e-3)


def test_strength_zero_is_exactly_off_and_the_file_is_not_read(pipeline, tmp_path):
    before, plain = state(pipeline), picture(pipeline)
    assert Tuning(pipeline).use([(tmp_path / "not there.safetensors", 0.0)]) == []
    assert state(pipeline) == before
    assert torch.equal(picture(pipeline), plain)


def test_everything_comes_off_exactly_twice(pipeline, saved, word):
    (first, _), (second, _) = saved("one"), saved("other", seed=1, pattern="attn2")
    tuning, before, plain = Tuning(pipeline), state(pipeline), picture(pipeline)
    pictures = []
    for _ in range(2):
        tuning.use([(first, 0.7), (second, 0.4)], [word])
        pictures.append(picture(pipeline))
        assert not torch.equal(pictures[-1], plain)
        tuning.clear()
        assert state(pipeline) == before
        assert torch.equal(picture(pipeline), plain)
    assert torch.equal(*pictures)
    tuning.clear()
    assert state(pipeline) == before


def test_what_a_request_leaves_out_is_taken_off_and_the_order_of_requests_does_not_tell(
    pipeline, saved, word
):
    (first, _), (second, _), (unet, _) = (
        saved("one"),
        saved("other", seed=1, pattern="attn|_proj"),
        saved("third", seed=2, components=["unet"]),
    )
    wanted = [
        ([(first, 0.5), (second, 1.0)], [word]),
        ([(second, 1.0)], []),
        ([(unet, 1.0)], [word]),
        ([], []),
        ([(first, 0.5), (unet, 1.0)], []),
        ([(first, 0.9)], [word]),
    ]
    alone = []
    for request in wanted:
        tuning = Tuning(pipeline)
        tuning.use(*request)
        alone.append(picture(pipeline))
        tuning.clear()
    tuning, before = Tuning(pipeline), state(pipeline)
    for i in (0, 1, 2, 3, 4, 5, 1, 0, 3):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tuning.use(*wanted[i])
        assert torch.equal(picture(pipeline), alone[i]), i
    assert state(pipeline) == before


def test_files_stay_loaded_between_requests_while_only_strengths_change(pipeline, saved, word, monkeypatch):
    (first, _), (second, _) = saved("one"), saved("other", seed=1)
    tuning = Tuning(pipeline)
    tuning.use([(first, 0.5), (second, 0.5)], [word])
    names, before = loras_in(pipeline), picture(pipeline)
    layer = pipeline.unet.mid_block.attentions[0].proj_in
    vocabulary = pipeline.tokenizer
    tuning.use([(second, 0.1), (first, 1.0)], [word])
    assert pipeline.unet.mid_block.attentions[0].proj_in is layer
    assert pipeline.tokenizer is vocabulary
    assert loras_in(pipeline) == names and len(names) == 2
    assert not torch.equal(picture(pipeline), before)
    tuning.use([(first, 0.5), (second, 0.5)], [word])
    assert torch.equal(picture(pipeline), before)
    tuning.use([(first, 0.5)], [word])
    assert pipeline.unet.mid_block.attentions[0].proj_in is layer
    assert len(loras_in(pipeline)) == 1


def test_a_file_that_was_written_anew_is_read_anew(pipeline, saved):
    path, _ = saved("style")
    tuning = Tuning(pipeline)
    tuning.use([(path, 1.0)])
    before = picture(pipeline)
    saved("style", seed=5)
    os.utime(path, (1, 1))
    tuning.use([(path, 1.0)])
    assert not torch.equal(picture(pipeline), before)


def test_a_link_without_a_suffix_behind_it_is_read_as_in_the_hubs_cache(pipeline, saved, tmp_path):
    path, _ = saved("style")
    blob = path.rename(tmp_path / "0a1b2c")
    path.symlink_to(blob)
    Tuning(pipeline).use([(path, 1.0)])
    assert loras_in(pipeline)


def test_a_refused_file_leaves_everything_as_it_was(pipeline, saved, word, tmp_path):
    good, _ = saved("good")
    bad = tmp_path / "flux.safetensors"
    module = "transformer.single_transformer_blocks.0.attn.to_q"
    save_file({f"{module}.lora_A.weight": torch.ones(2, 4), f"{module}.lora_B.weight": torch.ones(4, 2)}, bad)
    tuning = Tuning(pipeline)
    tuning.use([(good, 0.5)], [word])
    before, tuned = state(pipeline), picture(pipeline)
    for loras, inversions in (
        ([(bad, 1.0)], []),
        ([(good, 1.0), (bad, 1.0)], []),
        ([], [tmp_path / "gone.pt"]),
        ([], [bad]),
        ([(good, 1.0), (good, 0.5)], []),
    ):
        with pytest.raises(InvalidRequest):
            tuning.use(loras, inversions)
        assert state(pipeline) == before
        assert torch.equal(picture(pipeline), tuned)


def test_a_change_that_fails_half_way_is_taken_back(pipeline, saved, monkeypatch):
    (first, _), (second, _) = saved("one"), saved("other", seed=1)
    tuning, before = Tuning(pipeline), state(pipeline)
    tuning.use([(first, 1.0)])

    def run_out_of_memory(*args, **kwargs):
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr("instantid.tuning.set_peft_model_state_dict", run_out_of_memory)
        with pytest.raises(MemoryError):
            tuning.use([(second, 1.0)])
    assert state(pipeline) == before
    tuning.use([(second, 1.0)])
    assert loras_in(pipeline)


def test_weights_without_a_place_are_told_of_in_every_request(pipeline, saved):
    path, pairs = saved("style")
    tiny_loras.save_kohya(pairs | {("unet", "label_emb.7"): (torch.ones(2, 2), torch.ones(2, 2), 1.0)}, path)
    tuning = Tuning(pipeline)
    for _ in range(2):
        (note,) = tuning.use([(path, 1.0)])
        assert "“style” have no place" in note
    assert tuning.use([]) == []


def test_an_embedding_that_nobody_calls_is_told_of(pipeline, word):
    tuning = Tuning(pipeline)
    tuning.use(inversions=[word])
    assert tuning.unused("a MY-STYLE man", "") == []
    assert tuning.unused("a man", "blurry") == [
        "The embedding “my-style” is chosen but called by neither prompt: write its name where it is to act."
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_loras_take_the_base_models_precision(tiny, saved, word, dtype):
    path, _ = saved("style", times=0.2)
    pipeline = load(tiny, dtype)
    plain = picture(pipeline)
    tuning = Tuning(pipeline)
    tuning.use([(path, 1.0)], [word])
    assert {weight.dtype for c in COMPONENTS for weight in getattr(pipeline, c).parameters()} == {dtype}
    tuned = picture(pipeline)
    assert tuned.isfinite().all() and not torch.equal(tuned, plain)
    tuning.clear()
    assert torch.equal(picture(pipeline), plain)


def test_beside_an_image_adapter_in_whatever_order_they_come_and_go(tiny, pipeline, saved):
    path, pairs = saved("style", components=["unet"])
    adapter = read_adapter(bundles.open_bundle(tiny).require("identity_adapter"))
    bare = state(pipeline)

    branches.attach(pipeline, [adapter])
    attached, with_adapter = state(pipeline), picture(pipeline, adapter=True)
    tuning = Tuning(pipeline)
    tuning.use([(path, 0.6)])
    both = picture(pipeline, adapter=True)
    assert not torch.equal(both, with_adapter)

    branches.detach(pipeline)  # another adapter while a LoRA is in place
    alone = picture(pipeline)
    branches.attach(pipeline, [adapter])
    assert torch.equal(picture(pipeline, adapter=True), both)

    tuning.clear()
    assert torch.equal(picture(pipeline, adapter=True), with_adapter)
    assert state(pipeline)[0] == attached[0]
    branches.detach(pipeline)
    assert state(pipeline) == bare

    tuning.use([(path, 0.6)])
    assert torch.equal(picture(pipeline), alone)
    branches.attach(pipeline, [adapter])
    assert torch.equal(picture(pipeline, adapter=True), both)
    merged = load(tiny)
    merge(merged, tiny_loras.changes(pairs, 0.6))
    branches.attach(merged, [adapter])
    assert torch.allclose(both, picture(merged, adapter=True), atol=1e-3)


@pytest.mark.parametrize("placement", ["model offload", "group offload"])
def test_every_placement_gives_the_same_pictures_however_loras_come_and_go(
    tiny, pipeline, saved, word, placement
):
    (first, _), (second, _) = saved("one"), saved("other", seed=1, pattern="attn|_proj")
    wanted = [
        ([(first, 0.5)], []),
        ([(second, 1.0), (first, 0.2)], [word]),
        ([], [word]),
        ([(second, 0.5)], []),
        ([], []),
    ]
    resident = Tuning(pipeline)
    expected = []
    for request in wanted:
        resident.use(*request)
        expected.append(picture(pipeline))

    offloaded = load(tiny)
    plan = Plan(CPU, torch.float32, placement)
    tuning = Tuning(offloaded)
    acceleration.place(plan, offloaded)
    for request, latents in zip(
        [*wanted, wanted[0], wanted[-1]], [*expected, expected[0], expected[-1]], strict=True
    ):
        tuning.use(*request)
        acceleration.place(plan, offloaded)
        assert torch.equal(picture(offloaded), latents)
    if placement == "group offload":
        bare = load(tiny)
        acceleration.place(plan, bare)
        assert hooked(offloaded) == hooked(bare)


def hooked(pipeline) -> dict[str, list[str]]:
    """The offloading hooks of each module."""
    return {
        f"{component}.{name}": sorted(module._diffusers_hook.hooks)
        for component in COMPONENTS
        for name, module in getattr(pipeline, component).named_modules()
        if hasattr(module, "_diffusers_hook") and module._diffusers_hook.hooks
    }


def test_group_offload_moves_a_loras_layers_like_the_base_models(pipeline, saved):
    path, _ = saved("style")
    tuning = Tuning(pipeline)
    acceleration.place(Plan(CPU, torch.float32, "group offload"), pipeline)
    tuning.use([(path, 1.0)])
    layers = [
        module
        for component in COMPONENTS
        for name, module in getattr(pipeline, component).named_modules()
        if ".lora_" in name and isinstance(module, nn.Linear | nn.Conv2d)
    ]
    assert len(layers) > 50
    assert all(module._diffusers_hook.get_hook("group_offloading") for module in layers)
