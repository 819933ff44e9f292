"""Where weights live and in what precision: what changes speed and memory, never meaning."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from diffusers import DiffusionPipeline, StableDiffusionXLControlNetPipeline
from diffusers.hooks import apply_group_offloading

from .errors import BundleError, InvalidRequest, OutOfMemory
from .request import limits

Placement = Literal["resident", "model offload", "group offload"]
PLACEMENTS: tuple[Placement, ...] = ("resident", "model offload", "group offload")
GIB = 2**30
HEADROOM = 3 * GIB  # activations of a guided step and of the VAE at one megapixel in half precision [judged]
# What a further picture adds to a step of that. UNet and ControlNet hold 0.42 GiB more, counted on SDXL's shapes
# (meta tensors); the rest is left to what kernels take for themselves [judged].
PICTURE = 1 * GIB
BUSY = 4  # megapixels that keep a GPU busy: with more at once no picture is quicker, and a cancel loses more [judged]
MAX_AT_ONCE = int(limits("images")[1])


@dataclass(frozen=True)
class Plan:
    """The device that computes, the precision of the weights, how they reach the device, and what room they leave.

    Args:
        at_once: how many pictures are painted together; None: as many as there is room for.
        room: bytes of the device's memory that all weights leave free.
    """

    device: torch.device
    dtype: torch.dtype
    placement: Placement
    at_once: int | None = None
    room: int = 0

    @property
    def spare_device(self) -> torch.device:
        """Where small models beside the pipeline run: a card that is short of memory is left to it (InstantID#61)."""
        return self.device if self.placement == "resident" else torch.device("cpu")

    def pictures_at_once(self, width: int, height: int) -> int:
        """How many pictures of that size to paint together, which is quicker than one by one on a GPU.

        Each is then the one that would be painted alone, but for rounding. Without `at_once` these are several only
        where all weights stay on a CUDA GPU and leave room for it.
        """
        if self.at_once is not None:
            return self.at_once
        megapixels = width * height / 2**20
        spare = self.room - HEADROOM * max(1.0, megapixels)
        each = PICTURE * megapixels * self.dtype.itemsize / 2
        return max(1, min(1 + int(spare / each), int(BUSY / megapixels), MAX_AT_ONCE))

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


def check_at_once(at_once: int | None) -> None:
    """Refuse a number of pictures that cannot be painted at once.

    Raises:
        InvalidRequest: says how many can be.
    """
    if at_once is not None and not 1 <= at_once <= MAX_AT_ONCE:
        raise InvalidRequest(f"1 to {MAX_AT_ONCE} pictures can be painted at once; got {at_once}.")


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
    at_once: int | None = None,
) -> Plan:
    """Decide where a loaded pipeline's weights live, before they are brought there.

    Args:
        placement: None chooses by the memory that is free.
        extra: bytes of the ControlNets that a request may add; they work beside the UNet.
        at_once: as in `Plan`.
    """
    parts = [part for part in pipeline.components.values() if isinstance(part, torch.nn.Module)]
    total = weight_bytes(*parts) + extra
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0
    if placement is None:
        working = weight_bytes(pipeline.unet, pipeline.controlnet) + extra
        placement = choose_placement(device=device, total=total, working=working, free=free)
    room = max(0, free - total) if placement == "resident" else 0
    return Plan(device, pipeline.unet.dtype, placement, at_once, room)


def weight_bytes(*modules: torch.nn.Module) -> int:
    """Memory that the parameters take, in bytes."""
    return sum(weight.numel() * weight.element_size() for module in modules for weight in module.parameters())


def place(plan: Plan, pipeline: DiffusionPipeline) -> None:
    """Bring a pipeline's parts where `plan` wants them. Called again whenever its ControlNets change.

    Pipelines may share their parts: each is placed before it is called.
    """
    pipeline.vae.enable_slicing()  # picture by picture: at one megapixel it needs more memory than a step
    if plan.placement == "group offload":
        pipeline.vae.enable_tiling()  # its peak at one megapixel would not fit beside anything else on 8 GB
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


def ran_out(error: Exception) -> bool:
    """Whether an error says that memory is used up; CUDA, Apple and the CPU allocator each have their own words."""
    told = ("out of memory", "can't allocate memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in str(error).lower() for words in told)
    )


def give_back() -> None:
    """Return the memory that torch keeps for later; worth it after it ran out."""
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def readable_memory_errors() -> Iterator[None]:
    """Tell in words when memory runs out.

    Raises:
        OutOfMemory: it did.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not ran_out(error):
            raise
        give_back()
        raise OutOfMemory(
            "There is not enough memory for this picture. Choose a smaller size, or start with a leaner placement: "
            "--placement “group offload”."
        ) from error


def _offload_groups(plan: Plan, module: torch.nn.Module) -> None:
    """Hook every layer of `module` that has no hook yet."""
    move = {"onload_device": plan.device, "offload_device": torch.device("cpu")}
    for part in module.modules():
        if isinstance(part, torch.nn.MultiheadAttention):
            # In one piece: torch reads its output layer's weights without calling it, and no hook there fires.
            apply_group_offloading(part, **move, offload_type="block_level", num_blocks_per_group=1)
    apply_group_offloading(module, **move, offload_type="leaf_level")
