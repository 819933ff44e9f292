"""What happens to colour and light in a look: grades, monochromes, shadows, grain, the marks of old film."""

from collections.abc import Sequence

import cv2
import numpy as np

from .sheet import Sheet, rgb
from .textures import noise


def tones(sheet: Sheet, colours: Sequence[str], strength: float = 1.0) -> Sheet:
    """Grey values become colours from dark to light, mixed in between: duotones, sepia, bronze."""
    table = np.array([rgb(code) for code in colours], np.float32)
    places = np.linspace(0, 1, len(colours))
    grey = sheet.grey
    mapped = np.stack([np.interp(grey, places, table[:, c]) for c in range(3)], axis=-1)
    return sheet.with_image(sheet.image + strength * (mapped - sheet.image))


def levels(sheet: Sheet, low: float = 2, high: float = 98) -> Sheet:
    """Stretch so that the given percentiles become black and white: what dark renders need to be drawn."""
    dark, bright = np.percentile(sheet.grey, (low, high))
    return sheet.with_image((sheet.image - dark) / max(bright - dark, 0.05))


def curve(sheet: Sheet, contrast: float = 1.0, brightness: float = 0.0, saturation: float = 1.0) -> Sheet:
    """Contrast and saturation, 1 leaves them; brightness is added."""
    image = (sheet.image - 0.5) * contrast + 0.5 + brightness
    grey = image @ np.array([0.299, 0.587, 0.114], np.float32)
    return sheet.with_image(grey[..., None] + saturation * (image - grey[..., None]))


def grade(sheet: Sheet, shadows: str, lights: str, strength: float = 0.35) -> Sheet:
    """Film grading: shadows lean to one colour, lights to another; 808080 leaves them."""
    weight = sheet.grey[..., None]
    lean = (1 - weight) * (np.array(rgb(shadows)) - 0.5) + weight * (np.array(rgb(lights)) - 0.5)
    return sheet.with_image(sheet.image + strength * lean)


def vignette(sheet: Sheet, strength: float = 0.5, colour: str = "000000") -> Sheet:
    """The corners fade to a colour."""
    h, w = sheet.size
    y, x = np.mgrid[-1 : 1 : h * 1j, -1 : 1 : w * 1j].astype(np.float32)
    fade = strength * np.clip(x * x + y * y - 0.35, 0, 1.2)[..., None] / 1.2
    return sheet.with_image(sheet.image * (1 - fade) + np.array(rgb(colour)) * fade)


def grain(sheet: Sheet, strength: float = 0.05, coarse: float = 1.0) -> Sheet:
    """Film grain, the same in all channels; `coarse` in pixels."""
    h, w = sheet.size
    spots = sheet.random.standard_normal((int(h / coarse) + 1, int(w / coarse) + 1), dtype=np.float32)
    return sheet.with_image(sheet.image + strength * cv2.resize(spots, (w, h))[..., None])


def blinds(sheet: Sheet, bars: int = 9, depth: float = 0.5) -> Sheet:
    """Light through venetian blinds, aslant."""
    h, w = sheet.size
    y, x = np.mgrid[0 : 1 : h * 1j, 0 : 1 : w * 1j].astype(np.float32)
    slant, start = sheet.random.uniform(-0.35, 0.35), sheet.random.random()
    wave = np.sin(2 * np.pi * (bars * (y + slant * x) + start))
    light = 1 - depth * (1 / (1 + np.exp(-6 * wave)))
    return sheet.with_image(sheet.image * light[..., None])


def side_light(sheet: Sheet, depth: float = 0.7, colour: str = "ffffff") -> Sheet:
    """One side lies in the dark; which one is drawn."""
    w = sheet.size[1]
    ramp = np.linspace(0, 1, w, dtype=np.float32)[None]
    if sheet.random.random() < 0.5:
        ramp = 1 - ramp
    fall = np.clip((ramp - 0.2) / 0.75, 0, 1)
    light = 1 - depth * (3 * fall**2 - 2 * fall**3)
    return sheet.with_image(sheet.image * light[..., None] * (0.5 + 0.5 * np.array(rgb(colour))))


