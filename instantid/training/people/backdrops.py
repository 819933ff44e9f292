"""What is behind the figures: plain paper, studios, rooms, streets and fields, from a few colours and a seed.

All but the flat ones are places: a floor at y = 0 that figures stand and throw their shadow on, and something behind
it. They turn with the camera, so that it never looks past their edge. Colours linear.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import conv2d, interpolate, pad

from instantid.errors import InvalidRequest

from .body import about
from .camera import View
from .description import BACKGROUNDS, Picture
from .dressing import GAMMA


@dataclass(frozen=True, eq=False)
class Ground:
    """The floor as the camera sees it."""

    pixels: Tensor  # (n,) int64, which of the picture's h * w show it
    points: Tensor  # (n, 3) world


@dataclass(frozen=True, eq=False)
class _Place:
    """What painters get: for each pixel where its ray goes, in metres of the place's own axes."""

    colours: list[Tensor]
    random: np.random.Generator
    up: Tensor  # (h, w) slope of the ray, positive above the horizon
    across: Tensor  # (h, w) on the wall, metres
    height: Tensor  # (h, w) on the wall, metres
    floor: Tensor  # (h, w, 2) where the ray meets the floor
    far: Tensor  # (h, w) how far that is; inf when it does not before the wall

    def colour(self, number: int) -> Tensor:
        return self.colours[number % len(self.colours)]


def paint(picture: Picture, view: View, device: torch.device) -> tuple[Tensor, Ground | None]:
    """Paint one background, (h, w, 3), and say where it shows a floor."""
    backdrop = picture.background
    h, w = picture.height, picture.width
    if backdrop.kind not in BACKGROUNDS:
        raise InvalidRequest(
            f"There is no background “{backdrop.kind}”. There are: {', '.join(BACKGROUNDS)}."
        )
    colours = [torch.tensor(colour, device=device) ** GAMMA for colour in backdrop.colours]
    random = np.random.default_rng(backdrop.seed)
    if backdrop.kind in FLAT:
        return FLAT[backdrop.kind](h, w, colours, random), None
    place, points, floor = _look(picture, view, colours, random, device)
    image = PLACES[backdrop.kind](place)
    pixels = torch.nonzero(floor.reshape(-1)).squeeze(1)
    return _blur(image, backdrop.blur * 0.022 * h), Ground(pixels, points.view(-1, 3)[pixels])


def _look(
    picture: Picture, view: View, colours: list[Tensor], random: np.random.Generator, device: torch.device
) -> tuple[_Place, Tensor, Tensor]:
    h, w = picture.height, picture.width
    y, x = torch.meshgrid(
        torch.arange(h, device=device) + 0.5, torch.arange(w, device=device) + 0.5, indexing="ij"
    )
    ray = torch.stack(
        [(x - view.centre[0]) / view.focal, (y - view.centre[1]) / view.focal, torch.ones_like(x)], -1
    )
    ray = ray @ view.turn.float().to(device)
    eye = view.eye.float().to(device)
    target = view.target.float().to(device)
    # the place faces the camera, a little askew; its wall is some metres behind what is framed
    turn = about("y", -(picture.camera.yaw + float(random.uniform(-25, 25)))).float().to(device)
    own_ray, own_eye = ray @ turn.T, turn @ (eye - target * torch.tensor([1.0, 0, 1.0], device=device))
    behind = float(random.uniform(1.2, 4.0))
    to_wall = (-behind - own_eye[2]) / own_ray[..., 2].clamp(max=-0.05)
    to_floor = torch.where(own_ray[..., 1] < -1e-4, -own_eye[1] / own_ray[..., 1].clamp(max=-1e-4), torch.inf)
    on_wall = own_eye + own_ray * to_wall[..., None]
    far = torch.where(to_floor < to_wall, to_floor, torch.inf)
    open_far = torch.where(to_floor < 400, to_floor, torch.inf) if OPEN[picture.background.kind] else far
    on_floor = own_eye + own_ray * open_far.clamp(max=1e3)[..., None]
    points = eye + ray * open_far.clamp(max=1e3)[..., None]
    place = _Place(
        colours=colours,
        random=random,
        up=own_ray[..., 1] / own_ray[..., [0, 2]].norm(dim=-1),
        across=on_wall[..., 0],
        height=on_wall[..., 1],
        floor=on_floor[..., [0, 2]],
        far=open_far,
    )
    return place, points, torch.isfinite(open_far)


