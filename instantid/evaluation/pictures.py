"""Trials → pictures in a folder, as far as they are not there yet, with what they took."""

import hashlib
import json
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from .. import batch
from ..batch import Job
from ..bundles import Bundle
from ..engine import Engine
from ..errors import InvalidRequest
from . import memory
from .memory import Memory
from .protocols import Trial
from .sets import Subject

ENDS = 2**20  # bytes read at either end of each weights file
MARK = "bundle.json"
OnPicture = Callable[[int, int, float | None], None]
"""(done, total, seconds left)."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """A trial's picture: its file, and how long it took; None where that is not known any more."""

    trial: Trial
    file: Path
    seconds: float | None


def make(
    trials: Sequence[Trial],
    subjects: Sequence[Subject],
    engine: Engine,
    folder: Path,
    on_picture: OnPicture = lambda done, total, left: None,
) -> tuple[list[Made], Memory | None, list[str]]:
    """Make what is missing.

    Returns:
        The pictures, the peak of memory where any was made now, and sentences about those that failed.

    Raises:
        InvalidRequest: the folder holds pictures of another bundle, or of other settings.
    """
    _claim(folder, engine.bundle)
    jobs = {name_of(trial, subjects): trial for trial in trials}
    planned = [
        Job(
            file,
            subjects[trial.subject].name,
            trial.prompt,
            trial.request.style,
            trial.request.seed,
            trial.request,
        )
        for file, trial in jobs.items()
    ]
    memory.reset()
    made, failed, any_new = [], [], False
    with closing(batch.run(planned, engine.stream, folder)) as events:
        for event in events:
            outcome = event.outcome
            if outcome is None:
                continue
            on_picture(event.done, event.total, event.seconds_left)
            if outcome.status == "differs":
                raise InvalidRequest(
                    f"{folder / outcome.file} was made with other settings. Choose a new folder for --out, or delete "
                    "this one."
                )
            if outcome.status == "failed":
                failed.append(f"{outcome.file} failed: {outcome.error}")
                continue
            any_new |= outcome.status == "made"
            made.append(Made(trial=jobs[outcome.file], file=folder / outcome.file, seconds=outcome.seconds))
    return made, memory.remember(folder, engine.plan.device.type if any_new else None), failed


def name_of(trial: Trial, subjects: Sequence[Subject]) -> str:
    """The file of a trial's picture: condition, person, prompt, seed."""
    words = hashlib.sha256(trial.prompt.encode()).hexdigest()[:6]
    parts = (trial.condition, subjects[trial.subject].name)
    slugs = (re.sub(r"[\W_]+", "-", part).strip("-") for part in parts)
    return f"{'_'.join(slugs)}_{words}_{trial.request.seed}.png"


def mark_of(bundle: Bundle) -> str:
    """What tells a bundle's weights from other ones: of every file that is here, its length and both its ends."""
    digest = hashlib.sha256()
    for part in sorted(bundle.parts(), key=lambda part: part.name):
        if part.path is None:
            continue
        files = (
            [part.path]
            if part.path.is_file()
            else sorted(each for each in part.path.rglob("*") if each.is_file())
        )
        for file in files:
            size = file.stat().st_size
            digest.update(f"{part.name} {file.name} {size}\n".encode())
            with file.open("rb") as content:
                digest.update(content.read(ENDS))
                content.seek(max(0, size - ENDS))
                digest.update(content.read(ENDS))
    return digest.hexdigest()


def _claim(folder: Path, bundle: Bundle) -> None:
    """See that all pictures in the folder are of one bundle."""
    told = {"name": bundle.name, "weights": mark_of(bundle)}
    file = folder / MARK
    if file.exists():
        if json.loads(file.read_text(encoding="utf-8")) != told:
            raise InvalidRequest(
                f"{folder} holds pictures of another bundle, or of “{bundle.name}” before it was trained further. "
                "Choose a new folder for --out, or delete this one."
            )
        return
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(told), encoding="utf-8")
