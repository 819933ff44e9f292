"""`batch`: a folder of faces × prompts × styles."""

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from .. import dotted
from ..errors import InvalidRequest
from .early import refuse_early
from .options import with_options
from .saved import Used
from .settings import read_settings, setting_options
from .terminal import (
    AtOnceOption,
    BundleOption,
    DeviceOption,
    ModelsOption,
    PlacementOption,
    StylesOption,
    console,
    load_engine,
    note,
)

OWN = ("prompt", "style", "seed", "images")  # of which a batch has several
WORDS = {"made": "Wrote", "kept": "Kept", "differs": "Left alone", "failed": "Failed"}


@with_options(setting_options(without=OWN, faces=False))
def batch(
    *,
    given: Mapping[str, Any],
    faces: Annotated[
        Path,
        typer.Option(
            help="A folder: each photo is a person, each folder in it a person with several photos."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder for the pictures.")],
    prompts: Annotated[
        Path | None,
        typer.Option(
            help="A text file, one prompt a line; {name} stands for the person's, # begins a comment."
        ),
    ] = None,
    prompt: Annotated[list[str] | None, typer.Option(help="A prompt. Again for more.")] = None,
    style: Annotated[
        list[str] | None,
        typer.Option(help="A style preset's name. Again for more; none leaves the prompts as they are."),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the first picture of each kind.")] = 42,
    images: Annotated[int, typer.Option(min=1, help="Pictures of each kind; each takes the next seed.")] = 1,
    again: Annotated[
        bool,
        typer.Option("--again", help="Replace pictures that are there and were made from something else."),
    ] = False,
    models: ModelsOption = None,
    styles: StylesOption = None,
    bundle: BundleOption = "mini",
    device: DeviceOption = None,
    placement: PlacementOption = None,
    at_once: AtOnceOption = None,
) -> None:
    """Make pictures of everybody in a folder, for each prompt and style.

    Stop it with Ctrl-C; the same command goes on. Results are listed in batch.json and batch.csv.
    """
    from .. import batch as batches
    from ..styles import load_styles

    wanted = [*(batches.read_prompts(prompts) if prompts else ()), *(prompt or ())]
    if not wanted:
        raise InvalidRequest("What is to be shown? Give --prompts prompts.txt, or --prompt with the words.")
    settings = dotted.put_in({}, read_settings(given, Used(None)))
    [person] = settings.pop("people", [{}])
    jobs = batches.plan(
        faces,
        wanted,
        style or [None],
        seeds=range(seed, seed + images),
        settings=settings,
        person=person,
    )
    presets = load_styles(*(styles or ()))
    for request in {job.style: job.request for job in jobs}.values():  # a bad face is one person's matter
        refuse_early(request, presets, models or (), faces=False)
    console.print(f"{len(jobs)} pictures of {len({job.person for job in jobs})} people.")
    engine = load_engine(bundle, device, placement, presets, models or (), at_once)
    outcomes = _run(batches.run(jobs, engine.stream, out, several=engine.stream_several, again=again))
    failed = [outcome for outcome in outcomes if outcome.status in ("failed", "differs")]
    counts = {status: sum(outcome.status == status for outcome in outcomes) for status in WORDS}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count)
    console.print(f"Done: {told}. The list is {escape(str(out / 'batch.csv'))}.")
    for outcome in failed:
        note(f"{outcome.file}: {outcome.error}")
    if counts["differs"]:
        note("add --again to replace what was made from something else.")
    raise typer.Exit(1 if failed else 0)


def _run(events: Any) -> Sequence[Any]:
    outcomes = []
    told: set[str] = set()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:g} of {task.total}"),
    )
    shown = Progress(*columns, TextColumn("{task.fields[left]}"), console=console, transient=True)
    with closing(events) as running, shown as bar:  # Ctrl-C cancels the picture
        task = bar.add_task("Looking at what is there", total=None, left="")
        for event in running:
            left = "" if event.seconds_left is None else f"{time_told(event.seconds_left)} left"
            bar.update(
                task,
                description=escape(event.job.file),
                completed=round(event.done + event.part, 1),
                total=event.total,
                left=left,
            )
            for sentence in event.notes:
                if sentence not in told:
                    note(sentence)
            told |= {*event.notes}
            if event.outcome:
                outcomes.append(event.outcome)
                console.print(f"{WORDS[event.outcome.status]} {escape(event.outcome.file)}")
    return outcomes


def time_told(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