def _plain(h: int, w: int, colours: list[Tensor], random: np.random.Generator) -> Tensor:
    return colours[0].expand(h, w, 3)


def _gradient(h: int, w: int, colours: list[Tensor], random: np.random.Generator) -> Tensor:
    y = torch.linspace(0, 1, h, device=colours[0].device)[:, None, None]
    mix = (y + 0.5 * (_noise(random, h, w, 5, colours[0].device)[..., None] - 0.5)).clamp(0, 1)
    return torch.lerp(colours[0], colours[-1], mix)


def _bokeh(h: int, w: int, colours: list[Tensor], random: np.random.Generator) -> Tensor:
    image = _gradient(h, w, [0.35 * colour for colour in colours], random)
    y = (torch.arange(h, device=image.device)[:, None] + 0.5) / h
    x = (torch.arange(w, device=image.device)[None] + 0.5) / h
    for _ in range(int(random.integers(12, 30))):
        at_x, at_y, size = random.uniform(0, w / h), random.uniform(0, 1), random.uniform(0.02, 0.075)
        light = colours[int(random.integers(len(colours)))] * float(random.uniform(0.3, 1.1))
        away = ((x - at_x) ** 2 + (y - at_y) ** 2).sqrt()
        disc = ((size - away) * h * 0.5 + 0.5).clamp(0, 1) * (0.75 + 0.25 * (away / size).clamp(0, 1))
        image = image + disc[..., None] * light * 0.8
    return _blur(image, 0.006 * h)


FLAT: dict[str, Callable[[int, int, list[Tensor], np.random.Generator], Tensor]] = {
    "plain": _plain,
    "gradient": _gradient,
    "bokeh": _bokeh,
}


def _studio(place: _Place) -> Tensor:
    """Paper that rolls from the wall onto the floor, brighter behind the figure."""
    h, w = place.up.shape
    glow = torch.exp(-((place.across / 1.6) ** 2) - ((place.height - 1.3) / 1.5) ** 2)
    wall = place.colour(0) * (0.65 + 0.5 * glow)[..., None]
    floor = torch.lerp(place.colour(0), place.colour(1), 0.35) * 0.9
    edge = (0.18 - place.height).mul(4).clamp(0, 1)[..., None]
    return torch.lerp(wall, floor.expand(h, w, 3), edge * edge * (3 - 2 * edge))


def _room(place: _Place) -> Tensor:
    """A wall with a skirting board, a few pictures or a window on it, and a floor of planks."""
    h, w = place.up.shape
    device = place.up.device
    wall = place.colour(0) * (0.85 + 0.15 * _noise(place.random, h, w, 4, device))[..., None]
    for _ in range(int(place.random.integers(1, 5))):
        x, y = float(place.random.uniform(-2.6, 2.6)), float(place.random.uniform(1.1, 2.3))
        half_w, half_h = float(place.random.uniform(0.18, 0.7)), float(place.random.uniform(0.2, 0.55))
        away = torch.maximum((place.across - x).abs() / half_w, (place.height - y).abs() / half_h)
        inner = place.colour(int(place.random.integers(1, 9))) * float(place.random.uniform(0.4, 1.6))
        frame = place.colour(int(place.random.integers(0, 9))) * float(place.random.uniform(0.1, 0.6))
        wall = torch.where((away < 1)[..., None], frame, wall)
        shade = 0.8 + 0.4 * (place.height - y + half_h)[..., None] / (2 * half_h)
        wall = torch.where((away < 0.88)[..., None], inner * shade, wall)
    wall = torch.where((place.height < 0.12)[..., None], wall * 0 + 0.55, wall)
    board = (place.floor[..., 0] / 0.16).floor()
    grain = ((board * 12.9898).sin() * 43758.5453) % 1.0
    seam = (place.floor[..., 0] / 0.16 - board < 0.05) | (
        ((place.floor[..., 1] + grain * 3) / 1.4) % 1.0 < 0.01
    )
    floor = place.colour(2) * (0.55 + 0.35 * grain)[..., None] * torch.where(seam, 0.6, 1.0)[..., None]
    return torch.where(torch.isfinite(place.far)[..., None], floor, wall)


