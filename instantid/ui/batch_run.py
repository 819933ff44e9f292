"""A batch from the page: what is planned of the form, its progress, and the zip of what there is."""

import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from PIL import Image

from .. import batch as batches
from ..batch import Job, Outcome, Progress, Subject
from ..errors import InvalidRequest
from ..people import MAX_PEOPLE, Person, Photo
from ..styles import NO_STYLE
from .form import build_request
from .people import read_people
from .photos import notice, paths_of
from .results import duration, status_line
from .studio import Studio

MAX_JOBS = 1000  # one visitor's; the command line has no limit
MAX_PROBLEMS = 5  # told one by one
PREVIEW_SIDE = 640  # pixels: whole pictures would be hashed again at every update
OWN = {"people", "prompt", "style", "seed", "images"}  # fields of Request in which jobs differ


def plan(
    values: Mapping[str, Any], studio: Studio, faces: list | None, prompts: str, styles: Sequence[str] | None
) -> list[Job]:
    """The jobs: every face photo × prompt × style × seed, all else as in the form.

    Args:
        values: the form's. The seed it shows is taken even where runs take random ones: only the same seed goes on.

    Raises:
        InvalidRequest: no photos, too much at once, or a setting that cannot be used.
    """
    photos = paths_of(faces)
    if not photos:
        raise InvalidRequest("There are no face photos in the batch yet. Add at least one, then start.")
    lines = [line.strip() for line in prompts.splitlines() if line.strip()] or [values["prompt"]]
    chosen = styles or [values["style"]]
    alone = {"people_count": 1} | {f"portrait_{i}": None for i in range(1, MAX_PEOPLE + 1)}
    first = read_people({**values, **alone, "people": faces})
    form = build_request({**values, "randomise": False}, studio, first)
    count = len(photos) * len(lines) * len(chosen) * form.images
    if count > MAX_JOBS:
        raise InvalidRequest(
            f"This batch has {count} pictures; up to {MAX_JOBS} can be made from the page. Choose fewer, or use "
            "`python -m instantid batch`, which has no limit."
        )
    return batches.plan(
        [Subject(path.stem, (Photo(image=path),)) for path in photos],
        lines,
        [None if style in (None, NO_STYLE) else style for style in chosen],
        seeds=[form.seed + i for i in range(form.images)],
        settings={name: getattr(form, name) for name in type(form).model_fields if name not in OWN},
        person={name: getattr(first[0], name) for name in Person.model_fields if name != "references"},
    )


def make(
    studio: Studio,
    jobs: Sequence[Job],
    folder: Path,
    wanted: Callable[[], bool],
    made: Callable[[Path, float | None], None] = lambda picture, likeness: None,
) -> Iterator[tuple[str, list[tuple[Path, str]] | None]]:
    """Run the jobs: (HTML of the status, the pictures so far where there is a new one). Made with other settings,
    a picture is replaced.

    Args:
        wanted: asked at every step; once it says no, the batch stops without a further word.
        made: told of each new picture and its likeness.
    """
    outcomes: list[Outcome] = []
    with closing(
        batches.run(jobs, studio.generate, folder, several=studio.generate_several, again=True)
    ) as events:
        for progress in events:
            if progress.outcome is not None:
                outcomes.append(progress.outcome)
            new = progress.outcome is not None and progress.outcome.status == "made"
            if new:
                made(folder / progress.outcome.file, progress.outcome.likeness)
            if not wanted():
                return
            yield _status(progress, outcomes), shown(outcomes, folder) if new else None
    yield _summary(outcomes), shown(outcomes, folder)


def shown(outcomes: Sequence[Outcome], folder: Path) -> list[tuple[Path, str]]:
    """Small pictures with captions, of the jobs whose pictures are there."""
    return [
        (preview(folder / outcome.file), _caption(outcome))
        for outcome in outcomes
        if outcome.status in ("made", "kept")
    ]


def pack(folder: Path) -> Path | None:
    """A zip of the pictures and of the table of results; None where there are none."""
    pictures = sorted(folder.glob("*.png"))
    if not pictures:
        return None
    archive = folder / "zip" / "instantid-batch.zip"
    archive.parent.mkdir(exist_ok=True)
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:  # PNGs do not get smaller
        for file in (*pictures, *folder.glob("batch.*")):
            packed.write(file, file.name)
    return archive


def _status(progress: Progress, outcomes: Sequence[Outcome]) -> str:
    job = progress.job
    left = "" if progress.seconds_left is None else f"· {duration(progress.seconds_left)} left"
    which = min(progress.done + (progress.outcome is None), progress.total)
    doing = f"Picture {which} of {progress.total} · {_name(job.person, job.style)}"
    return status_line(doing, left, done=(progress.done + progress.part) / progress.total) + _problems(
        outcomes
    )


def _summary(outcomes: Sequence[Outcome]) -> str:
    counts = {
        status: sum(each.status == status for each in outcomes) for status in ("made", "kept", "failed")
    }
    told = f"{counts['made']} made" + (f" · {counts['kept']} were there already" if counts["kept"] else "")
    failed = len(outcomes) - counts["made"] - counts["kept"]
    return status_line("Batch done.", f"{told}{f' · {failed} not made' if failed else ''}") + _problems(
        outcomes
    )


def _problems(outcomes: Sequence[Outcome]) -> str:
    failed = [each for each in outcomes if each.error]
    told = [notice(f"{_name(each.person, each.style)}: {each.error}", warning=True) for each in failed]
    more = len(told) - MAX_PROBLEMS
    rest = (
        [notice(f"… and {more} more: batch.csv in the zip lists them all.", warning=True)] if more > 0 else []
    )
    return "".join(told[:MAX_PROBLEMS] + rest)


def _caption(outcome: Outcome) -> str:
    likeness = "" if outcome.likeness is None else f" · likeness {outcome.likeness:.2f}"
    return f"{_name(outcome.person, outcome.style)} · {outcome.prompt} · seed {outcome.seed}{likeness}"


def _name(person: str, style: str | None) -> str:
    return f"{person} · {style or NO_STYLE}"


def preview(picture: Path, side: int = PREVIEW_SIDE) -> Path:
    """The picture as a small JPEG, made once, in a folder beside it."""
    small = picture.parent / "previews" / f"{picture.stem}.jpg"
    if not small.exists() or small.stat().st_mtime < picture.stat().st_mtime:
        small.parent.mkdir(exist_ok=True)
        with Image.open(picture) as whole:
            whole.thumbnail((side, side))
            whole.convert("RGB").save(small, quality=88)
    return small
