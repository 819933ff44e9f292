"""A comparison as a small JSON file, and back: `grid.json`, or inside the labelled picture.

In a file, pictures are named by their paths, relative to it. Inside a picture, which is passed on, they are prints
from which nothing can be learnt, and are to be given again.
"""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from PIL import Image

from .. import dotted, image_files, prints
from ..dotted import Source
from ..errors import InvalidMetadata, InvalidRequest
from ..people import Photo
from ..request import Request
from .grid import Axis, Grid, read_axis

SCHEMA_VERSION = 1
CHUNK = "instantid-grid"  # the PNG text chunk's keyword
PLACES = ("x", "y", "z")
NAME = "grid.json"


def to_json(grid: Grid, beside: Path | None = None) -> dict[str, Any]:
    """What a file of the comparison holds, ready for JSON.

    Args:
        beside: the folder of the file, for paths of pictures relative to it; None: prints of pictures, and weights
            without their folders.
    """
    tree, pictures = dotted.take_apart(_tree(grid))
    if beside is None:
        tree["settings"] = prints.describe(grid.base).settings
        for place in PLACES:
            if place in tree:
                tree[place]["values"] = [
                    _without_folders(tree[place]["field"], value) for value in tree[place]["values"]
                ]
    return {
        "schema": SCHEMA_VERSION,
        "bundle": grid.bundle,
        **tree,
        "pictures": {_short(name): _written(picture, beside) for name, picture in pictures.items()},
    }


def write(grid: Grid, path: Path) -> None:
    """Write `grid.json`, whole or not at all. Pictures that are no files yet are put into a folder beside it.

    Saved people and ready faces are biometric, and stay out: who reads the file gives them again.

    Raises:
        InvalidRequest: it cannot be written.
    """
    beside = path.with_name(f".{path.name}.part")
    try:
        tree, pictures = dotted.take_apart(_tree(grid))
        folder = path.with_name(f"{path.stem}-pictures")
        pictures = {name: _saved(picture, folder / f"{name}.png") for name, picture in pictures.items()}
        text = json.dumps(
            to_json(_grid(tree, pictures, grid.bundle), path.parent), ensure_ascii=False, indent=1
        )
        beside.write_text(text, encoding="utf-8")
        os.replace(beside, path)
    except OSError as error:
        raise InvalidRequest(
            f"The comparison cannot be written to {path}: {error.strerror or error}."
        ) from error


def read(path: Path, given: Mapping[str, Any] | None = None, *, open_files: bool = True) -> Grid:
    """Read a comparison: `grid.json`, or a labelled picture of ours.

    In a `grid.json` that people write, an axis may be a line as `read_axis` takes it, and settings may be left out:
    `{"settings": {"prompt": "a king"}, "pictures": {"people.0.references.0": "ada.jpg"}, "x": "steps: 4, 8, 16"}`.

    Args:
        given: pictures and settings that go before the file's, by dotted name: {"people.0.references.0": photo};
            those of an axis are called "x.values.0".
        open_files: False for a stranger's file: no path in it is followed, all pictures are to be given.

    Raises:
        InvalidMetadata: it is no comparison, is damaged, or was made by a newer version.
        InvalidRequest: it asks for what cannot be asked for, or needs pictures that were not given; all are named.
    """
    told = _content(path)
    if not isinstance(told, dict) or "x" not in told:
        raise InvalidMetadata(f"{path} is no comparison: a file with “settings” and an axis “x” was wanted.")
    if told.get("schema", SCHEMA_VERSION) != SCHEMA_VERSION:
        raise InvalidMetadata(f"{path} was made by a newer version of InstantID Studio. Update this one.")
    given = {_long(name): value for name, value in (given or {}).items()}
    try:
        tree = {"settings": told.get("settings", {})}
        tree |= {place: told[place] for place in PLACES if told.get(place)}
        pictures = {
            name: _source(picture, path.parent if open_files else None)
            for name, picture in ((_long(short), each) for short, each in told.get("pictures", {}).items())
            if not any(f"{name}.".startswith(f"{each}.") for each in given)
        }
        _refuse_gaps([name for name, picture in pictures.items() if picture is None], tree["settings"])
        grid = _grid(tree, pictures | given, told.get("bundle", ""))
    except InvalidRequest:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise InvalidMetadata(f"{path} cannot be read: it was damaged or edited.") from error
    _refuse_others(grid, [*pictures.values(), *given.values()], open_files)
    return grid


def pictures(path: Path) -> tuple[str, ...]:
    """Which pictures a comparison was made from, by the names that `read` takes them by.

    Raises:
        InvalidMetadata: it is no comparison, or is damaged.
    """
    told = _content(path)
    named = told.get("pictures", {}) if isinstance(told, dict) else None
    if not isinstance(named, dict):
        raise InvalidMetadata(f"{path} is no comparison: a file with “settings” and an axis “x” was wanted.")
    return tuple(named)


