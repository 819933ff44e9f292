"""Known remedies against burnt colours and watermarks, each off by default and exactly off at 0."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import torch
from diffusers import UNet2DConditionModel

from .prompts import PromptEmbeddings
from .request import Request
from .styles import DEFAULT_NEGATIVE_PROMPT

_LEAD_AWAY = {
    "negative_prompt": "the negative prompt",
    "cfg_rescale": "CFG rescale",
    "negative_noise": "noise in the negative face",
    "perturbed_negative": "noise in the negative prompt",
}
"""Settings that act through guidance alone, and what the page calls them."""


def is_guided(guidance_scale: float) -> bool:
    """Whether anything is led away from, as diffusers decides it."""
    return guidance_scale > 1


def unheard(request: Request) -> list[str]:
    """What was asked for and does nothing because nothing is led away from, in a sentence. All is filled in.

    The negative prompt that the page begins with was not asked for.
    """
    idle = (0, "", DEFAULT_NEGATIVE_PROMPT)
    asked = [said for name, said in _LEAD_AWAY.items() if getattr(request, name) not in idle]
    if is_guided(request.guidance_scale) or not asked:
        return []
    return [
        f"Without guidance nothing is kept out: at a guidance scale of {request.guidance_scale:g} this did nothing: "
        f"{', '.join(asked)}. Above 1 it acts, and each step takes twice as long."
    ]


@contextmanager
def rescaled_guidance(unet: UNet2DConditionModel, guidance_scale: float, amount: float) -> Iterator[None]:
    """Bring a guided prediction's spread back to that of the conditional one ("Common Diffusion Noise Schedules and
    Sample Steps are Flawed", section 3.4), by `amount`, 0 to 1.

    Two of the three pipelines cannot: so both halves of the UNet's answer become the rescaled prediction, which
    guidance then leaves as it is.
    """

    def rescale(module, inputs, output):
        away, towards = output[0].chunk(2)
        guided = away + guidance_scale * (towards - away)
        every = tuple(range(1, guided.ndim))
        rescaled = guided * (towards.std(every, keepdim=True) / guided.std(every, keepdim=True))
        return (torch.cat([amount * rescaled + (1 - amount) * guided] * 2), *output[1:])

    if amount == 0 or not is_guided(guidance_scale):
        yield
        return
    hook = unet.register_forward_hook(rescale)
    try:
        yield
    finally:
        hook.remove()


def noise_face(width: int, amount: float, seed: int) -> torch.Tensor | None:
    """A made-up face (width,) for guidance to lead away from, instead of zeros (ComfyUI_InstantID's “noise”)."""
    if amount == 0:
        return None
    return amount * torch.rand(width, generator=torch.Generator().manual_seed(seed))


def perturbed(text: PromptEmbeddings, amount: float, seed: int) -> PromptEmbeddings:
    """The negative prompt's encoding with `amount` of its own spread in noise laid over it."""
    if amount == 0:
        return text
    negative = text.negative_prompt_embeds
    noise = torch.randn(negative.shape, generator=torch.Generator().manual_seed(seed))
    noisy = negative + amount * negative.float().std() * noise.to(negative)
    return replace(text, negative_prompt_embeds=noisy.to(negative.dtype))


def off_size(area: tuple[int, int], grid: int) -> tuple[int, int]:
    """The bundle's (width, height) less a latent: SDXL's 1024 × 1024 draws its training data's watermarks
    (InstantID#280; ComfyUI_InstantID's README takes 1016)."""
    return tuple(max(side - grid, 64) for side in area)
