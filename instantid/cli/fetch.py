"""`fetch`: bring weights to this machine."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import InvalidRequest
from .terminal import BundleOption, console


def fetch(
    bundle: BundleOption = "mini",
    part: Annotated[list[str] | None, typer.Option(help="Only this part, such as controlnets.canny.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what only some requests need.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Accept the licences shown.")] = False,
    into: Annotated[
        Path | None,
        typer.Option(help="Then copy the bundle into this new folder, for a machine without a network."),
    ] = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Instead: a LoRA, checkpoint or VAE from the hub, as owner/repo/file. Again for more."
        ),
    ] = None,
) -> None:
    """Bring a bundle's weights to this machine, or single files from the hub. Resumes where it stopped."""
    from .. import bundles, loading

    if weights and (part or everything or into):
        raise InvalidRequest("--weights is for files beside a bundle: leave --part, --all and --into out.")
    if weights:
        console.print("Their licences are told on their pages on the hub.")
        with _bars() as on_progress:
            for path in bundles.fetch_weights(weights, on_progress=on_progress):
                console.print(f"Here: {path}", markup=False)
        return
    if into:
        bundles.refuse_used_folder(into)
    opened = loading.open_bundle(bundle)
    parts = tuple(part or (opened.sources if everything else bundles.essential_parts(opened)))
    for name in parts:
        opened.place(name)  # refuses what the bundle does not have
    missing = [name for name in parts if not opened.present(name)]
    if missing:
        console.print(bundles.licence_notice(opened, missing), markup=False)
        if not yes and not typer.confirm("Fetch them on these terms?", err=True):
            raise typer.Exit(1)
        with _bars() as on_progress:
            bundles.fetch(opened, parts, on_progress=on_progress)
        console.print("Done.")
    else:
        console.print(f"Everything asked for is here already: {', '.join(parts)}.")
    if into:
        copied = bundles.export(opened, into)
        console.print(f"Wrote {into}: {', '.join(copied)}.", markup=False)
        console.print(f"On the other machine: python app.py --bundle {into.name}", markup=False)


@contextmanager
def _bars() -> Iterator[Callable[[str, int, int], None]]:
    """One progress bar for each part."""
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, Any] = {}

        def on_progress(name: str, done: int, total: int) -> None:
            if name not in tasks:
                tasks[name] = bar.add_task(name, total=total)
            bar.update(tasks[name], completed=done, total=total)

        yield on_progress
