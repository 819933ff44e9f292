"""A comparison to take along: a zip of its pages, its cells under readable names, a table, and its file."""

import csv
import io
import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidRequest
from .grid import Cell, Grid
from .grid_file import to_json
from .running import Outcome


def pack(grid: Grid, outcomes: Sequence[Outcome], pages: Sequence[Path], archive: Path) -> Path:
    """Write the zip, whole or not at all: `grid.json`, `cells.csv`, the pages, and `cells/x1-y2.png`, counted from 1.

    The photos that it was made from stay out.

    Args:
        pages: the labelled pictures, as `sheet.save` wrote them.

    Raises:
        InvalidRequest: it cannot be written.
    """
    table = io.StringIO()
    writer = csv.writer(table)
    writer.writerow(["file", *(axis.title for axis in grid.axes), "status", "likeness", "seconds", "error"])
    beside = archive.with_name(f".{archive.name}.part")
    try:
        with zipfile.ZipFile(beside, "w", zipfile.ZIP_STORED) as packed:  # PNGs do not get smaller
            for page in pages:
                packed.write(page, page.name)
            for outcome in sorted(outcomes, key=lambda each: (each.cell.z, each.cell.y, each.cell.x)):
                name = _name(outcome.cell, grid) if outcome.there else ""
                labels = [label for _, label in outcome.cell.labels]
                row = [outcome.status, outcome.likeness, outcome.seconds, outcome.error]
                writer.writerow([name, *labels, *row])
                if outcome.there:
                    packed.write(outcome.path, name)
            packed.writestr("cells.csv", table.getvalue())
            packed.writestr("grid.json", json.dumps(to_json(grid), ensure_ascii=False, indent=1))
        os.replace(beside, archive)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise InvalidRequest(f"The zip cannot be written to {archive}: {error.strerror or error}.") from error
    return archive


def _name(cell: Cell, grid: Grid) -> str:
    places = [
        f"x{cell.x + 1}",
        *([f"y{cell.y + 1}"] if grid.y else ()),
        *([f"z{cell.z + 1}"] if grid.z else ()),
    ]
    return f"cells/{'-'.join(places)}.png"
