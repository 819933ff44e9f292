"""`fetch`: bring weights to this machine."""

from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from .terminal import BundleOption, console


def fetch(
    bundle: BundleOption = "mini",
    part: Annotated[list[str] | None, typer.Option(help="Only this part, such as controlnets.canny.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what only some requests need.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licences shown.")] = False,
) -> None:
    """Bring a bundle's weights to this machine. Resumes where it stopped."""
    from .. import bundles, loading

    opened = loading.open_bundle(bundle)
    parts = tuple(part or (opened.sources if everything else bundles.essential_parts(opened)))
    for name in parts:
        opened.place(name)  # refuses what the bundle does not have
    missing = [status.name for status in opened.parts() if status.name in parts and not status.present]
    if not missing:
        console.print(f"Everything asked for is here already: {', '.join(parts)}.")
        return
    console.print(bundles.licence_notice(opened, missing), markup=False)
    if not yes and not typer.confirm("Fetch them on these terms?", err=True):
        raise typer.Exit(1)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def on_progress(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        bundles.fetch(opened, parts, on_progress=on_progress)
    console.print("Done.")
