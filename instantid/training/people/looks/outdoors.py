"""Places under a sky, and beneath the sea: each paints (h, w, 3) afresh from the picture's draws, so that a word of a
caption stands for a kind of place and not for one picture.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .marks import fade, hills, leaves, spots, trunks
from .sheet import Array, Random, rgb
from .textures import noise


def wood(h: int, w: int, random: Random, air: Sequence[str], trunk: str = "2a2018", count: int = 14) -> Array:
    """Trees in haze."""
    image = fade(h, w, air) * (0.85 + 0.3 * noise(h, w, 0.3, random, 4))[..., None]
    return cv2.GaussianBlur(trunks(image, random, trunk, count, 0.07), (0, 0), 0.006 * h)


def jungle(h: int, w: int, random: Random) -> Array:
    """Wet leaves and vines with orange light between."""
    image = spots(
        fade(h, w, ("6f8f4a", "1f3d24", "10241a")), random, ("ff9a3c", "e9c46a"), 8, (0.03, 0.09), 0.03
    )
    image = leaves(image, random, ("1d4d2b", "2f6b35", "3f7f3f", "16382a"), 120, 0.28)
    return cv2.GaussianBlur(image, (0, 0), 0.005 * h)


def meadow(
    h: int, w: int, random: Random, sky: Sequence[str], ground: Sequence[str], flowers: Sequence[str] = ()
) -> Array:
    """Fields under a sky, with flowers."""
    image = hills(fade(h, w, sky), random, ground, 0.55, 0.12)
    if flowers:
        lower = image[int(0.55 * h) :]
        image[int(0.55 * h) :] = spots(lower, random, flowers, 90, (0.006, 0.02))
    return cv2.GaussianBlur(image, (0, 0), 0.008 * h)


def mountains(
    h: int, w: int, random: Random, sky: Sequence[str], ground: Sequence[str], snow: bool = False
) -> Array:
    """Ranges one behind the other; with `snow` their upper parts are white."""
    image = hills(fade(h, w, sky), random, ground, 0.35, 0.5, 0.6)
    if snow:
        image = spots(image, random, ("ffffff",), 60, (0.003, 0.008))
    return image


def desert(
    h: int, w: int, random: Random, sky: Sequence[str], ground: Sequence[str], domes: bool = False
) -> Array:
    """Dunes; `domes` of a colony stand on the horizon."""
    image = fade(h, w, sky)
    if domes:
        for x in random.integers(0, w, 3):
            radius = int(random.uniform(0.06, 0.13) * w)
            cv2.ellipse(
                image, (int(x), int(0.55 * h)), (radius, radius), 0, 180, 360, rgb("d9cfc4"), -1, cv2.LINE_AA
            )
            cv2.ellipse(
                image, (int(x), int(0.55 * h)), (radius, radius), 0, 180, 300, rgb("8d857f"), 1, cv2.LINE_AA
            )
    return hills(image, random, ground, 0.55, 0.16, 0.8)


def city(
    h: int,
    w: int,
    random: Random,
    sky: Sequence[str],
    walls: Sequence[str],
    windows: Sequence[str],
    lit: float = 0.4,
) -> Array:
    """Houses in rows, some windows lit."""
    image = fade(h, w, sky)
    for number, code in enumerate(walls):
        x = -int(random.integers(0, max(w // 8, 1)))
        while x < w:
            wide = int(random.uniform(0.1, 0.22) * w)
            top = int(random.uniform(0.05, 0.45) * h + 0.16 * number * h)
            shade = random.uniform(0.8, 1.15)
            cv2.rectangle(image, (x, top), (x + wide, h), tuple(min(c * shade, 1.0) for c in rgb(code)), -1)
            gap = max(h // 36, 3)
            for wy in range(top + gap, h, 2 * gap):
                for wx in range(x + gap // 2, x + wide - gap // 2, gap + 1):
                    if random.random() < lit:
                        colour = rgb(windows[random.integers(len(windows))])
                        cv2.rectangle(image, (wx, wy), (wx + gap // 2, wy + gap // 2), colour, -1)
            x += wide + int(random.uniform(0, 0.03) * w)
    return cv2.GaussianBlur(image, (0, 0), 0.006 * h)


def sea(h: int, w: int, random: Random) -> Array:
    """Under water: rays from above, a reef below."""
    image = hills(
        fade(h, w, ("7fe0e0", "1f9fb0", "0b4a66")), random, ("1b6a72", "d0705a", "3a4a6a"), 0.78, 0.2, 0.2
    )
    y, x = np.mgrid[0 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    angle = (x + random.uniform(-0.4, 0.4)) / (y + 0.5)
    rays = np.interp(angle, np.linspace(-3, 3, 60), random.random(60)).astype(np.float32) * (1 - y)
    return image + 0.35 * rays[..., None] * np.array(rgb("d8ffff"))


def beach(h: int, w: int, random: Random) -> Array:
    """Sky, water, sand, and the shadow of palms."""
    image = fade(h, w, ("4fb0e8", "c8ecf8"))
    image[int(0.5 * h) : int(0.72 * h)] = fade(int(0.72 * h) - int(0.5 * h), w, ("1fa8b8", "7fe0d8"))
    image[int(0.72 * h) :] = fade(h - int(0.72 * h), w, ("f4e4c0", "e8cf9c"))
    crown = (int(random.uniform(0.05, 0.95) * w), int(0.12 * h))
    for angle in range(0, 360, 40):
        cv2.ellipse(
            image,
            crown,
            (int(0.28 * w), int(0.05 * h)),
            angle + 20,
            0,
            120,
            rgb("1f6a3a"),
            max(h // 40, 1),
            cv2.LINE_AA,
        )
    return cv2.GaussianBlur(image, (0, 0), 0.006 * h)


def space(h: int, w: int, random: Random, planet: str = "3a78c8", near: bool = False) -> Array:
    """Stars and a planet; `near` adds the frames of a ship's window."""
    image = spots(fade(h, w, ("05060f", "0a0c1c")), random, ("ffffff", "cfe0ff"), 70, (0.0, 0.004))
    centre = (int(random.uniform(0, 1) * w), int(random.uniform(0.3, 0.7) * h))
    ball = np.zeros((h, w), np.float32)
    cv2.circle(ball, centre, int(0.42 * w), 1.0, -1, cv2.LINE_AA)
    cloud = 0.5 + 0.8 * noise(h, w, 0.2, random, 4, stretch=3)
    x = np.linspace(1.1, 0.25, w, dtype=np.float32)[None]
    image = image * (1 - ball[..., None]) + (ball * cloud * x)[..., None] * np.array(rgb(planet))
    if near:
        for x in (0.18, 0.82):
            cv2.line(
                image, (int(x * w), 0), (int((x - 0.1) * w), h), rgb("2a3038"), max(w // 22, 2), cv2.LINE_AA
            )
        image[int(0.85 * h) :] = spots(
            fade(h - int(0.85 * h), w, ("20262e", "10141a")), random, ("4fd0ff", "ff6a4a"), 24, (0.004, 0.01)
        )
    return image


def grid_horizon(h: int, w: int, random: Random) -> Array:
    """A striped sun over a grid that runs to the horizon."""
    image = fade(h, w, ("1a0b3a", "6a1f8a", "ff5fa8"))
    centre, radius = (w // 2 + int(random.uniform(-0.3, 0.3) * w), int(0.42 * h)), int(0.26 * w)
    sun = np.zeros((h, w), np.float32)
    cv2.circle(sun, centre, radius, 1.0, -1, cv2.LINE_AA)
    sun *= (np.arange(h)[:, None] % max(h // 24, 3) > 0) | (np.arange(h)[:, None] < centre[1])
    image = image * (1 - sun[..., None]) + sun[..., None] * fade(h, w, ("ffe25f", "ff8f5f", "ff3f9f"))
    horizon = int(0.66 * h)
    image[horizon:] = rgb("14082e")
    for x in range(-8, 9):
        cv2.line(
            image, (w // 2 + x * w // 14, horizon), (w // 2 + x * w // 3, h), rgb("3fe0ff"), 1, cv2.LINE_AA
        )
    for part in (0.0, 0.12, 0.3, 0.6):
        y = horizon + int(part * (h - horizon))
        cv2.line(image, (0, y), (w, y), rgb("ff4fd8"), 1, cv2.LINE_AA)
    return image
