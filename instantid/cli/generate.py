"""`generate`: a picture from the command line."""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from .. import dotted
from ..errors import InvalidRequest
from ..request import Request, Result, Step
from .early import refuse_early
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


@with_options(setting_options())
def generate(
    *,
    given: Mapping[str, Any],
    models: ModelsOption = None,
    styles: StylesOption = None,
    people_folder: PeopleFolderOption = None,
    out: Annotated[Path, typer.Option(help="Where the PNG goes. Several are numbered.")] = Path(
        "picture.png"
    ),
    overwrite: Annotated[bool, typer.Option(help="Replace files that exist.")] = False,
    from_: Annotated[
        Path | None,
        typer.Option(
            "--from", help="Repeat this picture of ours, given its photos again; other options change it."
        ),
    ] = None,
    bundle: Annotated[
        str | None,
        typer.Option(help=f"{BUNDLES} Default: the one of --from, else mini.", rich_help_panel=MACHINE),
    ] = None,
    device: DeviceOption = None,
    placement: PlacementOption = None,
    at_once: AtOnceOption = None,
) -> None:
    """Make a picture of the people in the photos.

    Up to four people: --face a.jpg --face2 b.jpg, from left to right; every option about a person takes the number.
    """
    from .. import metadata, repeating
    from ..styles import load_styles

    saved = Used(people_folder)
    values = read_settings(given, saved)
    refuse_gaps(values)
    record = metadata.read(from_) if from_ else None
    bundle = bundle or (bundle_of(record.bundle) if record else "mini")
    if record is None:
        request = Request(**dotted.put_in({"seed": None}, values))
    else:
        request, differences = repeating.restore(record, values)
        for difference in differences:
            note(f"{difference} The result will differ.")
    paths = _paths(out, request.images, overwrite)
    presets = load_styles(*(styles or ()))
    refuse_early(request, presets, models or ())
    saved.check(bundle)
    engine = load_engine(bundle, device, placement, presets, models or (), at_once)
    result = _run(engine, request)
    metadata.save(result, paths)
    for i, path in enumerate(paths):
        told = _likeness(result.likeness[i], engine) if result.likeness else ""
        console.print(f"Wrote {escape(str(path))}: seed {result.seeds[i]}{told}")
    for sentence in result.notes:
        note(sentence)
    for difference in repeating.made_otherwise(record, result.bundle) if record else ():
        note(f"{difference} The result may differ.")
    if result.bundle["untrained"]:
        note("these weights are untrained: the picture is abstract.")


def _likeness(value: float | None, engine: Any) -> str:
    from .. import advice

    if value is None:
        return ", no face found in it"
    scale = advice.likeness_scale(engine.bundle.faces.kind)
    return f", likeness {value:.2f}" + (scale and f" ({scale})")


def _run(engine: Any, request: Request) -> Result:
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    shown = Progress(*columns, console=console, transient=True)
    with closing(engine.stream(request)) as running, shown as bar:  # Ctrl-C cancels the picture
        task = bar.add_task("Generating", total=None)
        for event in running:
            if isinstance(event, Step):
                bar.update(
                    task, completed=event.step, total=event.total, description=event.note or "Generating"
                )
            else:
                result = event
    return result


def bundle_of(made_with: Mapping[str, Any]) -> str:
    """The bundle that a picture names. Never a folder: the file may be a stranger's."""
    name = str(made_with.get("name"))
    if name not in ("mini", "sdxl") and not name.startswith(("sdxl:", "sdxl+")):
        raise InvalidRequest(
            f"The picture was made with a bundle called “{name}”: give its folder as --bundle."
        )
    return name


def _paths(out: Path, images: int, overwrite: bool) -> list[Path]:
    """Where the pictures go; refused early what could not be written after minutes of work."""
    if out.suffix.lower() != ".png":
        raise InvalidRequest(f"--out must end in .png, which carries the request; got {out}.")
    if not out.parent.is_dir():
        raise InvalidRequest(f"There is no folder {out.parent} for {out.name}. Make it first.")
    paths = [out] if images == 1 else [out.with_stem(f"{out.stem}-{i + 1}") for i in range(images)]
    for path in paths:
        if path.exists() and not overwrite:
            raise InvalidRequest(f"{path} exists. Choose another --out, or add --overwrite.")
    return paths
