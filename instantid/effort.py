"""How much work a picture is, beside others: what estimates of time are made of."""

from collections.abc import Mapping
from typing import Any

from .request import Request, Result

OPEN = (
    "width",
    "height",
    "steps",
    "guidance_scale",
    "scheduler",
)  # what a request may leave to recipe and bundle


def of(
    request: Request,
    defaults: Mapping[str, Any] | None = None,
    recipes: Mapping[str, Mapping[str, Any]] | None = None,
) -> float:
    """The work of a run, in guided steps at one megapixel with one person and no extra control.

    Shares are judged, not measured: a further net costs a third of a step, a step without guidance half of one.

    Args:
        defaults: the bundle's, by field, for what the request leaves open; without: SDXL's, 30 steps at 1024 × 1024.
        recipes: few-step recipes' own, by name and field; they go before the defaults.
    """
    own = {"width": 1024, "height": 1024, "steps": 30, "guidance_scale": 5.0, "scheduler": "Euler"}
    own |= dict(defaults or {}) | dict((recipes or {}).get(request.recipe, {}))
    filled = {name: own[name] if getattr(request, name) is None else getattr(request, name) for name in OPEN}
    megapixels = filled["width"] * filled["height"] / 2**20
    active = sum(control.strength > 0 for control in request.controls.values())
    nets = 1 + 0.3 * active + 0.3 * (len(request.people) - 1)
    passes = 2 if filled["scheduler"] == "Heun" else 1  # Heun runs the network twice a step
    passes *= 1.0 if filled["guidance_scale"] > 1 else 0.5
    rounds = 1.0 if request.start_image is None else request.start_strength
    rounds += request.upscale_strength * request.upscale**2 * (request.upscale > 1)
    rounds += request.face_detail_strength * len(request.people) * request.face_detail
    return megapixels * nets * passes * filled["steps"] * rounds * request.images


def pace(result: Result) -> float:
    """Seconds that a unit of work took here, as one run measured it; 0 where it was not measured."""
    work = of(result.request)  # 0 where a start picture was kept as it is
    return result.timings.get("pictures", 0.0) / work if work else 0.0
