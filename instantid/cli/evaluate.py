"""`evaluate`: how good a bundle's pictures are, as a report."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..errors import InvalidRequest
from .terminal import BundleOption, DeviceOption, PlacementOption, console, load_engine


def evaluate(
    out: Annotated[Path, typer.Option(help="The report's folder. The same command goes on in it.")],
    set_: Annotated[
        str,
        typer.Option(
            "--set",
            help="Of whom: synthetic (rendered on the spot), packages (photos that come in packages), or a folder: "
            "photos, one person per file or sub-folder, or rendered people as `data make` leaves them.",
        ),
    ] = "synthetic",
    protocol: Annotated[
        str,
        typer.Option(
            help="default; strengths (likeness against prompt following); pulid (its prompts and counts); mini (all "
            "that the embedded bundle is judged by)."
        ),
    ] = "default",
    people: Annotated[int, typer.Option(min=1, help="At most so many people.")] = 24,
    pictures: Annotated[
        int, typer.Option(min=1, help="Of each person, prompt and condition. PuLID's protocol has its own.")
    ] = 2,
    seed: Annotated[int, typer.Option(min=0, help="Of people, prompts and pictures.")] = 0,
    clip: Annotated[
        str | None,
        typer.Option(
            help="What CLIP-T and CLIP-I are by: bundle, or a CLIP model (a folder or a place on the hub, which is "
            "fetched). Default: openai/clip-vit-large-patch14 where it is here, else the bundle's own."
        ),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Rendered people, as `data make` leaves them: a judge of hair, age, sex, clothes, background and "
            "look is trained on them, once."
        ),
    ] = None,
    fid: Annotated[bool, typer.Option("--fid", help="Also FID, by the library clean-fid.")] = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Instead of the bundle's default.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A few-step recipe, such as lcm-4.")] = None,
    bundle: BundleOption = "mini",
    device: DeviceOption = None,
    placement: PlacementOption = None,
) -> None:
    """Measure a bundle: likeness, prompt following, pose, variety, seconds, memory. Writes a report with pictures.

    Stop it with Ctrl-C; the same command goes on.
    """
    from .settings import RECIPES

    if out.exists() and not out.is_dir():
        raise InvalidRequest(f"--out wants a folder for the report; {out} is a file.")
    if recipe is not None and recipe not in RECIPES:
        raise InvalidRequest(f"There is no recipe “{recipe}”. There are: {', '.join(RECIPES)}.")
    engine = load_engine(bundle, device, placement)
    from .. import evaluation

    settings = {"steps": steps, "recipe": recipe and RECIPES[recipe]}
    wanted = evaluation.Wanted(
        set=set_,
        protocol=protocol,
        people=people,
        pictures=pictures,
        seed=seed,
        clip=clip,
        data=data,
        fid=fid,
        settings={name: value for name, value in settings.items() if value is not None},
    )
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None, left="")

        def show(progress: Any) -> None:
            left = f"{_time(progress.seconds_left)} left" if progress.seconds_left is not None else ""
            bar.update(
                task, description=progress.stage, completed=progress.done, total=progress.total, left=left
            )

        report = evaluation.evaluate(engine, wanted, out, show)
    for warning in report.warnings:
        console.print(f"[yellow]Note:[/yellow] {warning}")
    judged = [row.met for row in report.rows if row.met is not None]
    if judged:
        console.print(f"{sum(judged)} of {len(judged)} goals are met.")
    console.print(f"Wrote {out / 'index.html'}, report.md and report.json.", markup=False)


def _time(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
