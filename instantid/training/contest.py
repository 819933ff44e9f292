"""Between who makes pictures and a discriminator that tells them from true ones: what each learns of it."""

from collections.abc import Callable

import torch
from torch import nn

from .autoencoder import hinge

Look = Callable[[torch.Tensor], list[torch.Tensor]]  # pictures → what a discriminator is told of them


def contest(
    look: Look,
    judge: nn.Module,
    shown: torch.Tensor,
    pictures: torch.Tensor,
    size: torch.Tensor | float | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """What loses who made this; what the discriminator does, and how often that is right.

    Args:
        size: (b, 1, 1, 1) how long the first one's gradient is for each picture; None: as that of pixels.
    """
    shown_alone = shown.detach().requires_grad_()
    seen = look(shown_alone)
    [better] = torch.autograd.grad(-judge(*seen).flatten(1).mean(dim=1).sum(), shown_alone)
    with torch.no_grad():
        seen_of_true = look(pictures)
    real, made = judge(*seen_of_true).flatten(1), judge(*(each.detach() for each in seen)).flatten(1)
    right = (real.mean(dim=1)[:, None] > made.mean(dim=1)).float().mean()
    if size is None:
        size = 1 / (len(shown) * shown[0].numel() ** 0.5)
    # Of a judge that cannot tell there is nothing to learn.
    return pulled(shown, better, size * (2 * right - 1).clamp(min=0)), hinge(real, made), right


def pulled(made: torch.Tensor, along: torch.Tensor, size: torch.Tensor | float) -> torch.Tensor:
    """A loss of (b, c, h, w) whose gradient goes along this one, and is so long for each, (b, 1, 1, 1)."""
    length = along.flatten(1).norm(dim=1)[:, None, None, None]
    return (size * along / length.clamp(min=1e-12) * made).sum()
