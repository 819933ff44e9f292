"""Soft shadows of each picture's first light: a depth map from the light, asked several times round each point."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from . import raster
from .camera import View
from .description import Picture
from .lighting import light_direction

SIZE = 320
BIAS = 0.006
"""Metres a surface must be behind another to lie in its shadow."""
TAPS = 9


class Shadows:
    """The maps of a batch."""

    def __init__(self, pictures: Sequence[Picture], views: Sequence[View], device: torch.device) -> None:
        bases, spans, softness = [], [], []
        for picture, view in zip(pictures, views, strict=True):
            lights = picture.lighting.lights
            towards = (
                light_direction(lights[0], view) if lights else torch.tensor([0, 1, 0], dtype=torch.float64)
            )
            side = torch.linalg.cross(torch.tensor([0.0, 1.0, 0.013], dtype=torch.float64), towards)
            side = side / side.norm()
            basis = torch.stack(
                [side, torch.linalg.cross(towards, side), -towards]
            )  # right, up, away from the light
            bases.append(torch.cat([basis, -(basis @ view.target)[:, None]], 1))
            spans.append(view.radius * 1.5 + 0.12)
            softness.append(math.radians(lights[0].softness if lights else 1.0))
        self.turn = torch.stack(bases).float().to(device)  # (views, 3, 4)
        self.scale = (SIZE / 2 / torch.tensor(spans)).to(device)
        self.softness = torch.tensor(softness).to(device)
        self.buffer = raster.clear(len(pictures), (SIZE, SIZE), device)
        self.depth: Tensor | None = None

    def project(self, points: Tensor, view: Tensor) -> Tensor:
        """Give (n, 3): pixels of the map and depths from the light, all positive."""
        turn = self.turn.index_select(0, view)
        there = (
            turn[..., 0] * points[:, :1]
            + turn[..., 1] * points[:, 1:2]
            + turn[..., 2] * points[:, 2:]
            + turn[..., 3]
        )
        scale = self.scale.index_select(0, view)[:, None]
        return torch.cat([there[:, :2] * scale + SIZE / 2, there[:, 2:] + 50], 1)

    def finish(self) -> None:
        """Call once everything that throws a shadow is drawn."""
        self.depth = raster.depth(self.buffer)

    def lit(self, points: Tensor, view: Tensor) -> Tensor:
        """Give the share (n,) of the light that reaches points (n, 3)."""
        at = self.project(points, view)
        depth = at[:, 2]
        # the edge is as wide as the light makes it over a hand's breadth, at least a texel
        wide = (self.scale[view] * 0.10 * self.softness[view]).clamp(0.9, 6.0)
        total = torch.zeros_like(depth)
        # the map ends somewhere: let shadows fade before they are cut off
        known = ((SIZE / 2 - (at[:, :2] - SIZE / 2).abs().amax(1)) / (SIZE * 0.08)).clamp(0, 1)
        for tap in range(TAPS):
            r, turn = math.sqrt((tap + 0.5) / TAPS), tap * 2.399963  # a sunflower's seeds
            x = (at[:, 0] + r * math.cos(turn) * wide * 1.8).long()
            y = (at[:, 1] + r * math.sin(turn) * wide * 1.8).long()
            inside = (x >= 0) & (y >= 0) & (x < SIZE) & (y < SIZE)
            pixel = (view * SIZE + y.clamp(0, SIZE - 1)) * SIZE + x.clamp(0, SIZE - 1)
            ahead = depth - self.depth.index_select(0, pixel) - BIAS
            total += 1 - (ahead / BIAS).clamp(0, 1) * inside * known
        return total / TAPS
