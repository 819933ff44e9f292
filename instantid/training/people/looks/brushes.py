"""Looks that are painted or drawn: oil, watercolour, pencil, pen and ink. Faces stay recognisable in all of them:
marks are finer on people than behind them.
"""

from collections.abc import Sequence

import cv2
import numpy as np

from .sheet import Array, Sheet, rgb
from .textures import flow, noise, paper, smear, strokes, wobble


def flatten(image: Array, radius: int) -> Array:
    """Kuwahara's filter: each pixel takes the mean of the calmest of four windows, as a brush would."""
    side = radius + 1
    mean = cv2.blur(image, (side, side))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    spread = cv2.blur(grey * grey, (side, side)) - cv2.blur(grey, (side, side)) ** 2
    half = (radius + 1) // 2
    best, least = mean, np.full(grey.shape, np.inf, np.float32)
    for dy in (-half, half):
        for dx in (-half, half):
            move = np.float32([[1, 0, dx], [0, 1, dy]])
            size = grey.shape[::-1]
            moved = cv2.warpAffine(spread, move, size, borderMode=cv2.BORDER_REFLECT)
            calmer = moved < least
            window = cv2.warpAffine(mean, move, size, borderMode=cv2.BORDER_REFLECT)
            best = np.where(calmer[..., None], window, best)
            least = np.where(calmer, moved, least)
    return best


def pixels(sheet: Sheet, share: float) -> int:
    return max(round(share * min(sheet.size)), 1)


def paint(sheet: Sheet, brush: float = 0.02, swirl: float = 0.03, relief: float = 0.25) -> Sheet:
    """Oil: flat dabs along the forms, with the paint's ridges catching light. Finer on people.

    Args:
        brush: width of a dab as a share of the shorter side.
        swirl: how far dabs are drawn out.
        relief: how thick the paint lies.
    """
    fine, coarse = (flatten(sheet.image, pixels(sheet, size)) for size in (0.45 * brush, 1.4 * brush))
    image = coarse + sheet.person[..., None] * (fine - coarse)
    along = flow(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), 0.025)
    broken = image * (1 + 0.16 * (noise(*sheet.size, 1.5 * brush, sheet.random, 1) - 0.5))[..., None]
    image = smear(broken, along, 0.35 * swirl) * (1 - 0.6 * sheet.person[..., None]) + image * (
        0.6 * sheet.person[..., None]
    )
    ridge = strokes(sheet.grey, sheet.random, length=swirl, width=max(0.3 * brush * min(sheet.size), 1))
    lit = cv2.Sobel(cv2.GaussianBlur(ridge, (0, 0), 0.8), cv2.CV_32F, 1, 0) * (1 - 0.75 * sheet.person)
    return sheet.with_image(image * (1 + relief * lit[..., None]))


def watercolour(sheet: Sheet, wash: float = 0.022, pale: float = 0.12) -> Sheet:
    """Transparent washes: flat areas, pigment gathered at their edges, grains of the paper, a bleeding border.

    After Bousseau et al. 2006, "Interactive watercolor rendering with temporal coherence and abstraction".
    """
    flat = flatten(sheet.image, pixels(sheet, wash * 0.7))
    image = flat + 0.8 * sheet.person[..., None] * (sheet.image - flat)
    image = cv2.bilateralFilter(wobble(image, sheet.random, 0.06, 0.004), 5, 0.12, pixels(sheet, wash))
    image = image + pale * (1 - image)
    thick = 1 + 0.9 * (noise(*sheet.size, 0.25, sheet.random, 4) - 0.5)
    gathered = np.abs(cv2.Laplacian(cv2.GaussianBlur(image, (0, 0), 1.0), cv2.CV_32F, ksize=3)).max(axis=2)
    thick += 1.2 * np.clip(gathered, 0, 0.4)
    thick += 3.0 * (paper(*sheet.size, sheet.random, 0.06) - 1)
    image = image - (image - image**2) * (thick[..., None] - 1)  # Bousseau's pigment density
    h, w = sheet.size
    y, x = np.mgrid[0 : 1 : h * 1j, 0 : 1 : w * 1j].astype(np.float32)
    inner = np.minimum(np.minimum(x, 1 - x), np.minimum(y, 1 - y)) + 0.1 * (
        noise(h, w, 0.15, sheet.random) - 0.5
    )
    border = np.clip((inner - 0.01) / 0.04, 0, 1)
    border = np.maximum(border, sheet.person * np.clip(inner / 0.02, 0, 1))[..., None]
    return sheet.with_image(border * image + (1 - border) * np.array(rgb("fbf8f0")))


def _drawn_lines(grey: Array, width: float, sharp: float, ground: float) -> Array:
    """Winnemöller's XDoG (2011): 0 on lines, 1 on paper; `width` in pixels, `ground` .5 gives lines alone."""
    narrow = cv2.GaussianBlur(grey, (0, 0), width)
    wide = cv2.GaussianBlur(grey, (0, 0), 1.6 * width)
    edge = (1 + 20) * narrow - 20 * wide
    return np.where(edge >= ground, 1, 1 + np.tanh(sharp * (edge - ground))).astype(np.float32)


