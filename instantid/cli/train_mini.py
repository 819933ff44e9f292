"""`train mini`: the embedded bundle from nothing, by a plan, and packed for the repository."""

import os
import subprocess
from pathlib import Path
from typing import Annotated, Literal

import typer

from .terminal import console
from .train import stopping


def mini(
    folder: Annotated[Path, typer.Argument(help="Of data, runs and the bundle; some GB.")],
    plan: Annotated[
        str,
        typer.Option(
            help="small (128 pixels, for a CPU), double (goes on with what that gave: 256), further, twins (words), "
            "lifelike (faces; all three with the mini that comes along), large (256, for a GPU), or a YAML file."
        ),
    ] = "small",
    start: Annotated[
        str | None, typer.Option(help="A bundle to begin with, instead of what the plan names.")
    ] = None,
    device: Annotated[
        Literal["cpu", "cuda"], typer.Option(help="Where it learns, and where people are rendered.")
    ] = "cpu",
    workers: Annotated[int, typer.Option(min=1, help="Processes that make data; each takes a core.")] = 1,
    processes: Annotated[
        int,
        typer.Option(
            min=1, help="Processes that learn together, one per GPU or core; they share each batch."
        ),
    ] = 1,
    scale: Annotated[
        float,
        typer.Option(
            min=0.0001,
            max=1,
            help="So much of the plan's people and steps: 0.01 shows on any machine that everything goes through.",
        ),
    ] = 1,
    minutes: Annotated[float, typer.Option(help="Pause after so many; the same command goes on.")] = 1e9,
    pack: Annotated[
        Path | None,
        typer.Option(help="In the end, pack what is trained into this folder, such as assets/mini."),
    ] = None,
) -> None:
    """The whole embedded bundle from nothing: rendered people, then stage by stage. The same command goes on."""
    from ..training import family

    wanted = family.read_plan(plan).scaled(scale)
    if start is not None:
        wanted = wanted.model_copy(update={"start": start})
    with stopping() as stopped:
        bundle = family.train_family(
            wanted,
            folder,
            device=device,
            workers=workers,
            processes=processes,
            minutes=minutes,
            tell=lambda line: console.print(line, markup=False, highlight=False),
            stopping=stopped,
        )
    if bundle is None:
        console.print("Paused; the same command goes on.", markup=False)
    else:
        console.print(f"The bundle is in {bundle}. Try it: python app.py --bundle {bundle}", markup=False)
    if pack is not None:
        begun = f" --start {start}" if start else ""
        command = f"python -m instantid train mini {folder} --plan {plan}{begun} --device {device}"
        try:
            packed = family.pack_family(
                wanted,
                folder,
                pack,
                hardware=_hardware(device),
                command=command if scale == 1 else f"{command} --scale {scale:g}",
                commit=_commit(),
            )
            console.print(f"{packed} In {pack}.", markup=False)
        except family.NothingToPack as error:
            if bundle is not None:
                raise
            console.print(str(error), markup=False)
    if stopped():
        raise typer.Exit(130)


def _hardware(device: str) -> str:
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else f"{os.cpu_count()} CPU cores"


def _commit() -> str:
    """The commit of the code that trains, as far as git knows."""
    asked = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    )
    return asked.stdout.strip() or "unknown"
