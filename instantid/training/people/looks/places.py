"""Setting people before a place, and what falls or drifts through the air there."""

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from .sheet import Array, Random, Sheet, Step, do, rgb
from .textures import noise

EIGHTHS = 3  # OpenCV draws at fractions of a pixel when told how many bits they have
Place = Callable[[int, int, Random], Array]


def before(sheet: Sheet, place: Place, strength: float = 1.0, tint: float = 0.18) -> Sheet:
    """Set people before a place, and let its light fall on them a little."""
    behind = np.clip(place(*sheet.size, sheet.random), 0, 1).astype(np.float32)
    mean = behind.mean(axis=(0, 1))
    light = (1 - tint) + tint * mean / max(float(mean.mean()), 0.15)
    share = strength * (1 - sheet.person[..., None])
    return sheet.with_image(sheet.image * light * (1 - share) + behind * share)


def falling(
    sheet: Sheet,
    colours: Sequence[str],
    count: int = 60,
    size: tuple[float, float] = (0.003, 0.01),
    slant: float = 0.0,
    streak: float = 0.0,
) -> Sheet:
    """Snow, leaves, ash, fireflies, bubbles; with `streak` rain. Few of them before faces."""
    h, w = sheet.size
    layer, share = np.zeros((h, w, 3), np.float32), np.zeros((h, w), np.float32)
    for _ in range(count):
        x, y = int(sheet.random.integers(w)), int(sheet.random.integers(h))
        if sheet.person[y, x] > 0.5 and sheet.random.random() < 0.7:
            continue
        colour = rgb(colours[sheet.random.integers(len(colours))])
        weight = float(sheet.random.uniform(0.4, 1))
        if streak:
            end = (x + int(slant * streak * h), y + int(streak * h * sheet.random.uniform(0.5, 1)))
            cv2.line(layer, (x, y), end, colour, 1, cv2.LINE_AA)
            cv2.line(share, (x, y), end, 0.5 * weight, 1, cv2.LINE_AA)
        else:
            radius = max(sheet.random.uniform(*size) * min(h, w), 0.7)
            axes = (round(8 * radius), round(8 * radius * sheet.random.uniform(0.6, 1)))
            centre = (8 * x, 8 * y)
            angle = float(sheet.random.uniform(0, 180))
            cv2.ellipse(layer, centre, axes, angle, 0, 360, colour, -1, cv2.LINE_AA, EIGHTHS)
            cv2.ellipse(share, centre, axes, angle, 0, 360, weight, -1, cv2.LINE_AA, EIGHTHS)
    share = share[..., None]
    return sheet.with_image(sheet.image * (1 - share) + layer * share)


def mist(sheet: Sheet, colour: str = "d8dde2", strength: float = 0.5) -> Sheet:
    """Haze that lies low and behind people."""
    h, w = sheet.size
    low = np.linspace(0.3, 1, h, dtype=np.float32)[:, None]
    share = strength * low * noise(h, w, 0.4, sheet.random, 3, stretch=2) * (1 - 0.85 * sheet.person)
    return sheet.with_image(sheet.image * (1 - share[..., None]) + share[..., None] * np.array(rgb(colour)))


def in_front_of(
    place: Callable[..., Array],
    *values: object,
    strength: float = 1.0,
    tint: float = 0.18,
    **settings: object,
) -> Step:
    """The step that sets people before the place painted with these values."""
    return do(
        before, lambda h, w, random: place(h, w, random, *values, **settings), strength=strength, tint=tint
    )
