"""What places are put together from: fades of colour, rows of hills, spots, trunks, leaves. Colours run from top to
bottom or from far to near.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .sheet import Array, Random, rgb
from .textures import noise, ridges


def fade(h: int, w: int, colours: Sequence[str]) -> Array:
    """Colours from top to bottom."""
    table = np.array([rgb(code) for code in colours], np.float32)
    places = np.linspace(0, 1, len(colours))
    column = np.stack([np.interp(np.linspace(0, 1, h), places, table[:, c]) for c in range(3)], axis=-1)
    return np.repeat(column[:, None].astype(np.float32), w, axis=1)


def hills(
    image: Array, random: Random, colours: Sequence[str], top: float, steep: float, size: float = 0.5
) -> Array:
    """Rows of hills from far to near, the first at `top` of the height; each darker part fades downwards."""
    h, w = image.shape[:2]
    y = np.linspace(0, 1, h, dtype=np.float32)[:, None]
    for number, code in enumerate(colours):
        base = top + (0.98 - top) * number / max(len(colours), 1)
        line = base + steep * (0.5 - ridges(w, size / (1 + 0.4 * number), random))[None]
        hill = np.clip((y - line) * h, 0, 1)[..., None]
        shade = 1 + 0.25 * (noise(h, w, 0.15, random, 4) - 0.5) - 0.15 * np.clip((y - line) * 2, 0, 1)
        image = image * (1 - hill) + hill * np.array(rgb(code)) * shade[..., None]
    return image


def spots(
    image: Array,
    random: Random,
    colours: Sequence[str],
    count: int,
    size: tuple[float, float],
    soft: float = 0.0,
) -> Array:
    """Round spots, as lights out of focus, flowers or stars."""
    h, w = image.shape[:2]
    layer, share = np.zeros_like(image), np.zeros((h, w), np.float32)
    for _ in range(count):
        centre = (int(random.integers(w)), int(random.integers(h)))
        radius = max(round(random.uniform(*size) * min(h, w)), 0)
        cv2.circle(layer, centre, radius, rgb(colours[random.integers(len(colours))]), -1, cv2.LINE_AA)
        cv2.circle(share, centre, radius, float(random.uniform(0.35, 0.9)), -1, cv2.LINE_AA)
    if soft:
        layer, share = (cv2.GaussianBlur(part, (0, 0), soft * min(h, w)) for part in (layer, share))
    return image * (1 - share[..., None]) + layer * share[..., None]


def trunks(image: Array, random: Random, code: str, count: int, width: float, haze: float = 0.5) -> Array:
    """Upright trunks, the far ones thin and pale."""
    h, w = image.shape[:2]
    for number in range(count):
        near = (number + 1) / count
        x, thick = random.integers(w), max(round(width * near * w), 1)
        lean = int(random.uniform(-0.04, 0.04) * w)
        colour = np.array(rgb(code)) * near + image.mean(axis=(0, 1)) * (1 - near) * haze * 1.6
        corners = np.array(
            [[x, 0], [x + thick, 0], [x + lean + int(1.3 * thick), h], [x + lean, h]], np.int32
        )
        cv2.fillConvexPoly(image, corners, tuple(map(float, np.clip(colour, 0, 1))), cv2.LINE_AA)
    return image


def leaves(image: Array, random: Random, colours: Sequence[str], count: int, length: float) -> Array:
    """Pointed leaves everywhere but the middle."""
    h, w = image.shape[:2]
    for number in range(count):
        x, y = random.integers(w), random.integers(h)
        size, angle = random.uniform(0.5, 1) * length * min(h, w), random.uniform(0, 360)
        axes = (max(round(size), 2), max(round(size * 0.16), 1))
        shade = 0.45 + 0.8 * number / count  # the near ones come last and catch the light
        colour = tuple(min(part * shade, 1.0) for part in rgb(colours[random.integers(len(colours))]))
        cv2.ellipse(image, (int(x), int(y)), axes, angle, 0, 360, colour, -1, cv2.LINE_AA)
    return image
