"""Which triangle is seen at each pixel: a z-buffer in torch, for a batch of views at once, the same on CPU and CUDA.

Triangles are sorted by the size of their box on the picture and each size tests its own square of pixels. The nearest
wins by an integer minimum, whose outcome does not depend on order, so that the same input gives the same output.
"""

from collections.abc import Callable

import torch
from torch import Tensor

INDEX_BITS = 26
INDEX_MASK = (1 << INDEX_BITS) - 1
FAR = 1 << 62
NEAR = 0.05
STEPS = 1 << 20
"""Depths are told apart down to 1/STEPS metre; a triangle's number takes the low INDEX_BITS."""
BOXES = (2, 3, 4, 6, 8, 12, 18, 28, 48, 96, 192, 384)
AT_ONCE = {"cpu": 1 << 19, "cuda": 1 << 25}
"""Pixels tested in one go; bounds the memory."""

Keep = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(triangles, barycentric, pixels) -> which of these fragments are solid."""


def pick(table: Tensor, rows: Tensor) -> Tensor:
    """Give table[rows]; index_select is several times faster on a CPU."""
    return table.index_select(0, rows.reshape(-1)).view(*rows.shape, *table.shape[1:])


def area(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Twice the area (n,) of triangles whose corners are (n, 2); its sign tells which side is seen."""
    return (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])


def draw(
    buffer: Tensor,
    points: Tensor,
    faces: Tensor,
    view: Tensor,
    index: Tensor,
    *,
    size: tuple[int, int],
    one_sided: Tensor | None = None,
    keep: Keep | None = None,
) -> None:
    """Draw triangles into `buffer`.

    Args:
        buffer: (views * h * w,) int64, as from `clear`; changed in place.
        points: (n, 3) float32: x, y in pixels, depth in metres; triangles nearer than NEAR are left out.
        faces: (m, 3) int64.
        view: (m,) int64, which of the views each triangle is in.
        index: (m,) int64 below 2**26, what is written for the triangle.
        size: (h, w).
        one_sided: (m,) bool, triangles to leave out when seen from behind.
        keep: asked which fragments are solid; it is given what `index` says of their triangles.
    """
    h, w = size
    a, b, c = (points.index_select(0, faces[:, corner]) for corner in range(3))
    low, high = torch.minimum(torch.minimum(a, b), c), torch.maximum(torch.maximum(a, b), c)
    left, top = (low[:, 0] - 0.5).ceil().clamp(0, w), (low[:, 1] - 0.5).ceil().clamp(0, h)
    right, bottom = (high[:, 0] - 0.5).floor().clamp(-1, w - 1), (high[:, 1] - 0.5).floor().clamp(-1, h - 1)
    twice = area(a, b, c)
    good = (right >= left) & (bottom >= top) & (low[:, 2] > NEAR) & (twice.abs() > 1e-9)
    if one_sided is not None:
        good &= (twice < 0) | ~one_sided
    rows = torch.nonzero(good).squeeze(1)
    a, b, c, left, top, right, bottom, twice, view, index = (
        values.index_select(0, rows) for values in (a, b, c, left, top, right, bottom, twice, view, index)
    )
    # weights of a and b: u = ux * dx + uy * dy + u0 from the box's corner, v likewise; depth from them
    ux, uy = (b[:, 1] - c[:, 1]) / twice, (c[:, 0] - b[:, 0]) / twice
    vx, vy = (c[:, 1] - a[:, 1]) / twice, (a[:, 0] - c[:, 0]) / twice
    x0, y0 = left + 0.5 - c[:, 0], top + 0.5 - c[:, 1]
    u0, v0 = ux * x0 + uy * y0, vx * x0 + vy * y0
    za, zb, zc = a[:, 2] - c[:, 2], b[:, 2] - c[:, 2], c[:, 2]
    plane = torch.stack([ux, uy, u0, vx, vy, v0, right - left, bottom - top], 1)
    flat = torch.stack([za, zb, zc], 1)
    first = (view * h + top.long()) * w + left.long()
    extent = torch.maximum(right - left, bottom - top) + 1
    below = 0
    for box in (*BOXES, max(h, w)):
        chosen = torch.nonzero((extent > below) & (extent <= box)).squeeze(1)
        below = max(box, below)
        if len(chosen) == 0:
            continue
        step = torch.arange(box, device=points.device, dtype=torch.float32)
        dx, dy = step.repeat(box), step.repeat_interleave(box)
        offset = (dy * w + dx).long()
        for part in chosen.split(max(1, AT_ONCE[points.device.type] // (box * box))):
            fx, fy, f0, gx, gy, g0, wide, high_ = plane.index_select(0, part)[..., None].unbind(1)
            u = fx * dx + fy * dy + f0  # (n, box * box)
            v = gx * dx + gy * dy + g0
            inside = (torch.minimum(torch.minimum(u, v), 1 - u - v) >= 0) & (dx <= wide) & (dy <= high_)
            at = torch.nonzero(inside.view(-1)).squeeze(1)
            row = at // (box * box)
            u, v = u.view(-1).index_select(0, at), v.view(-1).index_select(0, at)
            triangle = part.index_select(0, row)
            pixel = first.index_select(0, triangle) + offset.index_select(0, at - row * (box * box))
            number = index.index_select(0, triangle)
            if keep is not None:
                solid = torch.nonzero(keep(number, torch.stack([u, v, 1 - u - v], 1), pixel)).squeeze(1)
                u, v, triangle, pixel, number = (
                    x.index_select(0, solid) for x in (u, v, triangle, pixel, number)
                )
            z = flat.index_select(0, triangle)
            z = u * z[:, 0] + v * z[:, 1] + z[:, 2]
            buffer.scatter_reduce_(0, pixel, ((z * STEPS).long() << INDEX_BITS) | number, "amin")


def clear(views: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Give an empty buffer for `draw`."""
    return torch.full((views * size[0] * size[1],), FAR, dtype=torch.int64, device=device)


def seen(buffer: Tensor) -> tuple[Tensor, Tensor]:
    """Give the pixels that show something and the index written there, both (n,) int64."""
    pixels = torch.nonzero(buffer < FAR).squeeze(1)
    return pixels, buffer[pixels] & INDEX_MASK


def depth(buffer: Tensor) -> Tensor:
    """Give the depth at each pixel, metres, inf where nothing is."""
    metres = (buffer >> INDEX_BITS).double() / STEPS
    return torch.where(buffer < FAR, metres, torch.inf).float()


def barycentric(a: Tensor, b: Tensor, c: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Weights (n, 3), right in perspective, of triangles' corners (n, 3), pixels and depth, at points."""
    twice = area(a, b, c)
    u = ((b[:, 1] - c[:, 1]) * (x - c[:, 0]) + (c[:, 0] - b[:, 0]) * (y - c[:, 1])) / twice
    v = ((c[:, 1] - a[:, 1]) * (x - c[:, 0]) + (a[:, 0] - c[:, 0]) * (y - c[:, 1])) / twice
    u, v, w = u / a[:, 2], v / b[:, 2], (1 - u - v) / c[:, 2]
    return torch.stack([u, v, w], 1) / (u + v + w)[:, None]
