"""Looks of things made by hand: stones, glass, folded and cut paper, thread, wool, bricks, marble, clay."""

from collections.abc import Sequence

import cv2
import numpy as np

from .brushes import flatten, pixels
from .prints import pixelate
from .sheet import Sheet, rgb
from .textures import borders, cells, mean_in_cells, noise, paper, slope, strokes, weave, wobble


def tiles(
    sheet: Sheet, spacing: float = 0.03, grout: str = "20242c", gap: float = 1.0, shine: float = 0.25
) -> Sheet:
    """Stones or panes of glass, smaller on people, with the joints between them."""
    reach = spacing * min(sheet.size)
    labels, _ = cells(*sheet.size, reach * (1 - 0.6 * sheet.person), sheet.random)
    image = mean_in_cells(sheet.image, labels)
    bright = 1 + shine * (sheet.random.random(labels.max() + 1, dtype=np.float32) - 0.5)
    joint = cv2.GaussianBlur(borders(labels), (0, 0), 0.35 * gap)
    joint = np.clip(1.1 * joint / max(joint.max(), 1e-6), 0, 1)
    joint = (joint * (1 - 0.6 * sheet.person))[..., None]  # or faces would lie behind bars
    return sheet.with_image(image * bright[labels][..., None] * (1 - joint) + joint * np.array(rgb(grout)))


def facets(sheet: Sheet, spacing: float = 0.06, fold: float = 0.0, edges: float = 0.0) -> Sheet:
    """Flat triangles (Delaunay) in their mean colour; smaller on people. `fold` shades them as if they leant."""
    h, w = sheet.size
    reach = spacing * min(h, w) * (1 - 0.55 * sheet.person)
    _, distance = cells(h, w, reach, sheet.random)
    ys, xs = np.nonzero(distance == 0)
    mesh = cv2.Subdiv2D((-1, -1, w + 2, h + 2))
    corners = [(x, y) for y in (0, h / 2, h) for x in (0, w / 2, w)]
    mesh.insert([(float(x), float(y)) for x, y in (*zip(xs, ys), *corners)])
    triangles = mesh.getTriangleList().reshape(-1, 3, 2)
    inside = ((triangles >= -1) & (triangles <= (w + 1, h + 1))).all(axis=(1, 2))
    numbers = np.zeros((h, w), np.int32)
    for number, corners in enumerate(triangles[inside]):
        cv2.fillConvexPoly(numbers, np.rint(corners).astype(np.int32), number)
    image = mean_in_cells(sheet.image, numbers)
    lean = 1 + fold * (sheet.random.random(inside.sum() + 1, dtype=np.float32) - 0.5)
    image *= lean[numbers][..., None]
    return sheet.with_image(image * (1 - edges * borders(numbers)[..., None]))


def stitches(sheet: Sheet, length: float = 0.02, depth: float = 0.45, fuzzy: bool = False) -> Sheet:
    """Thread along the forms, or wool that stands off in all directions."""
    steady = np.full(sheet.size, 0.5, np.float32) if fuzzy else sheet.grey
    guide = noise(*sheet.size, 0.05, sheet.random) if fuzzy else steady
    marks = strokes(guide, sheet.random, length=length, width=1.0 if fuzzy else 1.4, size=0.012)
    image = flatten(sheet.image, pixels(sheet, 0.012))
    if fuzzy:
        image = wobble(image, sheet.random, 0.01, 0.012)
    return sheet.with_image(image * (1 - depth / 2 + depth * marks)[..., None])


