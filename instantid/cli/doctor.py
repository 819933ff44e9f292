"""`doctor`: look at this machine and a bundle."""

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ..errors import InvalidRequest
from .terminal import BundleOption, DeviceOption, ModelsOption, PlacementOption, console, load_engine


def doctor(
    bundle: BundleOption = "mini",
    try_: Annotated[
        bool, typer.Option("--try", help="Load it, run every mode, write a page of pictures.")
    ] = False,
    out: Annotated[Path, typer.Option(help="Folder for the page of --try.")] = Path("trial"),
    models: ModelsOption = None,
    device: DeviceOption = None,
    placement: PlacementOption = None,
) -> None:
    """Look at this machine and a bundle, and say how to repair what is wrong."""
    from .. import doctor as checks

    if try_ and out.exists() and not out.is_dir():
        raise InvalidRequest(f"--out wants a folder for the page of --try; {out} is a file.")
    findings = checks.examine(bundle, models or ())
    for finding in findings:
        mark = "[green]ok[/green]  " if finding.good else "[red]bad[/red] "
        console.print(f"{mark} {escape(finding.subject)}: {escape(finding.found)}")
        if finding.repair:
            console.print(f"      repair: {escape(finding.repair)}")
    if try_:
        from .. import trial

        outcomes = trial.run(
            load_engine(bundle, device, placement, models=models or ()),
            out,
            lambda line: console.print(line, markup=False),
        )
        console.print(f"Wrote {out / 'index.html'}. Open it in a browser.", markup=False)
        raise typer.Exit(1 if any(outcome.problems for outcome in outcomes) else 0)
    raise typer.Exit(0 if all(finding.good for finding in findings) else 1)
