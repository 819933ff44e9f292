"""`compare`: what each setting does, side by side."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from .. import dotted
from ..errors import InvalidRequest
from ..request import Request
from . import pace
from .batch import time_told
from .early import refuse_early
from .generate import bundle_of
from .options import with_options
from .people_options import refuse_gaps
from .saved import Used
from .settings import read_settings, setting_options
from .terminal import (
    BUNDLES,
    MACHINE,
    AtOnceOption,
    DeviceOption,
    ModelsOption,
    PeopleFolderOption,
    PlacementOption,
    StylesOption,
    console,
    load_engine,
    note,
)

if TYPE_CHECKING:
    from ..bundles import Bundle
    from ..compare import Grid, Job, Outcome

AXES = "Axes"  # a heading of --help


@with_options(setting_options(without=("images",)))
def compare(
    *,
    given: Mapping[str, Any],
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A comparison to make again: grid.json, or a labelled picture. Other options change it."
        ),
    ] = None,
    x: Annotated[
        str | None,
        typer.Option(
            help="Columns: a setting and its values, such as “identity_strength: 0..1.2 step 0.4” or "
            "“style: Watercolor | Neon”. Also “prompt S/R: man, woman”, “adapters: all | no face” and “method: "
            "InstantID | IP-Adapter | text only”.",
            rich_help_panel=AXES,
        ),
    ] = None,
    y: Annotated[str | None, typer.Option(help="Rows, written alike.", rich_help_panel=AXES)] = None,
    z: Annotated[str | None, typer.Option(help="Pages, written alike.", rich_help_panel=AXES)] = None,
    out: Annotated[Path, typer.Option(help="The labelled picture. Several pages are numbered.")] = Path(
        "grid.png"
    ),
    zip_: Annotated[
        Path | None,
        typer.Option("--zip", help="Also everything in one file: pages, cells, a table, grid.json."),
    ] = None,
    resume: Annotated[
        Path | None,
        typer.Option(
            help="The folder where the cells are kept, and from which a stopped comparison goes on. Default: "
            "beside --out, such as grid-cells."
        ),
    ] = None,
    side: Annotated[
        int | None,
        typer.Option(
            min=32, max=4096, help="Longer side of a cell in the labelled picture, in pixels at most."
        ),
    ] = None,
    details: Annotated[bool, typer.Option(help="Likeness and seconds under each cell.")] = True,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say how many pictures and how long, and make none.")
    ] = False,
    models: ModelsOption = None,
    styles: StylesOption = None,
    people_folder: PeopleFolderOption = None,
    bundle: Annotated[
        str | None,
        typer.Option(help=f"{BUNDLES} Default: the comparison's, else mini.", rich_help_panel=MACHINE),
    ] = None,
    device: DeviceOption = None,
    placement: PlacementOption = None,
    at_once: AtOnceOption = None,
) -> None:
    """Compare settings in a labelled grid: any setting along columns, rows and pages, with the same seed.

    Stop it with Ctrl-C: what is made is kept and shown, and the same command goes on.
    """
    from .. import compare as comparing
    from .. import hosting
    from ..styles import load_styles

    _refuse_other_ends(out, zip_)
    saved = Used(people_folder)
    values = read_settings(given, saved)
    folder = resume or out.with_name(f"{out.stem}-cells")
    grid = _grid(file, values, {"x": x, "y": y, "z": z}, resume)
    bundle = bundle or _named(grid, file) or "mini"
    presets = load_styles(*(styles or ()))
    for request in grid.samples():
        refuse_early(request, presets, models or ())
    saved.check(bundle)
    opened = hosting.open_bundle(bundle)
    _refuse_methods(grid, opened)
    grid = comparing.go_on(grid.replace(bundle=bundle), folder)
    jobs = comparing.plan(grid, opened.name)
    weigh = _weigher(opened)
    machine = f"{opened.name} on {device or 'the fastest device'}{f', {placement}' if placement else ''}"
    machine += f", {at_once} at once" if at_once else ""
    _tell_first(grid, jobs, folder, pace.known(machine), weigh)
    if dry_run:
        return
    engine = load_engine(bundle, device, placement, presets, models or (), at_once)
    outcomes: list[Outcome] = []
    pages: list[Path] = []
    try:
        alone, several = (partial(_timed, how, machine) for how in (engine.stream, engine.stream_several))
        _run(comparing.run(jobs, alone, folder, several=several, weigh=weigh), outcomes)
    finally:  # Ctrl-C, too, leaves a picture of what there is
        if any(outcome.there for outcome in outcomes):
            pages = comparing.save(grid, outcomes, out, comparing.Look(side=side, details=details))
            console.print(
                f"Wrote {escape(', '.join(map(str, pages)))}; its cells are in {escape(str(folder))}."
            )
    if zip_ and pages:
        console.print(f"Wrote {escape(str(comparing.pack(grid, outcomes, pages, zip_)))}")
    failed = [outcome for outcome in outcomes if outcome.error]
    for outcome in failed:
        note(f"{outcome.cell.name}: {outcome.error}")
    raise typer.Exit(1 if failed else 0)


def _grid(
    file: Path | None, values: Mapping[str, Any], axes: Mapping[str, str | None], resume: Path | None
) -> "Grid":
    """The comparison of the file, or of the folder that is to go on, changed by the options; else of the options."""
    from .. import compare as comparing

    given = {place: comparing.read_axis(text) for place, text in axes.items() if text}
    if file is None and resume is not None and not given and (resume / "grid.json").exists():
        file = resume / "grid.json"
    if file is not None:
        return comparing.read(file, values).replace(**given)
    if "x" not in given:
        raise InvalidRequest(
            "What is to be compared? Give a grid.json, or an axis: --x “identity_strength: 0..1.2 step 0.4”."
        )
    refuse_gaps(values)
    return comparing.Grid(base=Request(**dotted.put_in({"seed": None}, values)), **given)


def _named(grid: "Grid", file: Path | None) -> str:
    """The bundle that a comparison names; a picture may be a stranger's, and never names a folder."""
    if grid.bundle and file is not None and file.suffix.lower() == ".png":
        return bundle_of({"name": grid.bundle})
    return grid.bundle