def _street(place: _Place) -> Tensor:
    """House fronts with rows of windows across a paved square."""
    sky = torch.lerp(place.colour(1), place.colour(0), (place.up * 2).clamp(0, 1)[..., None])
    # the fronts stand some way off: what the near wall would show, seen from further away, is smaller
    scale = float(place.random.uniform(4, 8))
    x, y = place.across * scale, (place.up * 22.0) + 1.6
    house = (x / 9 + 100).floor()
    chance = ((house * 78.233).sin() * 43758.5453) % 1.0
    roof = 7 + 9 * chance
    tone = torch.lerp(place.colour(2), place.colour(3), chance[..., None]) * (0.6 + 0.5 * chance)[..., None]
    pane = ((x / 2.2) % 1.0 - 0.5).abs() < 0.24
    pane &= (((y - 0.6) / 3.1) % 1.0 - 0.5).abs() < 0.28
    glass = place.colour(1) * (0.25 + 0.5 * chance)[..., None]
    front = torch.where(pane[..., None], glass, tone)
    behind = torch.where((y < roof)[..., None], front, sky)
    stone = ((place.floor / 0.5).floor() * torch.tensor([12.9898, 78.233], device=x.device)).sum(
        -1
    ).sin() * 43758.5
    ground = place.colour(4) * (0.55 + 0.2 * (stone % 1.0))[..., None]
    near = torch.exp(-(place.far.clamp(max=1e3) / 25))[..., None]
    ground = torch.lerp(place.colour(1) * 0.6, ground, near)
    return torch.where(torch.isfinite(place.far)[..., None], ground, behind)


def _landscape(place: _Place) -> Tensor:
    """Grass, two lines of hills and a sky with clouds."""
    h, w = place.up.shape
    device = place.up.device
    cloud = (_noise(place.random, h, w, 7, device) * 1.6 - 0.7).clamp(0, 1)[..., None]
    sky = torch.lerp(place.colour(1), place.colour(0), (place.up * 2.5).clamp(0, 1)[..., None])
    image = torch.lerp(sky, sky * 0.3 + 0.7, cloud * 0.8)
    for line in range(2):
        phases = place.random.uniform(0, 6.28, 4)
        top = sum((place.across * (0.25 + 0.4 * k) + phases[k]).sin() / (k + 1) for k in range(4))
        hill = torch.lerp(place.colour(1), place.colour(2 + line), 0.45 + 0.4 * line) * 0.7
        image = torch.where((place.up < 0.10 - 0.05 * line + 0.025 * top)[..., None], hill, image)
    tuft = _noise(place.random, h, w, 40, device) * 0.35 + 0.4
    grass = place.colour(3) * tuft[..., None]
    near = torch.exp(-(place.far.clamp(max=1e3) / 30))[..., None]
    ground = torch.lerp(torch.lerp(place.colour(1), place.colour(3), 0.6) * 0.6, grass, near)
    return torch.where(torch.isfinite(place.far)[..., None], ground, image)


PLACES: dict[str, Callable[[_Place], Tensor]] = {
    "studio": _studio,
    "room": _room,
    "street": _street,
    "landscape": _landscape,
    "beach": _landscape,
    "snow": _landscape,
    "sunset": _landscape,
    "forest": _landscape,
    "garden": _landscape,
    "night": _street,
}
OPEN = {kind: painter in (_street, _landscape) for kind, painter in PLACES.items()}
"""Whether the floor goes on to the horizon rather than to a wall."""


def _noise(random: np.random.Generator, h: int, w: int, cells: int, device: torch.device) -> Tensor:
    """(h, w) soft noise 0..1, `cells` bumps high."""
    grid = random.random((1, 1, cells, max(2, round(cells * w / h))), dtype=np.float32)
    return interpolate(torch.from_numpy(grid).to(device), (h, w), mode="bicubic", align_corners=True)[
        0, 0
    ].clamp(0, 1)


def _blur(image: Tensor, sigma: float) -> Tensor:
    """Blur (h, w, 3) by a Gaussian of so many pixels."""
    if sigma < 0.4:
        return image
    reach = min(math.ceil(2.5 * sigma), min(image.shape[:2]) - 1)
    x = torch.arange(-reach, reach + 1, device=image.device)
    kernel = torch.exp(-((x / sigma) ** 2) / 2)
    kernel = kernel / kernel.sum()
    planes = image.permute(2, 0, 1)[:, None]
    planes = conv2d(pad(planes, (reach, reach, 0, 0), mode="reflect"), kernel.view(1, 1, 1, -1))
    planes = conv2d(pad(planes, (0, 0, reach, reach), mode="reflect"), kernel.view(1, 1, -1, 1))
    return planes[:, 0].permute(1, 2, 0)
