"""From “the bust fills four fifths of the picture” to the matrices that put a point of the world on a pixel."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instantid.errors import InvalidRequest

from .body import about
from .description import FRAMES, Camera

CUT = ("bust", "half")
"""Frames that cut the body off below: who is shown goes on there."""


@dataclass(frozen=True, eq=False)
class View:
    """A camera that has found its place. Camera coordinates: x right, y down, z forward."""

    turn: Tensor  # (3, 3) world to camera
    eye: Tensor  # (3,)
    focal: float  # pixels
    centre: tuple[float, float]  # where straight ahead lands, pixels
    target: Tensor  # (3,) middle of what is framed
    radius: float  # metres from the target to the edge of what is framed


def place(camera: Camera, boxes: Sequence[Tensor], width: int, height: int) -> View:
    """Find where the camera stands.

    Args:
        camera: what to frame.
        boxes: per figure the (n, 3) points that the frame must hold.
        width, height: of the picture, pixels.
    """
    if camera.frame not in FRAMES:
        raise InvalidRequest(f"A camera frames one of {', '.join(FRAMES)}; got “{camera.frame}”.")
    if any(subject not in range(len(boxes)) for subject in camera.subjects):
        raise InvalidRequest(
            f"The camera's subjects are {camera.subjects}, but there are {len(boxes)} figures."
        )
    points = torch.cat([boxes[subject] for subject in camera.subjects or range(len(boxes))]).double().cpu()
    flip = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=torch.float64))
    turn = about("z", camera.roll) @ flip @ about("x", camera.pitch) @ about("y", -camera.yaw)
    seen = points @ turn.T
    low, high = seen.amin(0), seen.amax(0)
    across, down, deep = (high - low).tolist()
    focal = height / 2 / math.tan(math.radians(camera.field_of_view) / 2)
    by_height, by_width = down * focal / (camera.fill * height), across * focal / (camera.fill * width)
    distance = max(by_height, by_width) + deep * 0.25
    middle = (low + high) / 2
    if camera.frame in CUT and by_width > by_height:  # people side by side: room below them, not above
        middle[1] += (distance * camera.fill * height / focal - down) / 2
    target = turn.T @ middle
    eye = turn.T @ (middle - torch.tensor([0, 0, distance], dtype=torch.float64))
    centre = (width * (0.5 + camera.shift[0]), height * (0.5 + camera.shift[1]))
    return View(turn, eye, focal, centre, target, max(across, down, 0.3) / 2)
