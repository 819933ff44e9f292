"""Few-step weights, each with the sampler, steps and guidance that its publisher names for it.

A table and the rules for filling a request from it. Knows no torch: the weights are laid on by `tuning`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .bundles import Bundle, Defaults
from .errors import InvalidRequest
from .people import STRENGTHS
from .request import FOLLOW_RECIPE, RecipeName, Request, SchedulerName

OFF = 1.0  # the guidance scale at which nothing is guided: one pass through the networks per step, not two


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One way to a picture in few steps.

    Args:
        lora: the bundle's part that holds the weights; `lora_strength` is the publisher's.
        scheduler_settings: what the weights want of their own sampler beyond its usual configuration.
        when: one sentence on when to use it.
    """

    lora: str
    lora_strength: float = 1.0
    scheduler: SchedulerName
    scheduler_settings: Mapping[str, Any] = field(default_factory=dict)
    steps: int
    guidance_scale: float = OFF
    when: str


_TRAILING = {"timestep_spacing": "trailing"}
RECIPES: dict[RecipeName, Recipe] = {
    # huggingface.co/latent-consistency/lcm-lora-sdxl: LCMScheduler, 2 to 8 steps, guidance off or from 1 to 2.
    "LCM, 4 steps": Recipe(
        lora="loras.lcm",
        scheduler="LCM",
        steps=4,
        when="For trying things out: any base model, soft in detail, no negative prompt.",
    ),
    "LCM, 8 steps": Recipe(
        lora="loras.lcm",
        scheduler="LCM",
        steps=8,
        guidance_scale=1.5,
        when="The most forgiving one with other LoRAs and any base model; the negative prompt works a little.",
    ),
    # huggingface.co/ByteDance/SDXL-Lightning: Euler, "trailing", the file made for the number of steps, guidance 0.
    "Lightning, 4 steps": Recipe(
        lora="loras.lightning-4",
        scheduler="Euler",
        scheduler_settings=_TRAILING,
        steps=4,
        when="Sharper than LCM at the same speed; no negative prompt.",
    ),
    "Lightning, 8 steps": Recipe(
        lora="loras.lightning-8",
        scheduler="Euler",
        scheduler_settings=_TRAILING,
        steps=8,
        when="Closest to the base model's own look among those without a negative prompt.",
    ),
    # huggingface.co/ByteDance/Hyper-SD: DDIM, "trailing"; guidance 0, or 5 to 8 with the CFG-preserved file, which
    # its publisher recommends.
    "Hyper-SD, 4 steps": Recipe(
        lora="loras.hyper-4",
        scheduler="DDIM",
        scheduler_settings=_TRAILING,
        steps=4,
        when="Strong contrast and composition in four steps; no negative prompt.",
    ),
    "Hyper-SD, 8 steps": Recipe(
        lora="loras.hyper-8",
        scheduler="DDIM",
        scheduler_settings=_TRAILING,
        steps=8,
        guidance_scale=5.0,
        when="Where the negative prompt and the guidance scale must keep working: half as fast as the others.",
    ),
    # huggingface.co/tianweiy/DMD2: LCMScheduler at 999, 749, 499, 249, guidance 0, strength 1 (less for community
    # models). Of a schedule of 50 the sampler takes 759 and 259 instead; one of 100 holds all four.
    "DMD2, 4 steps": Recipe(
        lora="loras.dmd2",
        scheduler="LCM",
        scheduler_settings={"original_inference_steps": 100},
        steps=4,
        when="The most photographic in four steps; no negative prompt. For non-commercial use only.",
    ),
}


def usable(bundle: Bundle) -> tuple[RecipeName, ...]:
    """The recipes whose weights are on this machine."""
    return tuple(name for name, recipe in RECIPES.items() if bundle.present(recipe.lora))


def weights(name: RecipeName, bundle: Bundle) -> tuple[Path, float]:
    """The file of a recipe's LoRA and its strength.

    Raises:
        InvalidRequest: the bundle has none for it.
        DownloadError: it has not been fetched yet.
    """
    recipe = RECIPES[name]
    if not bundle.has(recipe.lora):
        others = ", ".join(f"“{other}”" for other in usable(bundle)) or "none"
        raise InvalidRequest(
            f"The bundle “{bundle.name}” has no weights for the recipe “{name}”. Recipes that it has: {others}."
        )
    return bundle.require(recipe.lora), recipe.lora_strength


def fill(request: Request, defaults: Defaults) -> Request:
    """Settle what is open: steps, guidance scale and sampler by recipe or else bundle, strengths by the bundle."""
    base = defaults if request.recipe is None else RECIPES[request.recipe]
    usual = {name: getattr(base, name) for name in FOLLOW_RECIPE}
    usual |= {name: getattr(defaults, name) for name in STRENGTHS}
    return request.replace(**{name: value for name, value in usual.items() if getattr(request, name) is None})


def scheduler_settings(request: Request) -> dict[str, Any]:
    """What a filled request's sampler is to be built with, for `schedulers.build`.

    A sampler other than the recipe's keeps the spacing of the steps, which is the weights' need, and nothing else.
    """
    if request.recipe is None:
        return {}
    recipe = RECIPES[request.recipe]
    own = request.scheduler == recipe.scheduler
    return {key: value for key, value in recipe.scheduler_settings.items() if own or key in _TRAILING}
