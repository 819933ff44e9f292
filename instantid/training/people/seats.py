"""The stool somebody sits on: an upholstered drum, turned round its axis from a profile."""

import math

import numpy as np
import torch
from torch import Tensor

from .meshes import incident_faces

PROFILE = (
    (0.0, 0.0),
    (0.93, 0.0),
    (0.95, 0.03),
    (1.0, 0.5),
    (0.99, 0.88),
    (0.95, 0.96),
    (0.86, 1.0),
    (0.0, 1.0),
)
"""(radius, height) as shares, from the middle of the bottom outside round to the middle of the top."""
RADIUS = 0.23
SIDES = 28
UNDER = 0.2
"""Metres round the pelvis in which the body's lowest point rests on the stool."""
SINKING = 0.015
AHEAD = 0.05
"""Metres the stool's middle is before the pelvis'."""


class Stool:
    """The mesh on one device, as `dressing` wants its parts: V vertices, F triangles."""

    def __init__(self, device: torch.device) -> None:
        turns = np.arange(SIDES) * 2 * math.pi / SIDES
        rings = [(r * np.sin(turns), np.full(SIDES, y), r * np.cos(turns)) for r, y in PROFILE]
        at = np.arange(SIDES)
        after = (at + 1) % SIDES
        faces = []
        for ring in range(len(PROFILE) - 1):
            low, high = ring * SIDES, (ring + 1) * SIDES
            faces.append(np.stack([low + at, low + after, high + at], 1))
            faces.append(np.stack([high + at, low + after, high + after], 1))
        faces = np.concatenate(faces)
        shape = np.concatenate([np.stack(ring, 1) for ring in rings]).astype(np.float32)
        self.shape = torch.from_numpy(shape).to(device)  # (V, 3) of radius and height 1
        self.faces = torch.from_numpy(faces).to(device)  # (F, 3)
        self.neighbours = torch.from_numpy(incident_faces(faces, len(shape))).to(device).long()  # (V, most)
        self.uv = torch.zeros(len(faces), 3, 2, device=device)  # one texel of whatever cloth

    def under(self, body: Tensor, place: Tensor, heading: float) -> Tensor:
        """Stand it under a body (n, 3) on the floor whose pelvis is at `place` (3,): (V, 3)."""
        away = (body[:, [0, 2]] - place[[0, 2]]).norm(dim=1)
        top = body[away < UNDER, 1].min() + SINKING
        turn = math.radians(heading)
        ahead = torch.tensor([math.sin(turn) * AHEAD, 0, math.cos(turn) * AHEAD], device=body.device)
        middle = torch.stack([place[0], torch.zeros_like(top), place[2]]) + ahead
        size = torch.stack([torch.full_like(top, RADIUS), top, torch.full_like(top, RADIUS)])
        return self.shape * size + middle
