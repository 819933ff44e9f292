"""Many requests → PNGs in a folder, one after the other, as far as they are not there yet.

What batches and comparisons have in common. It knows requests and files; what makes a picture is handed in.
"""

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from . import metadata
from .errors import Cancelled, InstantIDError, InvalidMetadata, InvalidRequest
from .prints import Print
from .request import Request, Result, Step

logger = logging.getLogger(__name__)

Stream = Callable[[Request], Iterator[Step | Result]]
Status = Literal["made", "kept", "differs", "failed"]


class Job(Protocol):
    """One picture to make: its file's name in the folder, and the request, of one image."""

    @property
    def file(self) -> str: ...

    @property
    def request(self) -> Request: ...


J = TypeVar("J", bound=Job)


@dataclass(frozen=True)
class Ending:
    """What became of one job.

    Args:
        status: "made" now; "kept", for it was there already; "differs": the file is there and was made otherwise,
            so it was left alone; "failed", and `error` says why.
        likeness: as in `Result`, of a picture that was made now.
        seconds: that it took.
        result: of a picture that was made now.
    """

    status: Status
    likeness: float | None = None
    seconds: float | None = None
    error: str = ""
    result: Result | None = None


@dataclass(frozen=True)
class Made(Generic[J]):
    """How far it is.

    Args:
        done, total: jobs.
        job: the one that is worked on, or was just finished.
        step: of the picture that is being made, or None.
        ending: of the job that was just finished, or None.
        seconds_left: judged by the pictures made so far; None before the first.
    """

    done: int
    total: int
    job: J
    step: Step | None = None
    ending: Ending | None = None
    seconds_left: float | None = None


def make(
    jobs: Sequence[J],
    stream: Stream,
    folder: Path,
    *,
    again: bool = False,
    effort: Callable[[J], float] = lambda job: 1.0,
) -> Iterator[Made[J]]:
    """Make the pictures, each a PNG with its request, and tell how far it is.

    What is there already and was made from the same request is kept. A file that was made otherwise is left alone,
    unless `again` says to replace it. A job that fails is told, and the others go on. Closing this generator
    cancels; the same jobs once more go on.

    Args:
        stream: request → its `Step`s and at last its `Result`: `Engine.stream`. Closing it cancels.
        folder: is made where there is none.
        effort: how long a job takes, beside the others.

    Raises:
        InvalidRequest: the folder or a file in it cannot be written.
        Cancelled: the stream was cancelled from elsewhere.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    known: dict[int, Print] = {}
    to_do: list[J] = []
    done = 0
    for job in jobs:
        if ending := _there_already(job, folder / job.file, again, known):
            done += 1
            yield Made(done, len(jobs), job, ending=ending)
        else:
            to_do.append(job)
    spent = worked = 0.0
    for i, job in enumerate(to_do):
        left = _seconds_left(spent, worked, sum(map(effort, to_do[i:])))
        start = time.monotonic()
        try:
            for event in _events(job, stream, folder):
                if isinstance(event, Step):
                    yield Made(done + i, len(jobs), job, step=event, seconds_left=left)
                else:
                    took = time.monotonic() - start
                    spent, worked = spent + took, worked + effort(job)
                    likeness = event.likeness and event.likeness[0]
                    ending = Ending("made", likeness, round(took, 2), result=event)
        except _Failed as failure:
            ending = Ending("failed", error=str(failure))
        left = _seconds_left(spent, worked, sum(map(effort, to_do[i + 1 :])))
        yield Made(done + i + 1, len(jobs), job, ending=ending, seconds_left=left)


class _Failed(Exception):
    """One picture could not be made; the next may."""


def _events(job: Job, stream: Stream, folder: Path) -> Iterator[Step | Result]:
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


def _there_already(job: Job, path: Path, again: bool, known: dict[int, Print]) -> Ending | None:
    """The ending of a job that needs no picture; None where one is to be made."""
    if not path.exists():
        return None
    try:
        same = metadata.made_from(metadata.read(path), job.request, known)
    except InvalidMetadata:
        same = False
    except InstantIDError as error:  # a photo cannot be opened any more; the picture is left as it is
        return Ending("failed", error=str(error))
    if same:
        return Ending("kept")
    if again:
        return None
    return Ending(
        "differs", error="A file of this name, made from something else, is there and was left alone."
    )


def _seconds_left(spent: float, worked: float, effort: float) -> float | None:
    return spent / worked * effort if worked else None
