"""What a UNet is told beside the noise, and what stages leave out of it."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch


@dataclass(frozen=True, kw_only=True, eq=False)
class Conditions:
    """What the UNet is told beside the noise, about each of b examples.

    Args:
        hidden: (b, n, c): both text encoders' penultimate states side by side.
        pooled: (b, p): the second text encoder's.
        adapters: (b, 1, 1, d) for each adapter the UNet carries, in their order; none: the UNet carries none.
        residuals: called with (latents, timesteps, added conditions); the sum of what ControlNets add.
        sizes: (b, 4) height and width of the picture before it was scaled, top and left of what was cut out of it
            (SDXL, 2307.01952, section 2.2); None: as large as what is made, and whole.
    """

    hidden: torch.Tensor
    pooled: torch.Tensor
    adapters: tuple[torch.Tensor, ...] = ()
    residuals: Callable[..., tuple[list[torch.Tensor], torch.Tensor]] | None = None
    sizes: torch.Tensor | None = None


def without_text(conditions: Conditions, empty: Conditions, dropped: torch.Tensor) -> Conditions:
    """The conditions with the text of (b,) bool `dropped` examples taken away, for guidance (Ho & Salimans 2022)."""
    return replace(
        conditions,
        hidden=torch.where(dropped[:, None, None], empty.hidden, conditions.hidden),
        pooled=torch.where(dropped[:, None], empty.pooled, conditions.pooled),
    )


def twice(conditions: Conditions) -> Conditions:
    """For as many examples again."""
    sizes = None if conditions.sizes is None else conditions.sizes.repeat(2, 1)
    return replace(
        conditions,
        hidden=conditions.hidden.repeat(2, 1, 1),
        pooled=conditions.pooled.repeat(2, 1),
        sizes=sizes,
    )
