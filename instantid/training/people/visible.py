"""What of a batch is drawn where: its triangles put through the z-buffer, and which of the samples are shaded."""

import torch
from torch import Tensor

from . import raster
from .dressing import CLOTH, GLASS, SEE_THROUGH, Dressed
from .surfaces import Table, Textures

FINER = 2
"""How much finer than the picture everything is drawn, each way, for smooth edges."""
CLEAR_LENS = 0.9
"""Glasses are only drawn where their texture is denser, so that eyes show."""
SAME = 0.012
"""Samples of one part within so many metres are one surface."""


class Scene:
    """Draws a batch's triangles, solid ones first, then those that let light through."""

    def __init__(self, dressed: Dressed, table: Table, textures: Textures, view: Tensor) -> None:
        self.dressed, self.table, self.textures, self.view = dressed, table, textures, view
        kinds = table.kind[dressed.part]
        clear = torch.zeros_like(kinds, dtype=torch.bool)
        for kind in SEE_THROUGH:
            clear |= kinds == kind
        self.kinds = kinds
        self.solid, self.clear = torch.nonzero(~clear).squeeze(1), torch.nonzero(clear).squeeze(1)
        a, b, c = dressed.uv.unbind(1)
        self.uv_area = (
            (b[:, 0] - a[:, 0]) * (c[:, 1] - a[:, 1]) - (b[:, 1] - a[:, 1]) * (c[:, 0] - a[:, 0])
        ).abs()

    def levels(self, points: Tensor, triangle: Tensor, finer: int) -> Tensor:
        """How often these triangles' textures are halved, (n,), for pixels `finer` times as wide as the points'."""
        faces = self.dressed.faces.index_select(0, triangle)
        size = (
            raster.area(*(points.index_select(0, faces[:, corner]) for corner in range(3))).abs() / finer**2
        )
        return self.textures.levels(self.table, self.dressed.part[triangle], self.uv_area[triangle], size)

    def draw(self, buffer: Tensor, points: Tensor, size: tuple[int, int], *, spread: bool) -> None:
        """Draw all triangles; `points` (N, 3) are pixels and depth. Skin, eyes and teeth only show their outside."""
        for chosen, keep in ((self.solid, None), (self.clear, self._keep(points, size[1], spread))):
            one_sided = None if keep else self.kinds[chosen] != CLOTH
            faces = self.dressed.faces.index_select(0, chosen)
            raster.draw(
                buffer, points, faces, self.view[chosen], chosen, size=size, one_sided=one_sided, keep=keep
            )

    def _keep(self, points: Tensor, w: int, spread: bool) -> raster.Keep:
        shrink = torch.zeros(len(self.kinds), dtype=torch.int64, device=points.device)
        shrink[self.clear] = self.levels(points, self.clear, 1)
        # each of a pixel's four samples asks for another alpha, so that alpha becomes coverage
        # (not in the shadow map, which is smoothed in another way)
        asked = torch.tensor([0.2, 0.7, 0.9, 0.4] if spread else [0.5] * 4, device=points.device)

        def keep(triangle: Tensor, weight: Tensor, pixel: Tensor) -> Tensor:
            corners = self.dressed.uv.index_select(0, triangle)
            uv = (
                corners[:, 0] * weight[:, :1] + corners[:, 1] * weight[:, 1:2] + corners[:, 2] * weight[:, 2:]
            )
            alpha = self.textures.alpha(
                self.table, self.dressed.part.index_select(0, triangle), shrink.index_select(0, triangle), uv
            )
            sample = (pixel % w) % 2 + 2 * ((pixel // w) % 2)
            lens = self.kinds.index_select(0, triangle) == GLASS
            return alpha > torch.where(lens, CLEAR_LENS, asked[sample])

        return keep


def mix(values: Tensor, faces: Tensor, weight: Tensor) -> Tensor:
    """Interpolate what vertices (N, k) have over triangles: (n, k)."""
    a, b, c = (values.index_select(0, faces[:, corner]) * weight[:, corner, None] for corner in range(3))
    return a + b + c


def once_a_surface(
    buffer: Tensor, part: Tensor, count: int, fine: tuple[int, int]
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Choose which samples to shade: in each pixel one for each surface in it.

    Returns:
        Where those samples are in `buffer` (n,), and of each its turn among its pixel's and its share of it.
    """
    h, w = fine[0] // FINER, fine[1] // FINER
    tiles = buffer.view(count, h, FINER, w, FINER).permute(2, 4, 0, 1, 3).reshape(FINER * FINER, -1)
    there = tiles < raster.FAR
    owner = torch.where(there, part[(tiles & raster.INDEX_MASK).clamp(max=len(part) - 1)], -1)
    depth = (tiles >> raster.INDEX_BITS) / raster.STEPS
    pixel = torch.arange(count * h * w, device=buffer.device)
    corner = (pixel // w) * FINER * fine[1] + (pixel % w) * FINER
    free = list(there.unbind(0))  # samples no chosen one stands for yet
    chosen, turns, shares = [], [], []
    for at in range(FINER * FINER):
        new = free[at]
        share = new.float()
        for other in range(at + 1, FINER * FINER):
            near = (depth[other] - depth[at]).abs() < SAME
            covered = new & free[other] & (owner[other] == owner[at]) & near
            free[other] = free[other] & ~covered
            share += covered
        rows = torch.nonzero(new).squeeze(1)
        chosen.append(corner[rows] + (at // FINER) * fine[1] + at % FINER)
        turns.append(torch.full_like(rows, at))
        shares.append(share[rows] / FINER**2)
    return torch.cat(chosen), (torch.cat(turns), torch.cat(shares))