def two_lights(sheet: Sheet, left: str, right: str, strength: float = 0.6) -> Sheet:
    """A coloured light from each side, as of neon signs."""
    w = sheet.size[1]
    ramp = np.linspace(0, 1, w, dtype=np.float32)[None, :, None]
    light = (1 - ramp) * np.array(rgb(left)) + ramp * np.array(rgb(right))
    lit = sheet.grey[..., None] ** 0.8 * light * 1.5
    return sheet.with_image(sheet.image * (1 - strength) + lit * strength)


def rim(sheet: Sheet, colour: str, strength: float = 0.8, width: float = 0.025) -> Sheet:
    """Light from behind: the outline of people glows."""
    sigma = width * min(sheet.size)
    inside = np.clip(2 * (1 - cv2.GaussianBlur(sheet.person, (0, 0), sigma)), 0, 1) ** 2 * sheet.person
    h = sheet.size[0]
    inside *= np.linspace(1.2, 0.4, h, dtype=np.float32)[:, None]  # from above and behind
    return sheet.with_image(sheet.image + strength * inside[..., None] * np.array(rgb(colour)))


def glow(sheet: Sheet, strength: float = 0.5, size: float = 0.03) -> Sheet:
    """Bright parts bleed, as through a soft lens."""
    bright = cv2.GaussianBlur(np.clip(sheet.image - 0.55, 0, 1), (0, 0), size * min(sheet.size))
    return sheet.with_image(sheet.image + 1.4 * strength * bright)


def soften(sheet: Sheet, size: float = 0.006) -> Sheet:
    """Out of focus by `size` of the shorter side."""
    return sheet.with_image(cv2.GaussianBlur(sheet.image, (0, 0), size * min(sheet.size)))


def blur_behind(sheet: Sheet, size: float = 0.03) -> Sheet:
    """Only what is not a person is out of focus."""
    soft = cv2.GaussianBlur(sheet.image, (0, 0), size * min(sheet.size))
    return sheet.with_image(soft + sheet.person[..., None] * (sheet.image - soft))


def darken_behind(sheet: Sheet, strength: float = 0.8, colour: str = "0a0806") -> Sheet:
    """What is not a person sinks into a colour."""
    share = strength * (1 - sheet.person[..., None])
    return sheet.with_image(sheet.image * (1 - share) + share * np.array(rgb(colour)))


def scratches(sheet: Sheet, count: int = 6, strength: float = 0.5) -> Sheet:
    """Upright scratches and specks of an old print."""
    h, w = sheet.size
    marks = np.zeros((h, w), np.float32)
    for x in sheet.random.integers(0, w, count):
        top, bottom = np.sort(sheet.random.integers(0, h, 2))
        marks[top:bottom, x] = sheet.random.uniform(-1, 1)
    specks = sheet.random.integers(0, (h, w), (4 * count, 2))
    marks[specks[:, 0], specks[:, 1]] = sheet.random.uniform(-1, 1, len(specks))
    return sheet.with_image(sheet.image + strength * cv2.GaussianBlur(marks, (0, 0), 0.6)[..., None])


def scan_lines(sheet: Sheet, strength: float = 0.15, shift: float = 0.008) -> Sheet:
    """Video: dark lines, colours that come off sideways, a torn band."""
    h, w = sheet.size
    offset = max(round(shift * w), 1)
    image = sheet.image.copy()
    image[..., 0] = np.roll(image[..., 0], offset, axis=1)
    image[..., 2] = np.roll(image[..., 2], -offset, axis=1)
    torn = sheet.random.integers(int(0.75 * h), h)
    image[torn : torn + max(h // 60, 1)] = np.roll(image[torn : torn + max(h // 60, 1)], 4 * offset, axis=1)
    image[::2] *= 1 - strength
    return sheet.with_image(image)


def blotches(sheet: Sheet, colour: str, strength: float = 0.5, size: float = 0.2, dark: bool = True) -> Sheet:
    """Stains of one colour, on dark parts or everywhere: patina, age, dust."""
    h, w = sheet.size
    stain = np.clip(2.5 * noise(h, w, size, sheet.random, 4) - 0.9, 0, 1)
    if dark:
        stain *= 1 - sheet.grey
    share = strength * stain[..., None]
    return sheet.with_image(sheet.image * (1 - share) + share * np.array(rgb(colour)))