def go_on(grid: Grid, folder: Path) -> Grid:
    """The comparison with the seed that it has in `folder`, if it was begun there, else a drawn one; noted there.

    Raises:
        InvalidRequest: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidRequest(f"The folder {folder} cannot be made: {error.strerror or error}.") from error
    if grid.base.seed is None:
        asked = to_json(grid, folder)
        with suppress(OSError, ValueError, TypeError, LookupError):  # not begun, or edited beyond reading
            begun = json.loads((folder / NAME).read_text(encoding="utf-8"))
            seed = begun["settings"].pop("seed")
            if begun == asked | {"settings": {k: v for k, v in asked["settings"].items() if k != "seed"}}:
                grid = grid.replace(base=grid.base.replace(seed=seed))
    grid = grid.settled()
    write(grid, folder / NAME)
    return grid


def _tree(grid: Grid) -> dict[str, Any]:
    axes = {place: getattr(grid, place) for place in PLACES}
    return {"settings": grid.base} | {
        place: {"field": axis.field, "values": axis.values} for place, axis in axes.items() if axis
    }


def _grid(tree: dict[str, Any], pictures: Mapping[str, Any], bundle: str) -> Grid:
    tree = dotted.put_in(tree, pictures)
    axes = {
        place: read_axis(tree[place]) if isinstance(tree[place], str) else Axis(**tree[place])
        for place in PLACES
        if place in tree
    }
    return Grid(base=Request(**tree["settings"]), bundle=bundle, **axes)


def _long(name: str) -> str:
    return name if name.split(".")[0] in PLACES else f"settings.{name}"


def _short(name: str) -> str:
    return name.removeprefix("settings.")


def _written(picture: Source, beside: Path | None) -> dict[str, Any]:
    if beside is None or not isinstance(picture, Photo) or not isinstance(picture.image, Path):
        return prints.of_picture(picture)
    path = picture.image.absolute()
    try:
        file = Path(os.path.relpath(path, beside.absolute())).as_posix()
    except ValueError:  # another drive
        file = str(path)
    return {"file": file, "face": picture.face}


def _saved(picture: Source, file: Path) -> Source:
    if not isinstance(picture, Photo) or isinstance(picture.image, Path):
        return picture
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.image.save(file)
    return picture.replace(image=file)


def _without_folders(field: str, value: Any) -> Any:
    if isinstance(value, list):
        return [_without_folders(field, each) for each in value]
    if isinstance(value, dict) and "source" in value:
        return value | {"source": _without_folders("source", value["source"])}
    names_weights = field in ("base", "vae") or field.endswith("source")
    return Path(value).name if names_weights and value and prints.reaches_out(value) else value


def _source(written: Any, folder: Path | None) -> Source | None:
    """The picture that a file names; None where there is only its print, or names are not to be followed."""
    told = {"file": written} if isinstance(written, str) else written
    if folder is None or "file" not in told:
        return None
    return Photo(image=folder / told["file"], face=told.get("face", 1))


def _refuse_gaps(names: list[str], settings: Mapping[str, Any]) -> None:
    if not names:
        return
    told = [
        dotted.in_words(_short(name), settings)
        if name.startswith("settings.")
        else f"value {int(name.split('.')[2]) + 1} of {name[0]}"
        for name in names
    ]
    raise InvalidRequest(
        f"The comparison was made with pictures that do not come with it: {', '.join(told)}. Give them as well."
    )


def _refuse_others(grid: Grid, known: list[Any], open_files: bool) -> None:
    """Refuse pictures outside “pictures”, whose paths would begin elsewhere, and a stranger's way into folders."""
    for cell in grid.cells:
        settings, pictures = dotted.take_apart(cell.request)
        for name, picture in pictures.items():
            if not any(picture is each for each in known):
                raise InvalidRequest(
                    f"The {dotted.in_words(name, settings)} is named in the wrong place: put its path under "
                    f"“pictures”, as “{name}”."
                )
        if not open_files and any(prints.reaches_out(source) for _, source in dotted.weights(settings)):
            raise InvalidRequest(
                "The comparison names weights by their path. Here they are named as in the model folders."
            )


def _content(path: Path) -> Any:
    try:
        if path.suffix.lower() == ".png":
            with Image.open(path, formats=image_files.FORMATS) as picture:
                picture.load()  # text may stand behind the pixels
                return json.loads(picture.info[CHUNK])
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise InvalidMetadata(f"There is no file {path}.") from error
    except KeyError as error:
        raise InvalidMetadata(f"{path} carries no comparison. Use the file that was saved.") from error
    except (OSError, ValueError, SyntaxError, RecursionError) as error:
        raise InvalidMetadata(f"{path} cannot be read: JSON, or a labelled picture, was wanted.") from error
