"""A comparison from the page while it is made, and what of it can be seen and taken along."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gradio import FileData

from .. import compare
from ..compare import Cell, Grid, Job, Look, Outcome, Progress
from .batch_run import preview
from .compare_plan import weigher
from .photos import notice
from .results import duration, status_line
from .studio import Studio

Place = tuple[int, int, int]
CELL_SIDE = 320  # pixels of a cell in the table: whole pictures would be hashed again at every update
SHEET_SIDE = 512  # of a cell in the labelled picture; the zip holds the whole ones
KEPT = 1000  # pictures of one visitor, of this comparison and earlier ones
MAX_PROBLEMS = 5  # told one by one; the others stand in their cells
LAST = "last.json"  # beside the pictures: the comparison that was started last


@dataclass(eq=False)
class Made:
    """What a visitor has made so far.

    Args:
        folder: their own; pictures lie there under names that say what they are made from, and the comparison too, to
            find it again after a reload or a crash.
        grid: the comparison that is shown.
        outcomes: its cells, as far as they are done, by (x, y, z).
        working: the cell that is being made.
        chosen, pinned: the cell that is looked at, and the one that it is laid beside.
        running: pictures are being made.
        notes: what did not go as one might expect, in sentences.
    """

    folder: Path
    grid: Grid | None = None
    outcomes: dict[Place, Outcome] = field(default_factory=dict)
    working: Place | None = None
    chosen: Place | None = None
    pinned: Place | None = None
    running: bool = False
    notes: list[str] = field(default_factory=list)

    def begin(self, grid: Grid) -> None:
        """Show another comparison; pictures stay in the folder."""
        self.folder.mkdir(parents=True, exist_ok=True)
        compare.write(grid, self.folder / LAST)
        self.grid, self.outcomes, self.notes = grid, {}, []
        self.working = self.chosen = self.pinned = None
        self.running = True

    def end(self) -> None:
        """Nothing is being made any more."""
        self.working, self.running = None, False


def go_back(grid: Grid, folder: Path) -> Made:
    """A comparison that was begun in this folder, with the cells that are there."""
    made = Made(folder, grid)
    made.outcomes = {_place(outcome.cell): outcome for outcome in compare.there(compare.plan(grid), folder)}
    return made


def make(
    studio: Studio,
    grid: Grid,
    made: Made,
    wanted: Callable[[], bool],
    keep: Callable[[Outcome], None] = lambda outcome: None,
) -> Iterator[tuple[str, bool]]:
    """Make the cells: (HTML of the status, whether there are new ones to show in `made`).

    Args:
        grid: with a seed.
        wanted: asked at every step; once it says no, the comparison stops without a further word.
        keep: told of each new picture, once also where several cells show it.
    """
    jobs = compare.plan(grid)
    made.begin(grid)
    _make_room(made.folder, jobs)
    shown = 0
    running = compare.run(
        jobs, studio.generate, made.folder, several=studio.generate_several, weigh=weigher(studio)
    )
    try:
        with closing(running) as events:
            for progress in events:
                made.outcomes |= {_place(outcome.cell): outcome for outcome in progress.outcomes}
                for outcome in {
                    each.path: each for each in progress.outcomes if each.status == "made"
                }.values():
                    keep(outcome)
                made.notes += [sentence for sentence in progress.notes if sentence not in made.notes]
                if not wanted():
                    return
                if progress.outcomes and all(outcome.status == "kept" for outcome in progress.outcomes):
                    continue  # they come all at once, and are shown with the next
                working = None if progress.outcomes else _place(progress.cell)
                new = len(made.outcomes) > shown or working not in (None, made.working)
                made.working, shown = working or made.working, len(made.outcomes)
                yield _status(progress) + _problems(made), new
    finally:
        made.end()
    yield _summary(made) + _problems(made) + "".join(map(notice, made.notes[:MAX_PROBLEMS])), True


def table_of(made: Made, details: bool) -> dict[str, Any] | None:
    """What `compare_table` shows: plain values, and the files of small pictures.

    Args:
        details: likeness and seconds under each picture.
    """
    if made.grid is None:
        return None
    axes = {
        place: axis and {"title": axis.title, "labels": list(axis.labels)}
        for place in ("x", "y", "z")
        for axis in (getattr(made.grid, place),)
    }
    cells = [
        {
            "at": list(place),
            "name": outcome.cell.name,
            "picture": FileData(path=str(preview(outcome.path, CELL_SIDE))).model_dump()
            if outcome.there
            else None,
            "likeness": outcome.likeness,
            "seconds": outcome.seconds,
            "error": outcome.error,
        }
        for place, outcome in made.outcomes.items()
    ]
    marks = {"working": made.working, "pinned": made.pinned}
    return axes | {"cells": cells, "details": details} | {k: v and list(v) for k, v in marks.items()}


def take_along(made: Made, details: bool) -> list[str]:
    """Files of what there is: the labelled picture of each page, `grid.json` and a zip of everything; [] of nothing.

    They name no place of this machine, and hold none of the photos that it was made from.
    """
    outcomes = list(made.outcomes.values())
    if made.grid is None or not any(outcome.there for outcome in outcomes):
        return []
    folder = made.folder / "take-along"
    folder.mkdir(exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    look = Look(side=SHEET_SIDE, details=details)
    pages = compare.save(made.grid, outcomes, folder / "comparison.png", look)
    described = folder / "grid.json"
    text = json.dumps(compare.to_json(made.grid), ensure_ascii=False, indent=1)
    described.write_text(text, encoding="utf-8")
    archive = compare.pack(made.grid, outcomes, pages, folder / "comparison.zip")
    return [str(path) for path in (*pages, described, archive)]


def _place(cell: Cell) -> Place:
    return cell.x, cell.y, cell.z


def _make_room(folder: Path, jobs: list[Job]) -> None:
    """Remove the oldest pictures of earlier comparisons where there would be too many."""
    own = {job.file for job in jobs}
    others = sorted(
        (path for path in folder.glob("*.png") if path.name not in own), key=lambda path: path.stat().st_mtime
    )
    for path in others[: max(0, len(others) + len(own) - KEPT)]:
        path.unlink()


def _status(progress: Progress) -> str:
    left = "" if progress.seconds_left is None else f"· {duration(progress.seconds_left)} left"
    which = min(progress.done + (not progress.outcomes), progress.total)
    doing = f"Picture {which} of {progress.total} · {progress.cell.name}"
    return status_line(doing, left, done=(progress.done + progress.part) / progress.total)


def _summary(made: Made) -> str:
    statuses = [outcome.status for outcome in made.outcomes.values()]
    told = f"{statuses.count('made')} made"
    told += f" · {kept} were there already" if (kept := statuses.count("kept")) else ""
    told += f" · {failed} not made" if (failed := statuses.count("failed")) else ""
    return status_line("Comparison done.", told)


def _problems(made: Made) -> str:
    where: dict[str, list[str]] = {}
    for outcome in made.outcomes.values():
        if outcome.error:
            where.setdefault(outcome.error, []).append(outcome.cell.name)
    told = [
        notice(f"{names[0]}{f' and {len(names) - 1} more' if names[1:] else ''}: {error}", warning=True)
        for error, names in where.items()
    ]
    more = len(told) - MAX_PROBLEMS
    rest = [notice(f"… and {more} other reasons: each cell says its own.", warning=True)] if more > 0 else []
    return "".join(told[:MAX_PROBLEMS] + rest)
