"""Jobs → pictures in a folder, as far as they are not there yet, and the list of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .. import making
from ..making import Ending, Several, Stream
from ..request import Step
from .planning import Job
from .results import Outcome, read_results, write_results


@dataclass(frozen=True)
class Progress:
    """How far a batch is.

    Args:
        done, total: jobs.
        job: the one that is worked on, or was just finished.
        step, part: as in `making.Made`.
        outcome: of the job that was just finished, or None.
        notes: what did not go as one might expect with it, in sentences.
        seconds_left: judged by the pictures made so far; None before the first.
    """

    done: int
    total: int
    job: Job
    step: Step | None = None
    part: float = 0.0
    outcome: Outcome | None = None
    notes: tuple[str, ...] = ()
    seconds_left: float | None = None


def run(
    jobs: Sequence[Job],
    stream: Stream,
    folder: Path,
    *,
    several: Several | None = None,
    again: bool = False,
) -> Iterator[Progress]:
    """`making.make`, with `batch.json` and `batch.csv` in the folder, which are written anew after each picture.

    Raises:
        InvalidRequest: the folder or a file in it cannot be written.
        Cancelled: the stream was cancelled from elsewhere.
    """
    earlier = read_results(folder)
    outcomes: dict[str, Outcome] = {}
    for event in making.make(jobs, stream, folder, several=several, again=again):
        outcome, notes = None, ()
        if event.ending is not None:
            outcome = outcomes[event.job.file] = _outcome(
                event.job, event.ending, earlier.get(event.job.file)
            )
            if event.ending.result is not None:
                notes = tuple(event.ending.result.notes)
            if event.ending.result is not None or event.ending.status == "failed":
                write_results([outcomes[job.file] for job in jobs if job.file in outcomes], folder, earlier)
        yield Progress(
            done=event.done,
            total=event.total,
            job=event.job,
            step=event.step,
            part=event.part,
            outcome=outcome,
            notes=notes,
            seconds_left=event.seconds_left,
        )
    write_results([outcomes[job.file] for job in jobs], folder, earlier)


def _outcome(job: Job, ending: Ending, before: Outcome | None) -> Outcome:
    """A row of the results; likeness and seconds of a picture that was there are those of the earlier row."""
    told = before if ending.status == "kept" and before else ending
    return Outcome(
        job.file,
        job.person,
        job.prompt,
        job.style,
        job.seed,
        ending.status,
        told.likeness,
        told.seconds,
        ending.error,
    )
