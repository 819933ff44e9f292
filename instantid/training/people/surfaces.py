"""What colour a material has at a point: textures at the right size, tints, lips, freckles and moles. All linear."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from .assets import Assets
from .dressing import GAMMA, Material
from .texels import SMALLEST


@dataclass(frozen=True, eq=False)
class Table:
    """The batch's materials as columns, (P,) or (P, 3)."""

    kind: Tensor
    start: Tensor
    width: Tensor
    other_start: Tensor
    other_width: Tensor
    mix: Tensor
    tint: Tensor
    colour: Tensor
    coloured: Tensor
    light: Tensor


class Textures:
    """All texels on one device."""

    def __init__(self, assets: Assets, device: torch.device) -> None:
        self.index = assets.textures
        self.texels = torch.from_numpy(assets.texels)
        if device.type != "cpu":
            self.texels = self.texels.to(device)
        self.device = device
        self.curve = (torch.arange(256, device=device) / 255.0) ** GAMMA

    def table(self, materials: Sequence[Material]) -> Table:
        """Lay the materials out as columns."""

        def column(values: list, kind: torch.dtype = torch.float32) -> Tensor:
            return torch.tensor(values, dtype=kind, device=self.device)

        first = [self.index[material.texture] for material in materials]
        other = [self.index[material.other or material.texture] for material in materials]
        whole = torch.int64
        return Table(
            kind=column([material.kind for material in materials], whole),
            start=column([entry["start"] for entry in first], whole),
            width=column([entry["width"] for entry in first], whole),
            other_start=column([entry["start"] for entry in other], whole),
            other_width=column([entry["width"] for entry in other], whole),
            mix=column([material.mix for material in materials]),
            tint=column([material.tint for material in materials]),
            colour=column([material.colour or (0, 0, 0) for material in materials]),
            coloured=column([material.colour is not None for material in materials], torch.bool),
            light=column([max(entry["light"], 0.02) for entry in first]),
        )

    def _where(self, start: Tensor, width: Tensor, shrink: Tensor) -> tuple[Tensor, Tensor]:
        """Where a level of a texture starts and how wide it is; `shrink` is how often it is halved."""
        level = width >> shrink
        return start + (4 * (width * width - level * level)) // 3, level

    def levels(self, table: Table, part: Tensor, uv_area: Tensor, pixel_area: Tensor) -> Tensor:
        """How often each triangle's texture is halved, (n,), so that a texel is about a pixel."""
        width = table.width[part]
        ratio = uv_area * (width * width) / pixel_area.clamp(min=1e-3)
        wanted = (ratio.clamp(min=1e-6).log2() / 2 + 0.2).floor().long().clamp(min=0)
        most = (width.float().log2() - math.log2(SMALLEST)).round().long()
        return torch.minimum(wanted, most)

    def alpha(self, table: Table, part: Tensor, shrink: Tensor, uv: Tensor) -> Tensor:
        """Alpha 0..1 at uv (n, 2), from the nearest texel."""
        start, width = self._where(table.start[part], table.width[part], shrink)
        x = ((uv[:, 0] % 1) * width).long().clamp(max=width - 1)
        y = ((-uv[:, 1] % 1) * width).long().clamp(max=width - 1)
        return self.texels.index_select(0, start + y * width + x)[:, 3].float() / 255

    def colours(self, table: Table, part: Tensor, shrink: Tensor, uv: Tensor) -> Tensor:
        """(n, 3) linear colour at uv, tints and mixtures applied."""
        found = self._smooth(*self._where(table.start[part], table.width[part], shrink), uv)
        mixed = torch.nonzero(table.mix[part] > 0).squeeze(1)
        if len(mixed):
            of = part[mixed]
            other = self._smooth(
                *self._where(table.other_start[of], table.other_width[of], shrink[mixed]), uv[mixed]
            )
            found[mixed] = torch.lerp(found[mixed], other, table.mix[of][:, None])
        found = found * table.tint[part]
        painted = torch.nonzero(table.coloured[part]).squeeze(1)
        if len(painted):
            of = part[painted]
            pattern = 0.25 + 0.75 * (found[painted].mean(1) / table.light[of]).clamp(0, 2.0)
            found[painted] = table.colour[of] * pattern[:, None]
        return found.clamp(0, 1)

    def _linear(self, at: Tensor) -> Tensor:
        return self.curve.index_select(0, self.texels.index_select(0, at)[:, :3].reshape(-1).int()).view(
            -1, 3
        )

    def _smooth(self, start: Tensor, width: Tensor, uv: Tensor) -> Tensor:
        x = (uv[:, 0] % 1) * width - 0.5
        y = (-uv[:, 1] % 1) * width - 0.5
        x0, y0 = x.floor(), y.floor()
        fx, fy = (x - x0)[:, None], (y - y0)[:, None]
        last = width - 1
        left, right = x0.long().clamp(min=0), torch.minimum(x0.long() + 1, last)
        top = start + y0.long().clamp(min=0) * width
        bottom = start + torch.minimum(y0.long() + 1, last) * width
        a, b, c, d = (self._linear(at) for at in (top + left, top + right, bottom + left, bottom + right))
        return torch.lerp(torch.lerp(a, b, fx), torch.lerp(c, d, fx), fy)
