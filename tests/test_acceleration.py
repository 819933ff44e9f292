"""Plans. That every placement gives the same picture is in test_engine.py."""

import pytest
import torch

from instantid import acceleration, bundles, loading
from instantid.acceleration import GIB, HEADROOM, Plan


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


def test_a_chosen_placement_is_kept_and_only_the_leanest_tiles_the_vae(pipeline):
    for placement in acceleration.PLACEMENTS:
        plan = acceleration.make_plan(pipeline, torch.device("cpu"), placement)
        assert plan.placement == placement
        assert pipeline.vae.use_tiling is (placement == "group offload")


def test_group_offload_is_applied_once_to_each_part(pipeline):
    plan = Plan(torch.device("cpu"), torch.float32, "group offload")
    acceleration.place(plan, pipeline)
    hooks = {name: len(m._diffusers_hook.hooks) for name, m in hooked(pipeline.unet).items()}
    assert hooks
    acceleration.place(plan, pipeline)
    assert {name: len(m._diffusers_hook.hooks) for name, m in hooked(pipeline.unet).items()} == hooks


def hooked(model: torch.nn.Module) -> dict[str, torch.nn.Module]:
    return {name: module for name, module in model.named_modules() if hasattr(module, "_diffusers_hook")}
