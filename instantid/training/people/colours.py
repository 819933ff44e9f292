"""Colours drawn at random, for hair, cloth, light and walls. sRGB 0..1."""

import colorsys

import numpy as np

from .description import Colour


def jittered(random: np.random.Generator, colour: Colour, width: float) -> Colour:
    """Nearly the same: lighter or darker by `width` (a share), the hue by a fourth of it."""
    factors = np.exp(random.normal(0, width) + random.normal(0, width / 4, 3))
    return tuple(round(float(min(part * factor, 1.0)), 4) for part, factor in zip(colour, factors))


def any_colour(
    random: np.random.Generator, *, most: float = 0.7, dark: float = 0.1, light: float = 0.85
) -> Colour:
    """Any hue, saturated up to `most`, of a lightness between the two; mostly muted, as cloth and walls are."""
    value = random.uniform(dark, light)
    return _of_hue(random.random(), most * random.random() ** 1.5, value)


def kindred(random: np.random.Generator, count: int) -> tuple[Colour, ...]:
    """Colours that go together: one hue and its neighbours, or its opposite, of different lightness."""
    hue, opposite = random.random(), random.random() < 0.25
    drawn = []
    for i in range(count):
        turned = hue + random.normal(0, 0.05) + (0.5 if opposite and i % 2 else 0)
        drawn.append(_of_hue(turned % 1, 0.45 * random.random() ** 1.6, random.uniform(0.15, 0.92)))
    return tuple(drawn)


def of_warmth(warmth: float) -> Colour:
    """Linear colour of a light: 0 white, 1 as warm as a candle, -1 blue like open shade. Green stays 1."""
    return round(1 + 0.35 * warmth, 4), 1.0, round(1 - 0.45 * warmth, 4)


def _of_hue(hue: float, saturation: float, value: float) -> Colour:
    return tuple(round(part, 4) for part in colorsys.hsv_to_rgb(hue, saturation, value))
