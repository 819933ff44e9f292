"""The labelled picture of a comparison: one page per value of the third axis."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from ..errors import InvalidRequest
from ..images import open_image
from .grid import Grid
from .grid_file import CHUNK, to_json
from .running import Outcome

MOST_PIXELS = 40_000_000  # of a page: about 200 MB in memory while it is drawn
SMALLEST, LARGEST = 12, 44  # pixels of letters
LINES = 4  # of a label; the rest of a long prompt is cut
PAPER, INK, FAINT, EMPTY, WRONG = "#ffffff", "#1c1c1e", "#6e6e73", "#ececee", "#b3261e"

Font = ImageFont.FreeTypeFont


@dataclass(frozen=True)
class Look:
    """How a page is drawn.

    Args:
        side: of a cell, in pixels at most; None: the pictures' own, as far as `MOST_PIXELS` allow.
        details: likeness and seconds under each picture.
    """

    side: int | None = None
    details: bool = True


def draw(grid: Grid, outcomes: Sequence[Outcome], z: int = 0, look: Look = Look()) -> Image.Image:
    """One page, RGB: columns are x, rows are y, with their labels. Cells that are not made are left grey.

    Args:
        outcomes: as `run` told them, in any order.
    """
    here = {(each.cell.x, each.cell.y): each for each in outcomes if each.cell.z == z}
    columns, rows, pages = grid.shape
    pictures = {at: open_image(each.path) for at, each in here.items() if each.there}
    width, height = _cell_size([each.size for each in pictures.values()], columns * rows, look.side)
    font = ImageFont.load_default(min(LARGEST, max(SMALLEST, round(width / 13))))
    gap = max(2, round(font.size / 3))
    measure = ImageDraw.Draw(Image.new("RGB", (1, 1)))
    line = round(font.size * 1.3)

    tops = [_wrapped(text, font, width, measure) for text in grid.x.labels]
    room = max(width, 8 * font.size)
    sides = [_wrapped(text, font, room, measure) for text in grid.y.labels] if grid.y else []
    head = f"{grid.x.title} across" + (f", {grid.y.title} down" if grid.y else "")
    if grid.z:
        head = f"{grid.z.title}: {grid.z.labels[z]} ({z + 1} of {pages}). {head}"
    side = 0
    if sides:
        side = 2 * gap + max(round(measure.textlength(each, font)) for lines in sides for each in lines)
    top = max(map(len, tops)) * line + 2 * gap
    foot = line + gap if look.details else 0
    full_width = side + columns * (width + gap) + gap
    title = _wrapped(head, font, full_width - 2 * gap, measure)
    above = len(title) * line + 2 * gap

    page = Image.new("RGB", (full_width, above + top + rows * (height + foot + gap) + gap), PAPER)
    pen = ImageDraw.Draw(page)
    _write(pen, title, (gap, gap), font, line, FAINT)
    for x, lines in enumerate(tops):
        left = side + gap + x * (width + gap)
        start = above + top - gap - len(lines) * line
        _write(pen, lines, (left + width // 2, start), font, line, INK, anchor="ma")
    for y in range(rows):
        upper = above + top + y * (height + foot + gap)
        if sides:
            middle = upper + (height - len(sides[y]) * line) // 2
            _write(pen, sides[y], (side - gap, middle), font, line, INK, anchor="ra")
        for x in range(columns):
            left = side + gap + x * (width + gap)
            pen.rectangle((left, upper, left + width - 1, upper + height - 1), fill=EMPTY)
            outcome, picture = here.get((x, y)), pictures.get((x, y))
            if picture is not None:
                shown = _fitted(picture, width, height)
                at = (left + (width - shown.width) // 2, upper + (height - shown.height) // 2)
                page.paste(shown, at)
            elif outcome is not None:
                lines = _wrapped(outcome.error, font, width - 2 * gap, measure, max(1, height // line - 1))
                _write(pen, lines, (left + gap, upper + gap), font, line, WRONG)
            if look.details and outcome is not None and outcome.there:
                text = _details(outcome, font, width, measure)
                pen.text((left + width // 2, upper + height + gap // 2), text, FAINT, font, anchor="ma")
    return page


def save(grid: Grid, outcomes: Sequence[Outcome], path: Path, look: Look = Look()) -> list[Path]:
    """Draw all pages and write them as PNG, with the comparison in each; several are numbered. Whole, or not at all.

    Raises:
        InvalidRequest: a file cannot be written.
    """
    pages = grid.shape[2]
    paths = [path] if pages == 1 else [path.with_stem(f"{path.stem}-{z + 1}") for z in range(pages)]
    chunks = PngImagePlugin.PngInfo()
    chunks.add_itxt(CHUNK, json.dumps(to_json(grid), ensure_ascii=False))
    chunks.add_itxt("Software", "InstantID Studio")
    for z, file in enumerate(paths):
        beside = file.with_name(f".{file.name}.part")
        try:
            draw(grid, outcomes, z, look).save(beside, format="PNG", pnginfo=chunks)
            os.replace(beside, file)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise InvalidRequest(
                f"The picture cannot be written to {file}: {error.strerror or error}."
            ) from error
    return paths


def _details(outcome: Outcome, font: Font, width: int, pen: ImageDraw.ImageDraw) -> str:
    """Likeness and seconds; narrow cells leave out the word, wide ones say what the number is."""
    number = "" if outcome.likeness is None else f"{outcome.likeness:.2f}"
    took = "" if outcome.seconds is None else f"{outcome.seconds:.1f} s"
    told = [" · ".join(filter(None, (each, took))) for each in (number and f"likeness {number}", number)]
    return next((text for text in told if pen.textlength(text, font) <= width), number or took)


def _cell_size(sizes: Sequence[tuple[int, int]], cells: int, side: int | None) -> tuple[int, int]:
    """(width, height) that every picture fits into."""
    width, height = (max(values) for values in zip(*sizes)) if sizes else (256, 256)
    scale = min(1.0, (MOST_PIXELS / (cells * width * height)) ** 0.5)
    if side is not None:
        scale = min(scale, side / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


def _fitted(picture: Image.Image, width: int, height: int) -> Image.Image:
    scale = min(width / picture.width, height / picture.height, 1.0)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)


def _wrapped(text: str, font: Font, width: int, pen: ImageDraw.ImageDraw, most: int = LINES) -> list[str]:
    """Lines of at most `width` pixels; words are kept whole where they fit."""
    lines: list[str] = [""]
    for word in text.split():
        joined = f"{lines[-1]} {word}".strip()
        if not lines[-1] or pen.textlength(joined, font) <= width:
            lines[-1] = joined
        else:
            lines.append(word)
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [_cut(line, font, width, pen) for line in lines]


def _cut(text: str, font: Font, width: int, pen: ImageDraw.ImageDraw) -> str:
    if pen.textlength(text, font) <= width:
        return text
    while text and pen.textlength(f"{text}…", font) > width:
        text = text[:-1]
    return f"{text.rstrip()}…"


def _write(
    pen: ImageDraw.ImageDraw,
    lines: Sequence[str],
    at: tuple[int, int],
    font: Font,
    line: int,
    colour: str,
    anchor: str = "la",
) -> None:
    for i, text in enumerate(lines):
        pen.text((at[0], at[1] + i * line), text, colour, font, anchor=anchor)
