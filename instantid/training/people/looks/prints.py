"""Looks of few inks: cuts, posters, halftone, pixels, misprints."""

from collections.abc import Sequence

import cv2
import numpy as np

from .brushes import pixels
from .sheet import Sheet, rgb
from .textures import strokes


def threshold(sheet: Sheet, ink: str = "17120f", ground: str = "f1e8d2", carve: float = 0.02) -> Sheet:
    """Two tones as cut in linoleum, with gouge marks along the forms in the middle tones."""
    marks = strokes(sheet.grey, sheet.random, length=0.04, width=max(carve * min(sheet.size) / 2, 1))
    local = cv2.GaussianBlur(sheet.grey, (0, 0), 0.2 * min(sheet.size))
    limit = 0.6 * local + 0.16 + 0.22 * (marks - 0.5)
    smooth = cv2.GaussianBlur(sheet.grey, (0, 0), max(0.004 * min(sheet.size), 0.6))
    light = np.clip(0.5 + 14 * (smooth - limit), 0, 1)[..., None]
    return sheet.with_image(np.array(rgb(ink)) * (1 - light) + np.array(rgb(ground)) * light)


def poster(sheet: Sheet, steps: int = 5, soft: float = 0.012) -> Sheet:
    """Few flat tones with clean borders; hue stays."""
    radius = pixels(sheet, soft)
    smooth = cv2.bilateralFilter(sheet.image, 2 * radius + 3, 0.2, radius + 1)
    lab = cv2.cvtColor(smooth, cv2.COLOR_RGB2LAB)
    scaled = lab[..., 0] / 100 * steps
    lab[..., 0] = (np.floor(scaled) + 0.5) / steps * 100
    lab[..., 1:] = np.round(lab[..., 1:] / 14) * 14
    return sheet.with_image(cv2.cvtColor(lab, cv2.COLOR_LAB2RGB))


def inks(sheet: Sheet, colours: Sequence[str], dither: float = 0.0) -> Sheet:
    """Each pixel takes the nearest of a few colours (in Lab), with ordered dithering where asked."""
    table = np.array([[rgb(code) for code in colours]], np.float32)
    wanted = cv2.cvtColor(table, cv2.COLOR_RGB2LAB)[0]
    lab = cv2.cvtColor(sheet.image, cv2.COLOR_RGB2LAB)
    if dither:
        bayer = (
            np.array([[0, 8, 2, 10], [12, 4, 14, 6], [3, 11, 1, 9], [15, 7, 13, 5]], np.float32) / 16 - 0.47
        )
        h, w = sheet.size
        lab[..., 0] += 100 * dither * np.tile(bayer, (h // 4 + 1, w // 4 + 1))[:h, :w]
    far = ((lab[:, :, None] - wanted) ** 2 * np.array([1, 0.6, 0.6])).sum(axis=-1)
    return sheet.with_image(table[0][far.argmin(axis=-1)])


def halftone(
    sheet: Sheet, spacing: float = 0.02, strength: float = 0.5, angle: float = 30, ink: str | None = None
) -> Sheet:
    """Dots that grow with darkness, in one ink or in the colours beneath."""
    h, w = sheet.size
    y, x = np.mgrid[:h, :w].astype(np.float32) * (np.pi / max(spacing * min(h, w), 3.0))
    a = np.deg2rad(angle)
    screen = 0.5 + 0.5 * np.sin(x * np.cos(a) - y * np.sin(a)) * np.sin(x * np.sin(a) + y * np.cos(a))
    dot = np.clip(3 * (screen - sheet.grey) + 0.5, 0, 1)[..., None]
    inked = sheet.image * 0.45 if ink is None else np.array(rgb(ink))
    share = strength * dot * (1 - 0.5 * sheet.person[..., None])
    return sheet.with_image(sheet.image + share * (inked - sheet.image))


def pixelate(sheet: Sheet, across: int = 56) -> Sheet:
    """Square pixels, `across` of them along the shorter side."""
    h, w = sheet.size
    scale = min(across / min(h, w), 1)
    small = cv2.resize(sheet.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    return sheet.with_image(cv2.resize(small, (w, h), interpolation=cv2.INTER_NEAREST))


def misprint(sheet: Sheet, by: float = 0.012) -> Sheet:
    """The red plate sits beside the others."""
    offset = max(round(by * min(sheet.size)), 1)
    image = sheet.image.copy()
    image[..., 0] = np.roll(image[..., 0], (offset, -offset), (0, 1))
    return sheet.with_image(image)
