"""A comparison → its pictures in a folder, as far as they are not there yet."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import effort, making, prints
from ..errors import InvalidRequest
from ..making import Ending, Several, Status, Stream
from ..prints import Print
from ..request import Request, Step
from .grid import Cell, Grid

RESULTS = "cells.json"  # likeness and seconds, beside the pictures


@dataclass(frozen=True, eq=False)
class Job:
    """A picture to make, for all cells that ask for the same: text alone looks alike at every strength.

    Args:
        file: its name in the folder, which says what it is made from.
        request: of one image.
        cells: whose picture it is.
    """

    file: str
    request: Request
    cells: tuple[Cell, ...]


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one cell.

    Args:
        path: of its picture, a PNG with the cell's request; not there where it failed.
        status, error: as in `making.Ending`.
        likeness: as in `Result`, of the one picture; None where it is not known.
        seconds: that the picture took; its share where several were made together.
    """

    cell: Cell
    path: Path
    status: Status
    likeness: float | None = None
    seconds: float | None = None
    error: str = ""

    @property
    def there(self) -> bool:
        """Whether there is a picture."""
        return self.status in ("made", "kept")


@dataclass(frozen=True)
class Progress:
    """How far a comparison is.

    Args:
        done, total: pictures; fewer than cells where some are the same.
        cell: one that is worked on, or was just finished.
        step, part: as in `making.Made`.
        outcomes: of the cells that were just finished, mostly one; empty between.
        notes: what did not go as one might expect with them, in sentences.
        seconds_left: judged by the pictures made so far and the work of those to come; None before the first.
    """

    done: int
    total: int
    cell: Cell
    step: Step | None = None
    part: float = 0.0
    outcomes: tuple[Outcome, ...] = ()
    notes: tuple[str, ...] = ()
    seconds_left: float | None = None


def plan(grid: Grid, made_with: str = "") -> list[Job]:
    """The pictures of a comparison, in the order in which they are best made. Its photos are opened.

    The same request, photos, weights and `made_with` give the same file name: so a comparison goes on where it was
    stopped, and one that is changed a little makes only what is new.

    Args:
        made_with: what else makes pictures differ, in words: the bundle.

    Raises:
        InvalidRequest: the grid has no seed: `Grid.settled` draws one.
        InvalidImage: a photo cannot be opened.
    """
    if any(cell.request.seed is None for cell in grid.cells):
        raise InvalidRequest("The comparison has no seed yet. Take `grid.settled()`, and keep that one.")
    known: dict[int, Print] = {}
    cells: dict[str, list[Cell]] = {}
    for cell in grid.cells:
        cells.setdefault(_file(cell.request, made_with, known), []).append(cell)
    return [Job(file, those[0].request, tuple(those)) for file, those in cells.items()]


def seconds(jobs: Sequence[Job], pace: float, weigh: Callable[[Request], float] = effort.of) -> float | None:
    """How long pictures will take, or None where the pace is not known.

    Args:
        pace: seconds for a unit of work, as `effort.pace` measures it on a picture; 0: not known.
        weigh: the work of a request: `effort.of` with the bundle's defaults.
    """
    return pace * sum(weigh(job.request) for job in jobs) if pace else None


def missing(jobs: Sequence[Job], folder: Path) -> list[Job]:
    """Those whose files are not there yet."""
    return [job for job in jobs if not (folder / job.file).exists()]


def run(
    jobs: Sequence[Job],
    stream: Stream,
    folder: Path,
    *,
    several: Several | None = None,
    weigh: Callable[[Request], float] = effort.of,
) -> Iterator[Progress]:
    """Make the pictures and tell how far it is. What is there already is kept; see `making.make`.

    A cell that fails is told, and the others go on. Closing this generator cancels; what is there stays.

    Args:
        stream, several: as `making.make` takes them; cells that differ in their seeds alone may be made together.
        weigh: the work of a request, for the time that is left.

    Raises:
        InvalidRequest: the folder or a file in it cannot be written.
        Cancelled: the stream was cancelled from elsewhere.
    """
    measured = read_results(folder)
    made = making.make(
        jobs, stream, folder, several=several, again=True, effort=lambda job: weigh(job.request)
    )
    for event in made:
        outcomes: tuple[Outcome, ...] = ()
        notes: tuple[str, ...] = ()
        if event.ending is not None:
            if event.ending.status == "made":
                told = {"likeness": event.ending.likeness, "seconds": event.ending.seconds}
                measured[event.job.file] = told
                _write_results(measured, folder)
                notes = tuple(event.ending.result.notes)
            outcomes = _outcomes(event.job, event.ending, folder, measured.get(event.job.file, {}))
        yield Progress(
            done=event.done,
            total=event.total,
            cell=event.job.cells[0],
            step=event.step,
            part=event.part,
            outcomes=outcomes,
            notes=notes,
            seconds_left=event.seconds_left,
        )


def there(jobs: Sequence[Job], folder: Path) -> list[Outcome]:
    """The cells whose pictures are in the folder, without making any: what a stopped comparison has to show."""
    measured = read_results(folder)
    return [
        outcome
        for job in jobs
        if (folder / job.file).exists()
        for outcome in _outcomes(job, Ending("kept"), folder, measured.get(job.file, {}))
    ]


def read_results(folder: Path) -> dict[str, dict[str, Any]]:
    """Likeness and seconds by file; nothing where they were not written, or edited beyond reading."""
    try:
        told = json.loads((folder / RESULTS).read_text(encoding="utf-8"))
        return {
            file: {"likeness": row.get("likeness"), "seconds": row.get("seconds")}
            for file, row in told.items()
        }
    except (OSError, ValueError, AttributeError):
        return {}


def _write_results(measured: dict[str, dict[str, Any]], folder: Path) -> None:
    beside = folder / f".{RESULTS}.part"
    try:
        beside.write_text(json.dumps(measured, indent=1), encoding="utf-8")
        os.replace(beside, folder / RESULTS)
    except OSError as error:
        raise InvalidRequest(
            f"{RESULTS} cannot be written to {folder}: {error.strerror or error}."
        ) from error


def _outcomes(job: Job, ending: Ending, folder: Path, measured: dict[str, Any]) -> tuple[Outcome, ...]:
    shown = measured if ending.status in ("made", "kept") else {}
    return tuple(
        Outcome(cell, folder / job.file, ending.status, **shown, error=ending.error) for cell in job.cells
    )


def _file(request: Request, made_with: str, known: dict[int, Print]) -> str:
    described = prints.describe(request, known)
    text = json.dumps([made_with, described.settings, described.pictures, described.weights], sort_keys=True)
    return f"{hashlib.sha256(text.encode()).hexdigest()[:20]}.png"
