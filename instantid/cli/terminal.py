"""What all commands share: the terminal, how problems are told, the options that several have."""

import logging
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape

from ..errors import InstantIDError
from ..request import limits

# Unwrapped: paths and the commands that repair things are there to be copied.
console = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)

BUNDLES = "mini; sdxl, sdxl:<base>, either with +union; or a folder with bundle.json."
MACHINE = "Machine"  # a heading of --help
BundleOption = Annotated[str, typer.Option(help=BUNDLES, rich_help_panel=MACHINE)]
DeviceOption = Annotated[
    str | None,
    typer.Option(help="cuda, mps or cpu. Default: the fastest there is.", rich_help_panel=MACHINE),
]
PlacementOption = Annotated[
    str | None,
    typer.Option(
        help="resident, “model offload” or “group offload”. Default: by free memory.", rich_help_panel=MACHINE
    ),
]
AtOnceOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=int(limits("images")[1]),
        help="How many pictures that differ in their seeds alone are painted together. Default: as many as a CUDA "
        "GPU has room for, else 1. With 1 each is to the bit the one that is made alone, else within rounding.",
        rich_help_panel=MACHINE,
    ),
]
ModelsOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A folder with LoRAs, checkpoints, VAEs and embeddings to name: ComfyUI's, A1111's or a plain one. "
        "Again for more.",
        envvar="INSTANTID_MODELS",
        rich_help_panel="Weights",
    ),
]
StylesOption = Annotated[
    list[Path] | None,
    typer.Option(
        help="A folder of your own presets, in the format of style_presets/.",
        rich_help_panel="Prompt and style",
    ),
]
PeopleFolderOption = Annotated[
    Path | None,
    typer.Option(
        help="Where people are saved. They are biometric data: choose a folder that is yours alone.",
        envvar="INSTANTID_PEOPLE",
        rich_help_panel="People",
    ),
]


def told(command: Callable[..., None]) -> Callable[..., None]:
    """Say what a user can mend in one line, and end with 1. Anything else is a bug and shows its trace."""

    @wraps(command)
    def run(*args: Any, **kwargs: Any) -> None:
        try:
            command(*args, **kwargs)
        except InstantIDError as error:
            console.print(f"[red]Error:[/red] {escape(str(error))}")
            raise typer.Exit(1) from None
        except KeyboardInterrupt:
            console.print("Stopped.")
            raise typer.Exit(130) from None

    return run


def note(sentence: str) -> None:
    """Tell something that is no error."""
    console.print(f"[yellow]Note:[/yellow] {escape(sentence)}")


def quieten() -> None:
    """Keep the libraries' chatter off the terminal: it reads like errors to who does not know them.

    Takes effect on libraries that are not imported yet; what the user has set stays.
    """
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", level=logging.WARNING)
    warnings.filterwarnings("ignore", category=FutureWarning)
    for name in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):
        os.environ.setdefault(name, "error")


def load_engine(
    bundle: str,
    device: str | None,
    placement: str | None,
    styles: Mapping[str, Any] | None = None,
    models: Sequence[Path] = (),
    at_once: int | None = None,
) -> Any:
    """Load a bundle, with a sign of life meanwhile."""
    from .. import hosting

    with console.status(f"Loading {escape(bundle)} …"):
        opened = hosting.open_bundle(bundle)
        if opened.about:
            note(opened.about)
        return hosting.load_engine(
            opened, device=device, placement=placement, at_once=at_once, styles=styles, models=models
        )
