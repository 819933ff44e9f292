"""Samplers by the names people know. Each is built from the base model's own, pristine configuration.

Never from the current scheduler's: settings of the last request would leak into the next (the reference's
"Karras" stays on after it is unchosen).
"""

from collections.abc import Mapping
from typing import Any

from diffusers import (
    DDIMScheduler,
    DEISMultistepScheduler,
    DPMSolverMultistepScheduler,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    HeunDiscreteScheduler,
    LCMScheduler,
    SchedulerMixin,
    TCDScheduler,
    UniPCMultistepScheduler,
)

from .errors import InvalidRequest
from .request import Request, SchedulerName

_DPM = {"algorithm_type": "dpmsolver++", "use_karras_sigmas": False}
_SDE = {"algorithm_type": "sde-dpmsolver++", "use_karras_sigmas": False}
SCHEDULERS: dict[SchedulerName, tuple[type[SchedulerMixin], dict[str, Any]]] = {
    "Euler": (EulerDiscreteScheduler, {}),
    "Euler a": (EulerAncestralDiscreteScheduler, {}),
    "DEIS": (DEISMultistepScheduler, {"algorithm_type": "deis"}),
    "Heun": (HeunDiscreteScheduler, {}),
    "DPM++ 2M": (DPMSolverMultistepScheduler, _DPM),
    "DPM++ 2M Karras": (DPMSolverMultistepScheduler, _DPM | {"use_karras_sigmas": True}),
    "DPM++ 2M SDE": (DPMSolverMultistepScheduler, _SDE),
    "DPM++ 2M SDE Karras": (DPMSolverMultistepScheduler, _SDE | {"use_karras_sigmas": True}),
    "UniPC": (UniPCMultistepScheduler, {}),
    # diffusers clips the picture it predicts to ±1 unless told not to, which suits pixels, not latents.
    "DDIM": (DDIMScheduler, {"clip_sample": False, "set_alpha_to_one": False}),
    "LCM": (LCMScheduler, {}),
    "TCD": (TCDScheduler, {}),
}

FEW_STEP: tuple[SchedulerName, ...] = ("LCM", "TCD")
"""Samplers that begin anew from what each step makes: for weights that make a whole picture in a step."""


def unsuited(request: Request, usual: SchedulerName) -> list[str]:
    """Why a sampler paints worse than it could, in a sentence. All is filled in.

    Args:
        usual: the bundle's own sampler.
    """
    chosen = request.scheduler
    if request.recipe or request.loras or request.base or (chosen in FEW_STEP) == (usual in FEW_STEP):
        return []
    if usual in FEW_STEP:
        return [f"These weights learned to paint by {usual}: by {chosen} their pictures are worse."]
    return [f"{chosen} is for few-step weights, and these are none: choose a few-step recipe, or {usual}."]


def build(
    name: SchedulerName, config: Mapping[str, Any], steps: int, settings: Mapping[str, Any] | None = None
) -> SchedulerMixin:
    """A fresh scheduler.

    Args:
        config: the base model's scheduler configuration, as it was loaded.
        steps: of the run; LCM and TCD cannot take more than they were distilled from.
        settings: what few-step weights want beyond that, such as `timestep_spacing`.
    """
    kind, usual = SCHEDULERS[name]
    scheduler = kind.from_config(dict(config), **usual | dict(settings or {}))
    most = scheduler.config.get("original_inference_steps")
    if most is not None and steps > most:
        raise InvalidRequest(f"{name} takes at most {most} steps (4 to 8 are usual), got {steps}.")
    return scheduler
