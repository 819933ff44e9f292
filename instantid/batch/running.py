"""Jobs → pictures in a folder, one after the other, as far as they are not there yet."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import metadata
from ..errors import Cancelled, InstantIDError, InvalidMetadata, InvalidRequest
from ..prints import Print
from ..request import Request, Result, Step
from .planning import Job
from .results import Outcome, Status, read_results, write_results

logger = logging.getLogger(__name__)

Stream = Callable[[Request], Iterator[Step | Result]]


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Args:
        done, total: jobs.
        job: the one that is worked on, or was just finished.
        step: of the picture that is being made, or None.
        outcome: of the job that was just finished, or None.
        seconds_left: judged by the pictures made so far; None before the first.
    """

    done: int
    total: int
    job: Job
    step: Step | None = None
    outcome: Outcome | None = None
    seconds_left: float | None = None


def run(jobs: Sequence[Job], stream: Stream, folder: Path, *, again: bool = False) -> Iterator[Progress]:
    """Make the pictures, each a PNG with its request, and tell how far it is.

    What is there already and was made from the same request is kept. A file that was made otherwise is left alone,
    unless `again` says to replace it. A job that fails is told, and the others go on. After each picture
    `batch.json` and `batch.csv` in the folder are written anew. Closing this generator cancels; running the same
    jobs once more goes on.

    Args:
        stream: request → its `Step`s and at last its `Result`: `Engine.stream`. Closing it cancels.
        folder: is made where there is none.

    Raises:
        InvalidRequest: the folder or a file in it cannot be written.
        Cancelled: the stream was cancelled from elsewhere.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    earlier = read_results(folder)
    outcomes: dict[str, Outcome] = {}
    known: dict[int, Print] = {}
    for job in jobs:
        if outcome := _there_already(job, folder / job.file, again, earlier, known):
            outcomes[job.file] = outcome
            yield Progress(len(outcomes), len(jobs), job, outcome=outcome)
    to_do = [job for job in jobs if job.file not in outcomes]
    spent: list[float] = []
    for i, job in enumerate(to_do):
        left = _seconds_left(spent, len(to_do) - i)
        start = time.monotonic()
        try:
            for event in _made(job, stream, folder):
                if isinstance(event, Step):
                    yield Progress(len(outcomes), len(jobs), job, step=event, seconds_left=left)
                else:
                    spent.append(time.monotonic() - start)
                    likeness = event.likeness and event.likeness[0]
                    outcome = _outcome(job, "made", likeness=likeness, seconds=round(spent[-1], 2))
        except _Failed as failure:
            outcome = _outcome(job, "failed", error=str(failure))
        outcomes[job.file] = outcome
        write_results([outcomes[each.file] for each in jobs if each.file in outcomes], folder, earlier)
        left = _seconds_left(spent, len(to_do) - i - 1)
        yield Progress(len(outcomes), len(jobs), job, outcome=outcome, seconds_left=left)
    write_results([outcomes[job.file] for job in jobs], folder, earlier)


class _Failed(Exception):
    """One picture could not be made; the next may."""


def _made(job: Job, stream: Stream, folder: Path) -> Iterator[Step | Result]:
    """The events of one picture, which is in its file when its `Result` comes."""
    result = None
    try:
        with closing(stream(job.request)) as events:
            for event in events:
                if isinstance(event, Result):
                    result = event
                else:
                    yield event
    except Cancelled:
        raise
    except InstantIDError as error:
        raise _Failed(str(error)) from error
    except Exception as bug:  # in one picture of a night's work: the others are still to be made
        logger.exception("The picture %s failed", job.file)
        raise _Failed(repr(bug)) from bug
    metadata.save(result, [folder / job.file])  # no room on the disk: the others would be made in vain
    yield result


def _there_already(
    job: Job, path: Path, again: bool, earlier: Mapping[str, Outcome], known: dict[int, Print]
) -> Outcome | None:
    """The outcome of a job that needs no picture; None where one is to be made."""
    if not path.exists():
        return None
    try:
        same = metadata.made_from(metadata.read(path), job.request, known)
    except InvalidMetadata:
        same = False
    except InstantIDError as error:  # a photo cannot be opened any more; the picture is left as it is
        return _outcome(job, "failed", error=str(error))
    if same:
        before = earlier.get(job.file)
        made = {"likeness": before.likeness, "seconds": before.seconds} if before else {}
        return _outcome(job, "kept", **made)
    if again:
        return None
    return _outcome(
        job, "differs", error="A file of this name, made from something else, is there and was left alone."
    )


def _outcome(job: Job, status: Status, **details: Any) -> Outcome:
    return Outcome(job.file, job.person, job.prompt, job.style, job.seed, status, **details)


def _seconds_left(spent: Sequence[float], pictures: int) -> float | None:
    return sum(spent) / len(spent) * pictures if spent else None
