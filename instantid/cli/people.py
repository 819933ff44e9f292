"""`people`: keep faces under a name, to be used in place of photos."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from ..errors import InvalidRequest
from ..people import Photo
from .saved import load_finder, open_folder
from .terminal import BundleOption, PeopleFolderOption, console, note

NameArgument = Annotated[str, typer.Argument(help="What the person is called here.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="In the place of the one of that name.")]


def save(
    name: NameArgument,
    face: Annotated[list[Path], typer.Option(help="A photo of the face. Several are averaged.")],
    face_number: Annotated[int, typer.Option(help="Which face of each photo; 1 is the largest.")] = 1,
    replace: ReplaceOption = False,
    people_folder: PeopleFolderOption = None,
    bundle: BundleOption = "mini",
) -> None:
    """Keep the measurements of a face, never the photo, under a name. Ask the person first."""
    from ..faces import take_portrait
    from ..saved_people import SavedPerson

    people = open_folder(people_folder)
    photos = [Photo(image=path, face=face_number) for path in face]
    finder = load_finder(bundle)
    people.save(SavedPerson(name, take_portrait(finder, photos), finder.model), replace=replace)
    note(
        "what is kept knows this person again in any photo: it is biometric data. `people delete` removes it."
    )
    console.print(f"Saved “{escape(name)}”, for the face models of {escape(bundle)}.")


def list_(people_folder: PeopleFolderOption = None) -> None:
    """Who is saved."""
    people = open_folder(people_folder)
    for name in people.names():
        typer.echo(name)


def export(
    name: NameArgument,
    out: Annotated[Path, typer.Option(help="Where the file goes.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that exists.")] = False,
    people_folder: PeopleFolderOption = None,
) -> None:
    """Write a saved person to one small file, to take along."""
    data = open_folder(people_folder).export(name)
    try:
        if overwrite:
            out.unlink(missing_ok=True)  # an older file may be open to others
        with open(out, "xb", opener=partial(os.open, mode=0o600)) as file:  # biometric data
            file.write(data)
    except FileExistsError:
        raise InvalidRequest(f"{out} exists. Choose another --out, or add --overwrite.") from None
    except OSError as error:
        raise InvalidRequest(f"{out} cannot be written: {error.strerror or error}.") from error
    console.print(f"Wrote {escape(str(out))}.")


def import_(
    file: Annotated[Path, typer.Argument(help="What `people export` wrote.")],
    name: Annotated[str | None, typer.Option(help="Another name than the one in the file.")] = None,
    replace: ReplaceOption = False,
    people_folder: PeopleFolderOption = None,
) -> None:
    """Keep the person of an exported file."""
    from ..saved_people import MAX_FILE

    people = open_folder(people_folder)
    try:
        with file.open("rb") as content:
            data = content.read(MAX_FILE + 1)
    except OSError as error:
        raise InvalidRequest(f"{file} cannot be read: {error.strerror or error}.") from error
    console.print(f"Saved “{escape(people.import_(data, name=name, replace=replace).name)}”.")


def delete(
    name: NameArgument,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    people_folder: PeopleFolderOption = None,
) -> None:
    """Remove a saved person for good."""
    people = open_folder(people_folder)
    people.get(name)
    if not yes and not typer.confirm(f"Delete “{name}” for good?", err=True):
        raise typer.Exit(1)
    people.delete(name)
    console.print(f"Deleted “{escape(name)}”.")