def _refuse_methods(grid: "Grid", bundle: "Bundle") -> None:
    from .. import bundles
    from ..compare import usable_methods

    parts = {"IP-Adapter": bundles.STYLE_PARTS, "IP-Adapter FaceID": bundles.FACEID_PARTS}
    usable = usable_methods(
        style_reference=bundle.present(*bundles.STYLE_PARTS), faceid=bundle.present(*bundles.FACEID_PARTS)
    )
    for axis in grid.axes:
        for method in axis.values if axis.field == "method" else ():
            if method not in usable:
                raise InvalidRequest(
                    f"The bundle “{bundle.name}” has no weights for the method “{method}”, which takes its "
                    f"{' and '.join(parts[method])}: {bundle.fetch_command()}. Methods that it has: "
                    f"{', '.join(usable)}."
                )


def _weigher(bundle: "Bundle") -> partial[float]:
    from .. import effort, recipes

    own = {name: asdict(recipe) for name, recipe in recipes.RECIPES.items()}
    return partial(effort.of, defaults=bundle.defaults.model_dump(), recipes=own)


def _tell_first(grid: "Grid", jobs: Sequence["Job"], folder: Path, known: float, weigh: Any) -> None:
    """How many and how long, before anything is loaded."""
    from .. import compare as comparing

    to_do = comparing.missing(jobs, folder)
    columns, rows, pages = grid.shape
    size = f"{columns} × {rows}" + (f" on {pages} pages" if pages > 1 else "")
    same = f", {len(jobs)} different pictures" if len(jobs) < grid.count else ""
    there = f", {len(jobs) - len(to_do)} of them there already" if len(to_do) < len(jobs) else ""
    seconds = comparing.seconds(to_do, known, weigh)
    time = (
        "How long it takes is known after the first." if seconds is None else f"About {time_told(seconds)}."
    )
    console.print(f"{grid.count} cells, {size}{same}{there}. {time if to_do else ''}".rstrip())


def _timed(stream: Callable[[Any], Any], machine: str, asked: Request | Sequence[Request]) -> Any:
    """One of the engine's streams; its pace is remembered for the next estimate."""
    from .. import effort
    from ..request import Result

    with closing(stream(asked)) as events:
        for event in events:
            if isinstance(event, Result) and (measured := effort.pace(event)):
                pace.remember(machine, measured)
            yield event


def _run(events: Any, outcomes: list["Outcome"]) -> None:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed:g} of {task.total}"),
    )
    told: set[str] = set()
    shown = Progress(*columns, TextColumn("{task.fields[left]}"), console=console, transient=True)
    with closing(events) as running, shown as bar:  # Ctrl-C cancels the picture
        task = bar.add_task("Looking at what is there", total=None, left="")
        for event in running:
            left = "" if event.seconds_left is None else f"{time_told(event.seconds_left)} left"
            bar.update(
                task,
                description=escape(event.cell.name),
                completed=round(event.done + event.part, 1),
                total=event.total,
                left=left,
            )
            for sentence in event.notes:
                if sentence not in told:
                    note(sentence)
            told |= {*event.notes}
            outcomes += event.outcomes


def _refuse_other_ends(out: Path, zip_: Path | None) -> None:
    for path, ending, what in ((out, ".png", "--out"), (zip_, ".zip", "--zip")):
        if path is not None and path.suffix.lower() != ending:
            raise InvalidRequest(f"{what} must end in {ending}; got {path}.")
        if path is not None and not path.parent.is_dir():
            raise InvalidRequest(f"There is no folder {path.parent} for {path.name}. Make it first.")
