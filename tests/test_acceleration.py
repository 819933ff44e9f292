"""Plans. That every placement gives the same picture is in test_engine.py."""

import accelerate
import numpy as np
import pytest
import torch
from diffusers import (
    ControlNetModel,
    StableDiffusionXLControlNetImg2ImgPipeline,
    StableDiffusionXLControlNetInpaintPipeline,
    StableDiffusionXLControlNetPipeline,
)
from PIL import Image
from unions import make_union

from instantid import acceleration, bundles, loading
from instantid.acceleration import GIB, HEADROOM, Plan
from instantid.errors import InvalidRequest
from instantid.nets import Guide, Nets

CPU = torch.device("cpu")


@pytest.fixture
def pipeline(tiny):
    return loading.load_pipeline(bundles.open_bundle(tiny), torch.float32)


def test_a_plan_reads_well():
    cuda, cpu = torch.device("cuda"), torch.device("cpu")
    assert str(Plan(cuda, torch.float16, "resident")) == "NVIDIA GPU, float16"
    assert str(Plan(cuda, torch.bfloat16, "group offload")) == "NVIDIA GPU, bfloat16, group offload"
    assert str(Plan(cpu, torch.float32, "resident")) == "CPU, float32"


@pytest.mark.parametrize(
    ("cuda", "mps", "device", "dtype"),
    [
        (True, False, "cuda", torch.float16),
        (False, True, "mps", torch.float32),
        (False, False, "cpu", torch.float32),
    ],
)
def test_the_fastest_device_is_chosen_with_a_precision_that_suits_it(monkeypatch, cuda, mps, device, dtype):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    chosen = acceleration.choose_device()
    assert (chosen.type, acceleration.choose_dtype(chosen)) == (device, dtype)


@pytest.mark.parametrize(
    ("free", "placement"),
    [
        (11 * GIB + HEADROOM, "resident"),
        (11 * GIB + HEADROOM - 1, "model offload"),
        (8 * GIB + HEADROOM, "model offload"),
        (8 * GIB + HEADROOM - 1, "group offload"),
    ],
)
def test_the_placement_changes_exactly_where_room_runs_out(free, placement):
    device = torch.device("cuda")
    assert (
        acceleration.choose_placement(device=device, total=11 * GIB, working=8 * GIB, free=free) == placement
    )


def test_weights_are_counted_in_bytes(pipeline):
    halves = torch.nn.Linear(10, 20).half()
    assert acceleration.weight_bytes(halves) == (200 + 20) * 2
    assert acceleration.weight_bytes(halves, torch.nn.Linear(3, 1)) == 440 + 16


def test_free_memory_is_asked_for_on_the_device_and_weighed_against_the_weights(pipeline, monkeypatch):
    asked = []

    def memory(device: torch.device) -> tuple[int, int]:
        asked.append(device)
        return HEADROOM, 80 * GIB  # free, total: not one byte for weights

    monkeypatch.setattr(torch.cuda, "mem_get_info", memory)
    device = torch.device("cuda", 1)
    plan = acceleration.make_plan(pipeline, device, None)
    assert asked == [device]
    assert plan == Plan(device, torch.float32, "group offload")


def test_the_controlnets_a_request_may_add_are_counted(pipeline, monkeypatch):
    """They are needed beside the UNet: with them, less fits."""
    device = torch.device("cuda")
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    total = acceleration.weight_bytes(*parts)
    working = acceleration.weight_bytes(pipeline.unet, pipeline.controlnet)
    for free, extra, placement in (
        (total, 0, "resident"),
        (total, 1, "model offload"),
        (total + 1, 1, "resident"),
        (working, 0, "model offload"),
        (working, 1, "group offload"),
    ):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free + HEADROOM, 80 * GIB))
        assert acceleration.make_plan(pipeline, device, None, extra).placement == placement


def test_small_models_keep_off_a_card_that_is_short_of_memory():
    cuda = torch.device("cuda", 1)
    assert Plan(cuda, torch.float16, "resident").spare_device == cuda
    for placement in acceleration.PLACEMENTS[1:]:
        assert Plan(cuda, torch.float16, placement).spare_device == CPU


