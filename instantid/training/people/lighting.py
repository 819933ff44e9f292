"""How light falls on skin, hair, eyes and cloth: a key light with soft shadow, others without, and the sky.

Skin wraps light round its edges, more in red than in blue, as light does that has been under it (Jimenez et al. 2009
blur it; at these sizes wrapping is enough). Crevices are darkened from the depth map.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from .camera import View
from .description import Light, Picture
from .dressing import CLOTH, EYE, GLASS, HAIR, LASH, SEAT, SKIN, TEETH

WRAP = {SKIN: (0.38, 0.18, 0.11), CLOTH: (0.08,) * 3, HAIR: (0.3,) * 3, EYE: (0.25,) * 3, LASH: (0.3,) * 3,
        TEETH: (0.3,) * 3, GLASS: (0.05,) * 3, SEAT: (0.08,) * 3}  # fmt: skip
GLOSS = {SKIN: (0.30, 22.0), CLOTH: (0.015, 8.0), HAIR: (0.09, 22.0), EYE: (2.2, 220.0), LASH: (0.0, 8.0),
         TEETH: (0.4, 60.0), GLASS: (1.2, 120.0), SEAT: (0.03, 10.0)}  # fmt: skip
"""Strength and sharpness of the highlight."""


def light_direction(light: Light, view: View) -> Tensor:
    """(3,) world direction towards the light."""
    across, up = math.radians(light.azimuth), math.radians(light.elevation)
    # in camera coordinates: x right, y down, z forward; azimuth 0 comes from behind the camera
    there = torch.tensor(
        [math.sin(across) * math.cos(up), -math.sin(up), -math.cos(across) * math.cos(up)],
        dtype=torch.float64,
    )
    return view.turn.T @ there


def shade(
    *,
    pictures: Sequence[Picture],
    views: Sequence[View],
    at: Tensor,
    kind: Tensor,
    colour: Tensor,
    normal: Tensor,
    towards: Tensor,
    lit: Tensor,
    open_sky: Tensor,
) -> Tensor:
    """Give the light (n, 3) that leaves each point towards the camera.

    Args:
        pictures, views: of the batch.
        at: (n,) which picture a point is in.
        kind: (n,) material.
        colour: (n, 3) linear.
        normal: (n, 3) towards the camera's side.
        towards: (n, 3) unit, from the point to the camera.
        lit: (n,) share of the first light that reaches the point.
        open_sky: (n,) share of the sky a point sees.
    """
    device = colour.device
    kinds = range(len(WRAP))
    wrap = torch.tensor([WRAP[k] for k in kinds], device=device)[kind]
    gloss = torch.tensor([GLOSS[k] for k in kinds], device=device)[kind]
    sky = torch.tensor([picture.lighting.sky for picture in pictures], device=device)[at]
    ground = torch.tensor([picture.lighting.ground for picture in pictures], device=device)[at]
    up = normal[:, 1:2] * 0.5 + 0.5
    # light bouncing in skin's crevices is red: occlusion takes less from red than from blue
    bounce = torch.tensor([[0.75, 1.0, 1.1], [1.0, 1.0, 1.0]], device=device)[(kind != SKIN).long()]
    out = (sky * up + ground * (1 - up)) * colour * open_sky[:, None] ** bounce
    rim = (1 - (normal * towards).sum(1, keepdim=True).clamp(0, 1)) ** 4
    most = max(len(picture.lighting.lights) for picture in pictures)
    for number in range(most):
        rows = []
        for picture, view in zip(pictures, views, strict=True):
            lights = picture.lighting.lights
            if number < len(lights):
                light = lights[number]
                power = [light.strength * part for part in light.colour]
                rows.append([*light_direction(light, view).tolist(), *power])
            else:
                rows.append([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
        row = torch.tensor(rows, device=device)[at]
        direction, power = row[:, :3], row[:, 3:]
        facing = (normal * direction).sum(1, keepdim=True)
        diffuse = ((facing + wrap) / (1 + wrap)).clamp(min=0)
        half = normalize(direction + towards, dim=1)
        shine = gloss[:, :1] * (normal * half).sum(1, keepdim=True).clamp(min=1e-4) ** gloss[:, 1:]
        shine = shine * (0.35 + 2.0 * rim) * (facing > 0)
        reach = lit[:, None] if number == 0 else 0.35 + 0.65 * open_sky[:, None]
        if number == 0:  # a shadow's edge on skin is red
            soft = torch.cat([reach**0.75, reach, reach**1.1], 1)
            reach = torch.where((kind == SKIN)[:, None], soft, reach.expand(-1, 3))
        out = out + power * (colour * diffuse + shine) * reach
    exposure = torch.tensor([picture.lighting.exposure for picture in pictures], device=device)[at]
    return out * exposure[:, None]


def crevices(depth: Tensor, views: Sequence[View]) -> Tensor:
    """How much of the sky each pixel sees, (views, h, w) 0..1, from depth (views, h, w) in metres.

    Opposite neighbours are taken together, so that a slope counts as flat and a hollow as hollow.
    """
    _, h, w = depth.shape
    y, x = torch.meshgrid(
        torch.arange(h, device=depth.device) + 0.5, torch.arange(w, device=depth.device) + 0.5, indexing="ij"
    )
    here = depth.clamp(max=1e4)
    focal = torch.tensor([view.focal for view in views], device=depth.device)[:, None, None]
    total = torch.zeros_like(depth)
    for radius, reach in ((0.010, 0.012), (0.026, 0.025), (0.065, 0.05)):
        pixels = (focal * radius / here).clamp(0.75, 0.2 * h)
        for turn in range(4):
            angle = math.pi * (turn + 0.5 * (radius == 0.026)) / 4
            both = []
            for sign in (1, -1):
                at_x = (x + sign * math.cos(angle) * pixels) / w * 2 - 1
                at_y = (y + sign * math.sin(angle) * pixels) / h * 2 - 1
                there = grid_sample(
                    here[:, None],
                    torch.stack([at_x, at_y], -1),
                    mode="nearest",
                    padding_mode="border",
                    align_corners=False,
                )[:, 0]
                both.append(((here - there) / reach).clamp(-1, 1))
            total += (both[0] + both[1]).clamp(min=0) * 0.5
    return (1 - total / 12 * 1.5).clamp(0.25, 1)
