"""Which triangle is seen at each pixel: a z-buffer in torch, for a batch of views at once, the same on CPU and CUDA.

Triangles are sorted by the size of their box on the picture and each size tests its own square of pixels. The nearest
wins by an integer minimum, whose outcome does not depend on order, so that the same input gives the same output.
"""

from collections.abc import Callable

import torch
from torch import Tensor

INDEX_BITS = 26
FAR = 1 << 62
STEPS = 1 << 20
"""Depths are told apart down to 1/STEPS metre; a triangle's number takes the low INDEX_BITS."""
BOXES = (2, 3, 4, 6, 8, 12, 18, 28, 48, 96, 192, 384)
AT_ONCE = 1 << 21
"""Pixels tested in one go; bounds the memory."""

Keep = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(triangles, barycentric, pixels) -> which of these fragments are solid."""


def draw(
    buffer: Tensor,
    corners: Tensor,
    depths: Tensor,
    view: Tensor,
    index: Tensor,
    *,
    size: tuple[int, int],
    keep: Keep | None = None,
) -> None:
    """Draw triangles into `buffer`.

    Args:
        buffer: (views * h * w,) int64, as from `clear`; changed in place.
        corners: (n, 3, 2) pixels.
        depths: (n, 3) metres, all > 0; triangles that are not are left out by the caller.
        view: (n,) int64, which of the views each triangle is in.
        index: (n,) int64 below 2**26, what is written for the triangle.
        size: (h, w).
        keep: asked which fragments are solid; `triangles` are positions in `corners`.
    """
    h, w = size
    low = corners.amin(1).add(-0.5).ceil_()
    high = corners.amax(1).add(-0.5).floor_()
    low[:, 0].clamp_(0, w)
    low[:, 1].clamp_(0, h)
    high[:, 0].clamp_(-1, w - 1)
    high[:, 1].clamp_(-1, h - 1)
    extent = (high - low).amax(1) + 1  # pixel centres across; below 1 there are none
    a, b, c = corners.unbind(1)
    twice = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    good = ((high - low).amin(1) >= 0) & (twice.abs() > 1e-9)
    # barycentric u = ux * x + uy * y + uz, v likewise
    inverse = 1 / torch.where(good, twice, 1.0)
    ux, uy = (b[:, 1] - c[:, 1]) * inverse, (c[:, 0] - b[:, 0]) * inverse
    vx, vy = (c[:, 1] - a[:, 1]) * inverse, (a[:, 0] - c[:, 0]) * inverse
    x0, y0 = low[:, 0] + 0.5, low[:, 1] + 0.5
    u0 = ux * (x0 - c[:, 0]) + uy * (y0 - c[:, 1])
    v0 = vx * (x0 - c[:, 0]) + vy * (y0 - c[:, 1])
    first = (view * h + low[:, 1].long()) * w + low[:, 0].long()
    below = 0
    for box in (*BOXES, max(h, w)):
        chosen = torch.nonzero(good & (extent > below) & (extent <= box)).squeeze(1)
        below = max(box, below)
        if len(chosen) == 0:
            continue
        step = torch.arange(box, device=corners.device, dtype=torch.float32)
        dx, dy = step.repeat(box), step.repeat_interleave(box)
        offset = (dy * w + dx).long()
        for part in chosen.split(max(1, AT_ONCE // (box * box))):
            u = u0[part, None] + ux[part, None] * dx + uy[part, None] * dy  # (n, box * box)
            v = v0[part, None] + vx[part, None] * dx + vy[part, None] * dy
            inside = (u >= 0) & (v >= 0) & (u + v <= 1)
            inside &= (dx <= (high[part, 0] - low[part, 0])[:, None]) & (
                dy <= (high[part, 1] - low[part, 1])[:, None]
            )
            row, at = torch.nonzero(inside, as_tuple=True)
            weight = torch.stack([u[row, at], v[row, at]], 1)
            weight = torch.cat([weight, 1 - weight.sum(1, keepdim=True)], 1)
            triangle, pixel = part[row], first[part[row]] + offset[at]
            if keep is not None:
                solid = keep(triangle, weight, pixel)
                triangle, pixel, weight = triangle[solid], pixel[solid], weight[solid]
            z = (weight * depths[triangle]).sum(1)
            buffer.scatter_reduce_(0, pixel, ((z * STEPS).long() << INDEX_BITS) | index[triangle], "amin")


def clear(views: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Give an empty buffer for `draw`."""
    return torch.full((views * size[0] * size[1],), FAR, dtype=torch.int64, device=device)


def seen(buffer: Tensor) -> tuple[Tensor, Tensor]:
    """Give the pixels that show something and the index written there, both (n,) int64."""
    pixels = torch.nonzero(buffer < FAR).squeeze(1)
    return pixels, buffer[pixels] & ((1 << INDEX_BITS) - 1)


def depth(buffer: Tensor) -> Tensor:
    """Give the depth at each pixel, metres, inf where nothing is."""
    metres = (buffer >> INDEX_BITS).double() / STEPS
    return torch.where(buffer < FAR, metres, torch.inf).float()


def barycentric(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Weights (n, 3) of triangles' (n, 3, 2) corners at points."""
    a, b, c = corners.unbind(1)
    twice = (b[:, 1] - c[:, 1]) * (a[:, 0] - c[:, 0]) + (c[:, 0] - b[:, 0]) * (a[:, 1] - c[:, 1])
    u = ((b[:, 1] - c[:, 1]) * (x - c[:, 0]) + (c[:, 0] - b[:, 0]) * (y - c[:, 1])) / twice
    v = ((c[:, 1] - a[:, 1]) * (x - c[:, 0]) + (a[:, 0] - c[:, 0]) * (y - c[:, 1])) / twice
    return torch.stack([u, v, 1 - u - v], 1)