def bricks(sheet: Sheet, across: int = 36) -> Sheet:
    """Studded toy bricks seen from above."""
    h, w = sheet.size
    size = max(min(h, w) // across, 3)
    y, x = np.mgrid[:h, :w]
    image = pixelate(sheet, min(h, w) // size).image
    dy, dx = (y % size - (size - 1) / 2) / size, (x % size - (size - 1) / 2) / size
    stud = np.clip(1 - np.abs(np.hypot(dy, dx) - 0.3) / 0.12, 0, 1) * -(dx + dy) * 0.9
    seam = ((y % size == 0) | (x % size == 0)) * -0.12
    return sheet.with_image(image * (1 + stud + seam)[..., None])


def layers(sheet: Sheet, colours: Sequence[str], shadow: float = 0.35) -> Sheet:
    """Sheets of card, one for each tone from dark to light, each throwing a shadow on those beneath."""
    grey = cv2.medianBlur((255 * sheet.grey).astype(np.uint8), 5).astype(np.float32) / 255
    grey = cv2.GaussianBlur(grey, (0, 0), 0.008 * min(sheet.size))
    inside = grey[sheet.person > 0.5] if sheet.person.max() > 0.5 else grey
    limits = np.quantile(inside, np.linspace(0, 1, len(colours) + 1))
    image = np.broadcast_to(np.array(rgb(colours[0]), np.float32), (*sheet.size, 3)).copy()
    for colour, limit in zip(colours[1:], limits[1:-1]):
        above = np.clip(0.5 + 40 * (grey - limit), 0, 1)[..., None]
        fallen = np.roll(cv2.GaussianBlur(above[..., 0], (0, 0), 0.012 * min(sheet.size)), (2, 2), (0, 1))
        image *= 1 - shadow * fallen[..., None]
        image = image * (1 - above) + above * np.array(rgb(colour))
    return sheet.with_image(image)


def carve(sheet: Sheet, colours: Sequence[str], shine: float = 0.5, veins: float = 0.0) -> Sheet:
    """Stone, metal or glaze: one material with the person's relief, highlights, and veins."""
    even = cv2.createCLAHE(2.0, (4, 4)).apply((255 * sheet.grey).astype(np.uint8)) / np.float32(255)
    tone = cv2.bilateralFilter(even.astype(np.float32), 5, 0.12, 2)
    if veins:
        cloud = noise(*sheet.size, 0.3, sheet.random, 4)
        tone = tone - veins * np.exp(-((cloud - 0.5) ** 2) / 0.0004)
    places = np.linspace(0, 1, len(colours))
    table = np.array([rgb(code) for code in colours], np.float32)
    image = np.stack([np.interp(tone, places, table[:, c]) for c in range(3)], axis=-1)
    light = np.clip(cv2.GaussianBlur(even, (0, 0), 1.2) - 0.72, 0, 1) * 2 * shine
    image = image + light[..., None]
    return sheet.with_image(sheet.image + sheet.person[..., None] * (image - sheet.image))


def smooth(sheet: Sheet, strength: float = 0.5, shine: float = 0.0, dents: float = 0.0) -> Sheet:
    """Skin of plastic, clay or a render: no fine detail, highlights, dents of fingers."""
    radius = pixels(sheet, 0.02)
    image = sheet.image
    for _ in range(2):
        image = cv2.bilateralFilter(image, 2 * radius + 1, 0.12, radius)
    image = sheet.image + strength * (image - sheet.image)
    if dents:
        bumps = cv2.GaussianBlur(noise(*sheet.size, 0.06, sheet.random, 2), (0, 0), 1.5)
        image = image * (1 + dents * 3 * slope(bumps))[..., None]
    if shine:
        grey = cv2.GaussianBlur(cv2.cvtColor(image.astype(np.float32), cv2.COLOR_RGB2GRAY), (0, 0), 1.5)
        image = image + (shine * sheet.person * np.clip(grey - 0.6, 0, 1) ** 1.5)[..., None] * 3
    return sheet.with_image(image)


def cloth(sheet: Sheet, thread: float = 0.012, depth: float = 0.12) -> Sheet:
    """Threads of a canvas show through."""
    return sheet.with_image(sheet.image * weave(*sheet.size, thread, depth)[..., None])


def rough_paper(sheet: Sheet, depth: float = 0.1) -> Sheet:
    """The grain of paper or plaster shows through."""
    return sheet.with_image(sheet.image * paper(*sheet.size, sheet.random, depth)[..., None])


def cracks(sheet: Sheet, spacing: float = 0.12, strength: float = 0.35) -> Sheet:
    """Fine cracks in plaster or varnish."""
    labels, _ = cells(*sheet.size, np.full(sheet.size, spacing * min(sheet.size)), sheet.random)
    crack = wobble(borders(labels), sheet.random, 0.05, 0.015) * (
        noise(*sheet.size, 0.3, sheet.random) > 0.45
    )
    return sheet.with_image(sheet.image * (1 - strength * (crack * (1 - 0.7 * sheet.person))[..., None]))


def cut_out(sheet: Sheet, width: float = 0.03, ground: str = "e8eaee") -> Sheet:
    """A sticker: the person with a thick white rim and a shadow on plain ground."""
    side = 2 * pixels(sheet, width) + 1
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side))
    grown = cv2.GaussianBlur(cv2.dilate(sheet.person, disc), (0, 0), 0.7)[..., None]
    shadow = np.roll(cv2.GaussianBlur(grown[..., 0], (0, 0), side / 3), (side // 3, side // 3), (0, 1))[
        ..., None
    ]
    image = np.array(rgb(ground)) * (1 - 0.35 * shadow)
    image = image * (1 - grown) + grown
    person = sheet.person[..., None]
    return sheet.with_image(image * (1 - person) + person * sheet.image)
