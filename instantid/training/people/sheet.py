"""Contact sheets: a row for each person, or a scene in all its looks; what is known drawn on top where asked."""

from collections.abc import Iterable, Sequence
from itertools import islice

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .description import BODY_KEYPOINTS
from .shards import Sample

LIMBS = tuple(
    (BODY_KEYPOINTS.index(f"{side}_{one}"), BODY_KEYPOINTS.index(f"{side}_{other}"))
    for side in ("left", "right")
    for one, other in (
        ("shoulder", "elbow"),
        ("elbow", "wrist"),
        ("shoulder", "hip"),
        ("hip", "knee"),
        ("knee", "ankle"),
    )
)
FACE_COLOURS = ((255, 64, 64), (64, 160, 255), (64, 230, 64), (255, 200, 0), (230, 80, 255))
GAP = 4
LINE = 16


def people_sheet(
    samples: Iterable[Sample], *, people: int, views: int, cell: int = 192, marks: bool = False
) -> Image.Image:
    """A row for each of the first `people` persons, with up to `views` pictures of each.

    Args:
        marks: draw face and body keypoints, face boxes and outlines.
    """
    rows: dict[int, list[np.ndarray]] = {}
    for sample in samples:
        person = sample.record["person"]
        if person not in rows and len(rows) == people:
            break
        row = rows.setdefault(person, [])
        if len(row) < views:
            row.append(_fit(draw_truth(sample, cell) if marks else sample.image, cell))
    return _grid(list(rows.values()), cell)


def looks_sheet(
    samples: Iterable[Sample], *, columns: int = 8, rows: int = 8, cell: int = 192
) -> Image.Image:
    """Pictures one after the other until the page is full, each with the name of its look."""
    shown = [(_fit(sample.image, cell), sample.record["look"]) for sample in islice(samples, columns * rows)]
    lines = [shown[start : start + columns] for start in range(0, len(shown), columns)]
    return _grid(
        [[image for image, _ in line] for line in lines], cell, [[name for _, name in line] for line in lines]
    )


def draw_truth(sample: Sample, side: int = 384) -> np.ndarray:
    """The picture, enlarged to `side`, with outlines, face boxes and keypoints; hollow points are hidden ones."""
    h, w = sample.image.shape[:2]
    scale = side / max(h, w)
    size = (round(w * scale), round(h * scale))
    canvas = cv2.resize(sample.image, size, interpolation=cv2.INTER_CUBIC)
    masks = cv2.resize(sample.people, size, interpolation=cv2.INTER_NEAREST)
    for number, figure in enumerate(sample.record["figures"], start=1):
        outlines, _ = cv2.findContours(
            (masks == number).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(canvas, outlines, -1, (255, 255, 255), 1, cv2.LINE_AA)
        left, top, right, bottom = (round(edge * scale) for edge in figure["face_box"])
        cv2.rectangle(canvas, (left, top), (right, bottom), (255, 255, 0), 1, cv2.LINE_AA)
        body = np.rint(np.array(figure["body_keypoints"]) * scale).astype(int)
        seen = figure["body_visible"]
        for one, other in LIMBS:
            if seen[one] and seen[other]:
                cv2.line(
                    canvas,
                    tuple(map(int, body[one])),
                    tuple(map(int, body[other])),
                    (0, 220, 220),
                    1,
                    cv2.LINE_AA,
                )
        for point, visible in zip(body, seen):
            cv2.circle(canvas, tuple(map(int, point)), 3, (0, 220, 220), -1 if visible else 1, cv2.LINE_AA)
        points = zip(figure["face_keypoints"], figure["face_visible"], FACE_COLOURS)
        for (x, y), visible, colour in points:
            centre = (round(x * scale), round(y * scale))
            cv2.circle(canvas, centre, max(side // 110, 2), colour, -1 if visible else 1, cv2.LINE_AA)
    return canvas


def _fit(image: np.ndarray, cell: int) -> np.ndarray:
    scale = cell / max(image.shape[:2])
    size = (round(image.shape[1] * scale), round(image.shape[0] * scale))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


def _grid(
    rows: Sequence[Sequence[np.ndarray]], cell: int, names: Sequence[Sequence[str]] | None = None
) -> Image.Image:
    high = cell + (LINE if names else 0)
    across = max(map(len, rows))
    page = Image.new("RGB", (across * (cell + GAP) + GAP, len(rows) * (high + GAP) + GAP), "white")
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(11)
    for r, row in enumerate(rows):
        for c, image in enumerate(row):
            corner = (GAP + c * (cell + GAP), GAP + r * (high + GAP))
            page.paste(Image.fromarray(image), corner)
            if names:
                pen.text((corner[0] + 1, corner[1] + cell + 1), names[r][c], fill="black", font=font)
    return page
