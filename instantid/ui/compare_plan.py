"""The form and the rows → a comparison, how long it will take, and the way back from a file of one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from .. import compare, dotted, effort
from ..compare import Axis, Grid
from ..errors import InstantIDError, InvalidRequest
from ..people import Photo
from ..request import FOLLOW_RECIPE, Request
from .compare_axes import Entered, NothingYet, offered, read_row, write_values
from .form import build_request, weights_source
from .people import photos_name, read_people
from .photos import notice, paths_of
from .results import duration, status_line
from .studio import Studio

MAX_CELLS = 500  # one visitor's; the command line has no limit
PLACES = ("x", "y", "z")
DIRECTIONS = {"x": "columns", "y": "rows", "z": "pages"}
WHERE_PHOTOS_GO = (
    "Put them where they belong: in the form above, or, where they were an axis, choose “Face photo” there and add "
    "them. Then load the file again."
)


@dataclass(frozen=True)
class Outlook:
    """What is told before a comparison is started.

    Args:
        problems: by place, why a row cannot be read; "" where it can.
        text: how many and how long, or what keeps it from starting; HTML.
        begun: some of its pictures are there, and others are not.
    """

    problems: Mapping[str, str]
    text: str
    begun: bool = False


def read_grid(values: Mapping[str, Any], entered: Mapping[str, Entered], studio: Studio) -> Grid:
    """The comparison that form and rows ask for.

    Args:
        values: the form's. The seed it shows is taken even where runs take random ones: only the same seed compares.
        entered: by place.

    Raises:
        InvalidRequest: nothing varies, too much at once, or a setting that cannot be used.
    """
    axes = _read_axes(values, entered, studio)
    if "x" not in axes:
        raise InvalidRequest("Nothing varies yet. Choose a setting and its values for the columns.")
    count = 1
    for axis in axes.values():
        count *= len(axis.values)
    if count > MAX_CELLS:
        raise InvalidRequest(
            f"This comparison has {count} cells; up to {MAX_CELLS} can be made from the page. Choose fewer values, "
            "or use `python -m instantid compare`, which has no limit."
        )
    return Grid(base=_base(values, axes.values(), studio), bundle=studio.bundle, **axes)


def look_ahead(
    values: Mapping[str, Any],
    entered: Mapping[str, Entered],
    studio: Studio,
    pace: float,
    folder: Path | None,
) -> Outlook:
    """How many pictures and how long, or what is wrong and where.

    Args:
        pace: as in `compare.seconds`.
        folder: where this visitor's pictures are, if there are any.
    """
    problems = dict.fromkeys(PLACES, "")
    for place in PLACES:
        try:
            _read_axes(values, {place: entered[place]}, studio)
        except NothingYet as error:
            return Outlook(problems, status_line(str(error)))
        except InstantIDError as error:
            problems[place] = str(error)
    if any(problems.values()):
        return Outlook(problems, "")
    try:
        grid = read_grid(values, entered, studio)
        jobs = compare.plan(grid.settled())
    except InstantIDError as error:
        return Outlook(problems, notice(str(error)))
    to_do = jobs if folder is None else compare.missing(jobs, folder)
    there = len(jobs) - len(to_do)
    size = " × ".join(
        f"{count} {DIRECTIONS[place]}" for place, count in zip(PLACES, grid.shape) if getattr(grid, place)
    )
    same = f", {len(jobs)} different pictures" if len(jobs) < grid.count else ""
    kept = f", {there} of them there already" if there else ""
    seconds = compare.seconds(to_do, pace, weigher(studio))
    time = "How long it takes is known after the first." if seconds is None else f"About {duration(seconds)}."
    cells = "1 cell" if grid.count == 1 else f"{grid.count} cells"
    return Outlook(
        problems, status_line(f"{cells}: {size}{same}{kept}.", time if to_do else ""), 0 < there < len(jobs)
    )


def weigher(studio: Studio) -> partial[float]:
    """The work of a request on this bundle."""
    return partial(effort.of, defaults=studio.defaults, recipes=studio.recipes)


def load(
    file: Path,
    values: Mapping[str, Any],
    entered: Mapping[str, Entered],
    studio: Studio,
    *,
    own: bool = False,
) -> tuple[Grid, dict[str, Entered], list[str]]:
    """A comparison from its file, and what the rows are to hold so that they ask for it; its base goes into the form.

    Args:
        own: this page wrote the file. No path in a stranger's is followed: the pictures it was made from are those
            that the form and the rows hold.

    Returns:
        The comparison, the rows by place, and sentences on what is otherwise here.

    Raises:
        InvalidMetadata: it is no comparison.
        InvalidRequest: pictures are missing, or it varies or names what is not offered here.
    """
    wanted = compare.pictures(file)
    here = {} if own else _pictures(values, entered, studio)
    try:
        grid = compare.read(file, {name: here[name] for name in wanted if name in here}, open_files=own)
    except InvalidRequest as error:
        if set(wanted) <= here.keys():
            raise
        raise InvalidRequest(f"{error} {WHERE_PHOTOS_GO}") from None
    files = values.get("weight_files")
    for request in grid.samples():
        settings, _ = dotted.take_apart(request)
        for name, source in dotted.weights(settings):
            weights_source(name.split(".")[0], source, studio, files)
    outline = {
        "people_count": len(grid.base.people),
        "controls": list(grid.base.controls),
        **{f"lora_{i}": lora.source for i, lora in enumerate(grid.base.loras)},
    }
    known = offered(studio, outline)
    rows = {}
    for place in PLACES:
        axis: Axis | None = getattr(grid, place)
        if axis is not None and axis.field not in known:
            raise InvalidRequest(
                f"It varies “{axis.title}”, which this page does not. `python -m instantid compare` repeats it."
            )
        rows[place] = _entered(axis)
    notes = [f"It was made with the bundle “{grid.bundle}”; here it is “{studio.bundle}”."]
    return grid, rows, notes if grid.bundle and grid.bundle != studio.bundle else []


def _read_axes(values: Mapping[str, Any], entered: Mapping[str, Entered], studio: Studio) -> dict[str, Axis]:
    variables, files = offered(studio, values), values.get("weight_files")
    read = {place: read_row(row, variables, studio, files) for place, row in entered.items()}
    return {place: axis for place, axis in read.items() if axis is not None}


def _base(values: Mapping[str, Any], axes: Iterable[Axis], studio: Studio) -> Request:
    """The form's request. Who varies needs no photo there; recipes that vary bring steps, guidance and sampler."""
    values = {**values, "randomise": False, "images": 1}
    for axis in axes:
        match axis.field.split("."):
            case ["people", i, "references"]:
                name, first = photos_name(int(i) + 1), axis.values[0]
                if not paths_of(values[name]) and isinstance(first, Photo):
                    values[name] = [(str(first.image), None)]
            case ["recipe"]:
                values |= dict.fromkeys(FOLLOW_RECIPE)
    return build_request(values, studio, read_people(values))


def _pictures(
    values: Mapping[str, Any], entered: Mapping[str, Entered], studio: Studio
) -> dict[str, dotted.Source]:
    """What the form and the rows hold, as `compare.read` names it."""
    found: dict[str, dotted.Source] = {}
    for place, row in entered.items():
        photos = enumerate(paths_of(row.photos))
        found |= {f"{place}.values.{i}": Photo(image=path) for i, path in photos}
    try:
        request = build_request(values, studio, read_people(values))
    except InvalidRequest:  # the form is not filled in: what is missing is told
        return found
    return found | dotted.take_apart(request)[1]


def _entered(axis: Axis | None) -> Entered:
    if axis is None:
        return Entered("")
    if axis.variable.kind == "photo":
        return Entered(axis.field, photos=[(str(value.image), None) for value in axis.values])
    return Entered(axis.field, write_values(axis.variable, axis.values))
