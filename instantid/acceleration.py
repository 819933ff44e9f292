"""Where weights live and in what precision: what changes speed and memory, never meaning."""

from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLControlNetPipeline
from diffusers.hooks import apply_group_offloading

from .errors import BundleError

Placement = Literal["resident", "model offload", "group offload"]
PLACEMENTS: tuple[Placement, ...] = ("resident", "model offload", "group offload")
GIB = 2**30
HEADROOM = 3 * GIB  # activations of a guided step and of the VAE at one megapixel in half precision [judged]


@dataclass(frozen=True)
class Plan:
    """The device that computes, the precision of the weights, and how the weights reach the device."""

    device: torch.device
    dtype: torch.dtype
    placement: Placement

    @property
    def spare_device(self) -> torch.device:
        """Where small models beside the pipeline run: a card that is short of memory is left to it (InstantID#61)."""
        return self.device if self.placement == "resident" else torch.device("cpu")

    def __str__(self) -> str:
        precision = str(self.dtype).removeprefix("torch.")
        where = {"cuda": "NVIDIA GPU", "mps": "Apple GPU", "cpu": "CPU"}.get(
            self.device.type, str(self.device)
        )
        return f"{where}, {precision}" + ("" if self.placement == "resident" else f", {self.placement}")


def choose_device() -> torch.device:
    """The fastest device at hand: CUDA, then Apple's, then the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def check_device(name: str) -> None:
    """Refuse a device that torch does not know, or that this machine lacks.

    Raises:
        BundleError: says what there is.
    """
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    usable = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if device is None or (device.index or 0) >= usable.get(device.type, 0):
        there = " and ".join(kind for kind, count in usable.items() if count)
        raise BundleError(
            f"There is no device “{name}” that can be used here: this machine has {there}. Leave it out for "
            "the fastest."
        )


def choose_dtype(device: torch.device) -> torch.dtype:
    """float16 on CUDA; float32 elsewhere: Apple GPUs give black pictures in half precision (InstantID#22)."""
    return torch.float16 if device.type == "cuda" else torch.float32


def choose_placement(*, device: torch.device, total: int, working: int, free: int) -> Placement:
    """How to place weights of `total` bytes, of which one step needs `working`, in `free` bytes of memory."""
    if device.type != "cuda" or free >= total + HEADROOM:
        return "resident"
    return "model offload" if free >= working + HEADROOM else "group offload"


def make_plan(
    pipeline: StableDiffusionXLControlNetPipeline,
    device: torch.device,
    placement: Placement | None,
    extra: int = 0,
) -> Plan:
    """Decide where a loaded pipeline's weights live.

    Args:
        placement: None chooses by the memory that is free.
        extra: bytes of the ControlNets that a request may add; they work beside the UNet.
    """
    if placement is None:
        parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
        placement = choose_placement(
            device=device,
            total=weight_bytes(*parts) + extra,
            working=weight_bytes(pipeline.unet, pipeline.controlnet) + extra,
            free=torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0,
        )
    if placement == "group offload":
        pipeline.vae.enable_tiling()  # its peak at one megapixel would not fit beside anything else on 8 GB
    return Plan(device, pipeline.unet.dtype, placement)


def weight_bytes(*modules: torch.nn.Module) -> int:
    """Memory that the parameters take, in bytes."""
    return sum(weight.numel() * weight.element_size() for module in modules for weight in module.parameters())


def place(plan: Plan, pipeline: DiffusionPipeline) -> None:
    """Bring a pipeline's parts where `plan` wants them. Called again whenever its ControlNets change.

    Pipelines may share their parts: each is placed before it is called.
    """
    if plan.placement == "resident":
        pipeline.to(plan.device)
    elif plan.placement == "model offload":
        pipeline.enable_model_cpu_offload(device=plan.device)
    else:
        for part in pipeline.components.values():
            if isinstance(part, torch.nn.Module):
                _offload_groups(plan, part)


def release(pipeline: DiffusionPipeline) -> None:
    """Send home what a call that did not come to its end (an error, a cancel) left on the device."""
    pipeline.maybe_free_model_hooks()


def _offload_groups(plan: Plan, module: torch.nn.Module) -> None:
    """Hook every layer of `module` that has no hook yet."""
    move = {"onload_device": plan.device, "offload_device": torch.device("cpu")}
    for part in module.modules():
        if isinstance(part, torch.nn.MultiheadAttention):
            # In one piece: torch reads its output layer's weights without calling it, and no hook there fires.
            apply_group_offloading(part, **move, offload_type="block_level", num_blocks_per_group=1)
    apply_group_offloading(module, **move, offload_type="leaf_level")
