"""Many requests → PNGs in a folder, as far as they are not there yet; those that differ in their seed, together.

What batches and comparisons have in common. It knows requests and files; what makes a picture is handed in.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, Protocol, TypeVar

from . import dotted, metadata, repeating
from .errors import Cancelled, InstantIDError, InvalidMetadata, InvalidRequest
from .prints import Print
from .request import Request, Result, Step

logger = logging.getLogger(__name__)

Stream = Callable[[Request], Iterator[Step | Result]]
"""A request → its `Step`s and at last its `Result`. Closing it cancels."""
Several = Callable[[Sequence[Request]], Iterator[Step | Result]]
"""Requests that differ in their seeds alone → `Step`s, and a `Result` for each in their order. Closing it cancels."""
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
        seconds: that it took; of pictures that were made together, its share.
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
        job: the one that is worked on, the first of several, or the one that was just finished.
        step: of what is being made, or None; over all of several that are made together.
        part: what of the next jobs is done already: 0.5 is half a picture, or an eighth of each of four.
        ending: of the job that was just finished, or None.
        seconds_left: judged by the pictures made so far; None before the first.
    """

    done: int
    total: int
    job: J
    step: Step | None = None
    part: float = 0.0
    ending: Ending | None = None
    seconds_left: float | None = None


def make(
    jobs: Sequence[J],
    stream: Stream,
    folder: Path,
    *,
    several: Several | None = None,
    again: bool = False,
    effort: Callable[[J], float] = lambda job: 1.0,
) -> Iterator[Made[J]]:
    """Make the pictures, each a PNG with its request, and tell how far it is.

    What is there already and was made from the same request is kept. A file that was made otherwise is left alone,
    unless `again` says to replace it. A job that fails is told, and the others go on. Closing this generator
    cancels; the same jobs once more go on.

    Args:
        stream: `Engine.stream`.
        folder: is made where there is none.
        several: `Engine.stream_several`: makes jobs together that differ in their seeds alone, before the next.
            Where it fails, those that it has not made yet are made one by one. None: all are.
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
    pace = _Pace(effort)
    groups = deque(_alike(to_do) if several else ([job] for job in to_do))
    while groups:
        group = groups.popleft()
        others = [job for each in groups for job in each]
        made, ahead = 0, 0.0  # of this group; how far it is, counted in jobs
        left = pace.seconds_for([*group, *others])
        start = time.monotonic()
        try:
            with closing(_events(group, stream, several)) as events:
                for event in events:
                    job = group[made]
                    if isinstance(event, Step):
                        ahead = len(group) * event.step / event.total if event.total else 0.0
                        part = max(0.0, ahead - made)
                        yield Made(done, len(jobs), job, event, part, seconds_left=left)
                        continue
                    # Where there is no room on the disk, the others would be made in vain: that is raised.
                    metadata.save(event, [folder / job.file])
                    took = time.monotonic() - start if len(group) == 1 else event.timings["total"]
                    pace.learn(job, took)
                    made, done = made + 1, done + 1
                    left = pace.seconds_for([*group[made:], *others])
                    likeness = event.likeness and event.likeness[0]
                    ending = Ending("made", likeness, round(took, 2), result=event)
                    part = max(0.0, ahead - made)
                    yield Made(done, len(jobs), job, part=part, ending=ending, seconds_left=left)
                    if made == len(group):
                        break
        except _Failed as failure:
            if len(group) > 1:  # it may be one picture's matter
                groups.extendleft([job] for job in reversed(group[made:]))
                continue
            done += 1
            ending = Ending("failed", error=str(failure))
            yield Made(done, len(jobs), group[0], ending=ending, seconds_left=pace.seconds_for(others))


class _Pace(Generic[J]):
    """How long jobs take, judged by those that are made."""

    def __init__(self, effort: Callable[[J], float]):
        self._effort, self._spent, self._worked = effort, 0.0, 0.0

    def learn(self, job: J, seconds: float) -> None:
        self._spent, self._worked = self._spent + seconds, self._worked + self._effort(job)

    def seconds_for(self, jobs: Sequence[J]) -> float | None:
        return self._spent / self._worked * sum(map(self._effort, jobs)) if self._worked else None


class _Failed(Exception):
    """One picture, or one of several that are made together, could not be made; the next may."""


def _alike(jobs: Sequence[J]) -> list[list[J]]:
    """Jobs that differ in their seeds alone, together; in the order of each one's first."""
    groups: dict[Hashable, list[J]] = {}
    for job in jobs:
        groups.setdefault(dotted.but_for_seed(job.request), []).append(job)
    return list(groups.values())


def _events(group: Sequence[Job], stream: Stream, several: Several | None) -> Iterator[Step | Result]:
    """What the making of some pictures tells."""
    first, *others = [job.request for job in group]
    try:
        with closing(several([first, *others]) if others else stream(first)) as events:
            yield from events
    except Cancelled:
        raise
    except InstantIDError as error:
        raise _Failed(str(error)) from error
    except Exception as bug:  # in one picture of a night's work: the others are still to be made
        logger.exception("Making %s failed", ", ".join(job.file for job in group))
        raise _Failed(repr(bug)) from bug


def _there_already(job: Job, path: Path, again: bool, known: dict[int, Print]) -> Ending | None:
    """The ending of a job that needs no picture; None where one is to be made."""
    if not path.exists():
        return None
    try:
        same = repeating.made_from(metadata.read(path), job.request, known)
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