def test_a_chosen_placement_is_kept_and_only_the_leanest_tiles_the_vae(pipeline):
    for placement in acceleration.PLACEMENTS:
        plan = acceleration.make_plan(pipeline, torch.device("cpu"), placement)
        assert plan.placement == placement
        acceleration.place(plan, pipeline)
        assert pipeline.vae.use_tiling is (placement == "group offload")
        assert pipeline.vae.use_slicing, "several pictures are decoded one by one"
        pipeline.remove_all_hooks()


def test_as_many_pictures_are_painted_at_once_as_there_is_room_for():
    """By the figures in acceleration.py alone: on a card it was not measured."""
    cuda = torch.device("cuda")

    def at_once(gib: float, width: int = 1024, height: int = 1024, dtype: torch.dtype = torch.float16) -> int:
        plan = Plan(cuda, dtype, "resident", room=int(gib * GIB))
        return plan.pictures_at_once(width, height)

    assert [at_once(gib) for gib in (0, 2, 3.9, 4.1, 5.1, 6.1, 60)] == [1, 1, 1, 2, 3, 4, 4]
    assert at_once(4.1, dtype=torch.float32) == 1 and at_once(5.1, dtype=torch.float32) == 2
    assert at_once(9, 2048, 2048) == 1, "one of four megapixels keeps a card busy"
    assert at_once(3, 512, 512) == 1 and at_once(3.6, 512, 512) == 3
    assert at_once(60, 512, 512) == at_once(60, 128, 128) == 16 == acceleration.MAX_AT_ONCE


def test_what_is_asked_for_goes_before_what_there_is_room_for(pipeline):
    for asked in (1, 3, 16):
        plan = acceleration.make_plan(pipeline, CPU, "model offload", at_once=asked)
        assert plan.pictures_at_once(4096, 4096) == asked
    assert acceleration.make_plan(pipeline, CPU, None).pictures_at_once(64, 64) == 1
    for refused in (0, -1, 17):
        with pytest.raises(InvalidRequest, match=f"1 to 16 pictures can be painted at once; got {refused}"):
            acceleration.check_at_once(refused)


def test_room_is_what_all_weights_leave_on_a_card_where_they_stay(pipeline, monkeypatch):
    cuda = torch.device("cuda")
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    total = acceleration.weight_bytes(*parts)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (total + 5 * GIB, 80 * GIB))
    plan = acceleration.make_plan(pipeline, cuda, None, extra=GIB)
    assert (plan.placement, plan.room) == ("resident", 4 * GIB)
    assert acceleration.make_plan(pipeline, cuda, "model offload").room == 0
    assert acceleration.make_plan(pipeline, cuda, "group offload").pictures_at_once(64, 64) == 1
    assert acceleration.make_plan(pipeline, CPU, None).room == 0


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_memory_that_ran_out_is_told_from_other_problems(error, expected):
    assert acceleration.ran_out(error) is expected


def test_group_offload_is_applied_once_to_each_part(pipeline):
    plan = Plan(torch.device("cpu"), torch.float32, "group offload")
    acceleration.place(plan, pipeline)
    hooks = {name: len(m._diffusers_hook.hooks) for name, m in hooked(pipeline.unet).items()}
    assert hooks
    acceleration.place(plan, pipeline)
    assert {name: len(m._diffusers_hook.hooks) for name, m in hooked(pipeline.unet).items()} == hooks


def hooked(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "_diffusers_hook")}


class Studio:
    """Three pipelines over the same parts, with IdentityNet's place, a single net and a Union model."""

    def __init__(self, tiny, dtype: torch.dtype = torch.float32):
        base = loading.load_pipeline(bundles.open_bundle(tiny), dtype)
        nets = [
            ControlNetModel.from_pretrained(tiny / folder, dtype=dtype)
            for folder in ("ControlNetModel", "controlnets/canny")
        ]
        self.union = make_union(base.unet).to(dtype)
        self.map = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
        self.guides = [self.guide(nets[1]), self.guide(self.union, 0), self.guide(self.union, 3)]
        kinds = (
            StableDiffusionXLControlNetPipeline,
            StableDiffusionXLControlNetImg2ImgPipeline,
            StableDiffusionXLControlNetInpaintPipeline,
        )
        base.controlnet = Nets(nets[0], self.guides)
        self.pipelines = [kind(**base.components, add_watermarker=False) for kind in kinds]
        for pipeline in self.pipelines:
            pipeline.set_progress_bar_config(disable=True)

    def guide(self, net: torch.nn.Module, kind: int | None = None) -> Guide:
        return Guide(name="canny", net=net, map=self.map, strength=0.5, kind=kind)

    def use(self, guides: list[Guide]) -> None:
        """Other ControlNets, in all three."""
        for pipeline in self.pipelines:
            pipeline.controlnet = Nets(pipeline.controlnet.nets[0], guides)

    def paint(self, number: int, steps: int = 2, **settings) -> np.ndarray:
        """Latents, by the pipeline of that number."""
        pipeline = self.pipelines[number]
        maps = [self.map] * len(pipeline.controlnet.nets)
        told = {"image": maps} if number == 0 else {"image": self.map, "control_image": maps, "strength": 0.7}
        if number == 2:
            told["mask_image"] = self.map.convert("L")
        return (
            pipeline(
                "a man",
                **told,
                **settings,
                controlnet_conditioning_scale=[0.5] * len(maps),
                width=64,
                height=64,
                num_inference_steps=steps,
                generator=torch.Generator().manual_seed(0),
                output_type="latent",
            )
            .images.float()
            .numpy()
        )


