"""`train-mini`: the embedded bundle from nothing, on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from .terminal import console


def train_mini(
    folder: Annotated[Path, typer.Argument(help="Of data, runs and the bundle; a GB or some.")],
    plan: Annotated[
        str, typer.Option(help="small (128 pixels, for a CPU), large (256, for a GPU), or a YAML file.")
    ] = "small",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Processes that make data; each takes a core.")] = 1,
    minutes: Annotated[float, typer.Option(help="Pause after so many; the same command goes on.")] = 1e9,
) -> None:
    """Make rendered people and train the whole small family on them, stage by stage. The same command goes on."""
    from ..training import family

    bundle = family.train_family(
        family.read_plan(plan),
        folder,
        device=device,
        workers=workers,
        minutes=minutes,
        tell=lambda line: console.print(line, markup=False, highlight=False),
    )
    if bundle is None:
        console.print("Paused: the same command goes on.")
    else:
        console.print(f"The bundle is in {bundle}. Try it: python app.py --bundle {bundle}", markup=False)
