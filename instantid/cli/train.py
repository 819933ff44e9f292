"""`train`: the papers' training, one stage at a time."""

from pathlib import Path
from typing import Annotated, Any

import typer
import yaml

from ..errors import InvalidRequest
from .terminal import console

RunArgument = Annotated[Path, typer.Argument(help="The run's YAML file: bundle, data, out, settings, options.")]
SetOption = Annotated[
    list[str],
    typer.Option("--set", help="Instead of what the file says, such as settings.steps=200; repeatable."),
]


def command(stage: str, about: str) -> typer.models.CommandFunctionType:
    """The command that trains one stage."""

    def run_stage(file: RunArgument, changes: SetOption = ()) -> None:
        from ..training import runs

        run = runs.read_run(file, dict(_change(text) for text in changes))
        for progress in runs.start(stage, run):
            console.print(_line(stage, progress), markup=False, highlight=False)
        console.print(f"The bundle is in {run.out / 'bundle'}.", markup=False)

    run_stage.__doc__ = f"{about} Stop it with Ctrl-C; the same command goes on."
    return run_stage


def prepare(
    shards: Annotated[Path, typer.Argument(help="A data set of rendered people, as `data make` makes it.")],
    out: Annotated[Path, typer.Argument(help="Folder of what is prepared.")],
    size: Annotated[int, typer.Option(min=64, help="Width and height in pixels.")] = 128,
    bundle: Annotated[str, typer.Option(help="Whose face model looks at the pictures.")] = "mini",
) -> None:
    """Make a data set ready for training: pictures at one size, and the faces that the bundle's model finds."""
    from .. import bundles, faces, loading
    from ..training import rendered

    opened = loading.open_bundle(bundle)
    bundles.fetch(opened, ("faces",))
    finder = faces.load_finder(opened.faces.kind, opened.require("faces"))
    found = sorted(shards.glob("people-*.tar"))
    if not found:
        raise InvalidRequest(f"{shards} holds no shards. Make some: python -m instantid data make {shards}")
    for number, shard in enumerate(found, start=1):
        rendered.prepare_shard(shard, out, finder, size=size)
        console.print(f"{number} of {len(found)} shards", end="\r")
    console.print(f"Ready in {out}.", markup=False)


def _change(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidRequest(f"--set wants NAME=VALUE, such as settings.steps=200; got {text!r}.")
    return name.strip(), yaml.safe_load(value)


def _line(stage: str, progress: Any) -> str:
    told = "  ".join(f"{name} {value:.4g}" for name, value in progress.figures.items())
    return (
        f"{stage} {progress.step}/{progress.steps}  {progress.seconds / 60:.1f} min  "
        f"{progress.examples_a_second:.1f} examples/s  {told}"
    )