@pytest.fixture(scope="module")
def resident(tiny) -> Studio:
    return Studio(tiny)


@pytest.mark.parametrize("placement", acceleration.PLACEMENTS)
def test_three_pipelines_over_the_same_parts_can_be_placed_and_used_in_any_order(tiny, resident, placement):
    studio, plan = Studio(tiny), Plan(CPU, torch.float32, placement)
    for number in (0, 1, 2, 0):
        acceleration.place(plan, studio.pipelines[number])
        assert np.array_equal(studio.paint(number), resident.paint(number))
    fewer, all_three = studio.guides[1:2], studio.guides
    for guides in (fewer, [], all_three):  # the ControlNets change between requests
        studio.use(guides)
        resident.use([resident.guides[studio.guides.index(guide)] for guide in guides])  # its own nets
        for number in (2, 0):
            acceleration.place(plan, studio.pipelines[number])
            assert np.array_equal(studio.paint(number), resident.paint(number))


@pytest.mark.parametrize("placement", acceleration.PLACEMENTS[1:])
def test_offloading_keeps_half_precision(tiny, placement):
    half = torch.bfloat16  # quicker than float16 on a CPU
    offloaded, plain = Studio(tiny, half), Studio(tiny, half)
    acceleration.place(Plan(CPU, half, placement), offloaded.pipelines[0])
    assert np.array_equal(offloaded.paint(0, steps=1), plain.paint(0, steps=1))
    assert {weight.dtype for weight in offloaded.union.parameters()} == {half}


@pytest.mark.parametrize("placement", acceleration.PLACEMENTS)
def test_what_a_broken_off_call_left_on_the_device_is_sent_home(tiny, monkeypatch, placement):
    """On the CPU nothing moves, so what accelerate is asked to send is watched."""
    studio, home = Studio(tiny), set()
    pipeline = studio.pipelines[0]
    acceleration.place(Plan(CPU, torch.float32, placement), pipeline)
    real = accelerate.hooks.CpuOffload.init_hook

    def sent_home(hook, module):
        home.add(id(module))
        return real(hook, module)

    monkeypatch.setattr(accelerate.hooks.CpuOffload, "init_hook", sent_home)
    with pytest.raises(KeyboardInterrupt):
        studio.paint(0, callback_on_step_end=interrupted)
    home.clear()
    acceleration.release(pipeline)
    moved = {id(part) for part in (pipeline.unet, pipeline.vae, pipeline.controlnet)}
    assert home >= moved if placement == "model offload" else not home


def interrupted(*_):
    raise KeyboardInterrupt


def test_attention_that_torch_computes_itself_travels_in_one_piece(pipeline):
    """The Union model's: its output layer is read, never called, so a hook of its own would leave it behind."""
    union = make_union(pipeline.unet)
    pipeline.controlnet = Nets(pipeline.controlnet, [Guide("pose", union, None, 0.5, kind=0)])
    acceleration.place(Plan(CPU, torch.float32, "group offload"), pipeline)
    attention = union.transformer_layes[0].attn
    assert isinstance(attention, torch.nn.MultiheadAttention)
    group = attention._diffusers_hook.get_hook("group_offloading").group
    travels = [*group.parameters, *(weight for part in group.modules for weight in part.parameters())]
    assert {id(weight) for weight in attention.parameters()} == {id(weight) for weight in travels}