def lines(
    sheet: Sheet, width: float = 0.005, strength: float = 1.0, fill: bool = False, colour: str = "101014"
) -> Sheet:
    """Contours over the picture; `fill` also blackens what is dark. Coloured."""
    grey = cv2.createCLAHE(2.0, (4, 4)).apply((255 * sheet.grey).astype(np.uint8)) / np.float32(255)
    ink = 1 - _drawn_lines(grey, max(width * min(sheet.size), 0.7), 8, 0.38 if fill else 0.12)
    if not fill:  # local contrast alone: the tone is taken out first
        tone = cv2.GaussianBlur(grey, (0, 0), 0.06 * min(sheet.size))
        even = np.clip(0.6 + 0.9 * (grey - tone), 0, 1)
        ink = 1 - _drawn_lines(even, max(width * min(sheet.size), 0.7), 6, 0.52)
    outline = cv2.morphologyEx(sheet.person, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    share = strength * np.maximum(ink, 0.9 * cv2.GaussianBlur(outline, (0, 0), 0.6))[..., None]
    return sheet.with_image(sheet.image * (1 - share) + share * np.array(rgb(colour)))


def on_white(sheet: Sheet, keep: float = 0.0, colour: str = "ffffff", behind: float = 1.0) -> Sheet:
    """Everything becomes paper; `keep` of the person's colours stay. What comes after draws on it."""
    ground = np.array(rgb(colour), np.float32)
    kept = (sheet.person * keep + (1 - sheet.person) * (1 - behind))[..., None]
    return sheet.with_image(ground + kept * (sheet.image - ground))


def line_art(sheet: Sheet, width: float = 0.005, ground: str = "ffffff", colour: str = "101014") -> Sheet:
    """Contours alone on blank paper."""
    drawn = lines(sheet, width=width, strength=1.0, colour="000000").image
    share = np.clip((sheet.image - drawn).max(axis=2) / np.maximum(sheet.image.max(axis=2), 0.05), 0, 1)
    share *= np.clip(0.25 + sheet.person, 0, 1)
    share = share[..., None]
    return sheet.with_image(np.array(rgb(ground)) * (1 - share) + np.array(rgb(colour)) * share)


def pencil(
    sheet: Sheet, dark: float = 0.8, smudge: float = 0.03, ground: str = "fafaf7", lead: str = "2a2a2e"
) -> Sheet:
    """Graphite, chalk or charcoal: tones by hatching and smudging on paper, edges unfinished."""
    grey = sheet.grey
    dodged = np.clip(grey / np.maximum(cv2.GaussianBlur(grey, (0, 0), smudge * min(sheet.size)), 0.02), 0, 1)
    tone = 1 - dark * (1 - grey) * (0.35 + 0.65 * sheet.person)
    hatch = _hatching(sheet, (40, -35), 0.016)
    light = dodged * (tone + (1 - tone) * 0.55 * hatch) * paper(*sheet.size, sheet.random, 0.1)
    fade = np.clip(sheet.person + 1.2 * noise(*sheet.size, 0.3, sheet.random) - 0.35, 0, 1)
    light = (1 + fade * (np.clip(light, 0, 1) - 1))[..., None]
    return sheet.with_image(np.array(rgb(lead)) * (1 - light) + np.array(rgb(ground)) * light)


def _hatching(sheet: Sheet, angles: Sequence[float], spacing: float) -> Array:
    """0 on hatching lines, which are drawn where the picture is dark: the darker, the more directions."""
    h, w = sheet.size
    y, x = np.mgrid[:h, :w].astype(np.float32)
    light = np.ones((h, w), np.float32)
    period = max(spacing * min(h, w), 2.5)
    waver = 0.6 * period * noise(h, w, 0.1, sheet.random)
    for i, angle in enumerate(angles):
        a = np.deg2rad(angle)
        wave = 0.5 + 0.5 * np.sin(2 * np.pi * (x * np.cos(a) + y * np.sin(a) + waver) / period)
        limit = 0.75 - 0.3 * i
        width = np.clip((limit - sheet.grey) / limit, 0, 1)
        light *= 1 - np.clip(1.6 * (width - wave * 0.75) + 0.2, 0, 1) * (width > 0)
    return light


def hatch(
    sheet: Sheet,
    angles: Sequence[float] = (45, -45, 10),
    spacing: float = 0.018,
    ink: str = "15130f",
    ground: str = "f5efdf",
) -> Sheet:
    """Pen and ink: hatching in up to three directions with the contours."""
    light = _hatching(sheet, angles, spacing)
    light *= _drawn_lines(sheet.grey, max(0.004 * min(sheet.size), 0.7), 8, 0.3)
    light = light[..., None]
    return sheet.with_image(np.array(rgb(ink)) * (1 - light) + np.array(rgb(ground)) * light)
