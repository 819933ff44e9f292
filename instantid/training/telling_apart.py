"""Whether something is told from others by its embedding: what rewards of pictures in the making have in common."""

import torch
from torch.nn import functional as F


def told_apart(
    seen: torch.Tensor, own: torch.Tensor, rivals: torch.Tensor, same: torch.Tensor, warmth: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Tell (b, d) embeddings, of length one as all here, by (b, d) of their own among (n, d) of rivals.

    Args:
        same: (b, n) bool, which rivals are none.
        warmth: of the cosines (InfoNCE, 1807.03748).

    Returns:
        (b,) cosines with their own; the loss of not being told; which share of rivals is less like.
    """
    with torch.autocast(
        seen.device.type, enabled=False
    ):  # over the warmth, half precision's steps are coarse
        like = (seen * own).sum(dim=1, keepdim=True)
        others = (seen @ rivals.T).masked_fill(same.to(seen.device), -1)
    among = torch.cat([like, others], dim=1) / warmth
    missed = F.cross_entropy(among, torch.zeros(len(among), dtype=torch.long, device=among.device))
    return like[:, 0], missed, (like > others).float().mean()
