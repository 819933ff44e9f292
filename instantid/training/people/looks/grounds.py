"""Rooms, studio grounds and the patterns of posters behind people: each paints (h, w, 3) from the picture's draws."""

from collections.abc import Sequence

import cv2
import numpy as np

from .marks import fade, spots
from .sheet import Array, Random, rgb
from .textures import cells, noise


def lights(
    h: int, w: int, random: Random, ground: Sequence[str], colours: Sequence[str], count: int = 26
) -> Array:
    """Lights out of focus."""
    return spots(fade(h, w, ground), random, colours, count, (0.02, 0.07), 0.004)


def room(
    h: int, w: int, random: Random, wall: str, light: str, window: bool = True, floor: str = "3a2f28"
) -> Array:
    """A wall with a tall window, or with lamps, and things out of focus."""
    image = fade(h, w, (wall, wall)) * np.linspace(1.1, 0.75, h, dtype=np.float32)[:, None, None]
    x = int(random.choice([0.05, 0.68]) * w)
    if window:
        cv2.rectangle(image, (x, int(0.06 * h)), (x + int(0.27 * w), int(0.75 * h)), rgb(light), -1)
        for part in (1 / 3, 2 / 3):
            cv2.line(
                image,
                (x, int(part * 0.8 * h)),
                (x + int(0.27 * w), int(part * 0.8 * h)),
                rgb(wall),
                max(w // 60, 1),
            )
    else:
        image = spots(image, random, (light,), 6, (0.02, 0.06), 0.02)
    image[int(0.86 * h) :] = rgb(floor)
    return cv2.GaussianBlur(image, (0, 0), 0.014 * h)


def arches(h: int, w: int, random: Random, stone: str, beyond: str) -> Array:
    """Pointed arches of a hall, with light behind."""
    image = fade(h, w, (stone, stone)) * (0.8 + 0.4 * noise(h, w, 0.08, random, 4))[..., None]
    shift = random.uniform(-0.15, 0.15)
    for x in (0.0, 0.36, 0.72):
        left, wide = int((x + shift) * w), int(0.26 * w)
        cv2.rectangle(image, (left, int(0.32 * h)), (left + wide, h), rgb(beyond), -1)
        cv2.ellipse(
            image,
            (left + wide // 2, int(0.33 * h)),
            (wide // 2, int(0.24 * h)),
            0,
            180,
            360,
            rgb(beyond),
            -1,
            cv2.LINE_AA,
        )
    return cv2.GaussianBlur(image, (0, 0), 0.01 * h)


def backdrop(h: int, w: int, random: Random, colours: Sequence[str], mottle: float = 0.15) -> Array:
    """A studio's or a painter's ground: lighter in the middle."""
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    far = np.clip(np.hypot(x + random.uniform(-0.3, 0.3), y) / 1.3, 0, 1)
    table = np.array([rgb(code) for code in colours], np.float32)
    places = np.linspace(0, 1, len(colours))
    image = np.stack([np.interp(far, places, table[:, c]) for c in range(3)], axis=-1)
    return (image * (1 + mottle * (noise(h, w, 0.3, random, 4) - 0.5))[..., None]).astype(np.float32)


def flat(h: int, w: int, random: Random, colours: Sequence[str]) -> Array:
    """One of the colours."""
    return np.full((h, w, 3), rgb(colours[random.integers(len(colours))]), np.float32)


def rays(h: int, w: int, random: Random, colours: Sequence[str], count: int = 18) -> Array:
    """A sunburst around a point of the middle."""
    y, x = np.mgrid[0 : 1 : h * 1j, 0 : 1 : w * 1j].astype(np.float32)
    angle = np.arctan2(y - random.uniform(0.4, 0.6), x - 0.5) / (2 * np.pi) * count
    return np.array([rgb(code) for code in colours], np.float32)[np.floor(angle).astype(int) % len(colours)]


def shapes(h: int, w: int, random: Random, ground: str, colours: Sequence[str]) -> Array:
    """Circles, bars and quarters on a plain ground, as posters of the 1920s have."""
    image = np.full((h, w, 3), rgb(ground), np.float32)
    for number, code in enumerate(colours):
        x, y, size = int(random.uniform(0, w)), int(random.uniform(0, h)), int(random.uniform(0.14, 0.35) * w)
        if number % 2:
            cv2.line(
                image,
                (x - 2 * size, y + 2 * size),
                (x + 2 * size, y - 2 * size),
                rgb(code),
                max(size // 4, 2),
                cv2.LINE_AA,
            )
        else:
            cv2.circle(image, (x, y), size, rgb(code), -1, cv2.LINE_AA)
    return image


def waves(
    h: int, w: int, random: Random, colours: Sequence[str], size: float = 0.35, bands: int = 9
) -> Array:
    """Swirling bands."""
    field = noise(h, w, size, random, 2) * bands
    return np.array([rgb(code) for code in colours], np.float32)[np.floor(field).astype(int) % len(colours)]


def facet_wall(h: int, w: int, random: Random, colours: Sequence[str]) -> Array:
    """Flat irregular patches of few colours."""
    labels, _ = cells(h, w, np.full((h, w), 0.16 * min(h, w)), random)
    table = np.array([rgb(code) for code in colours], np.float32)
    return table[random.integers(len(colours), size=labels.max() + 1)][labels]
