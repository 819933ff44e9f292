"""A picture's record → what the form is to hold, the way back from `form`. Knows no components.

A record holds no pictures, only their prints: photos that are in the form stay there, and it is said which of them
are not the ones that the picture was made from, and which are missing.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .. import dotted, prints, repeating
from ..dotted import Source
from ..errors import InvalidImage, InvalidMetadata, InvalidRequest
from ..metadata import Record
from ..people import MAX_PEOPLE, Photo
from ..request import Request
from .form import KINDS, PICTURES, PLAIN, read_mask, uploaded
from .people import photos_name
from .photos import paths_of
from .refill import refill
from .region_painter import read_region
from .studio import Studio
from .words import LABELS


@dataclass(frozen=True)
class Filled:
    """What the form is to hold, by the names of its parts, and a sentence for each thing that is otherwise."""

    values: dict[str, Any]
    notes: list[str]


def fill_form(record: Record, values: Mapping[str, Any], studio: Studio) -> Filled:
    """What of the form changes so that it asks for the picture again.

    Args:
        values: what the form holds now.

    Raises:
        InvalidMetadata: the record holds what no request can.
    """
    try:
        asked = repeating.recorded(record)
    except InvalidRequest as error:
        raise InvalidMetadata(
            f"The settings in this picture were edited and cannot be used: {error}"
        ) from error
    notes: list[str] = []
    possible = _with_what_is_here(asked, record, values, studio, notes)
    filled = {
        name: value
        for name, value in refill(possible, studio, values).items()
        if name != "images" and not _holds_pictures(name)
    }
    if values.get("images") != 1:
        filled["images"] = 1  # each file is of one picture
    return Filled(filled | _pictures(record, values, notes), notes)


def _with_what_is_here(
    asked: Request, record: Record, values: Mapping[str, Any], studio: Studio, notes: list[str]
) -> Request:
    """The request without styles, recipes, samplers, networks and weights that this page does not offer."""
    changes: dict[str, Any] = {}
    if asked.style is not None and asked.style not in studio.styles:
        notes.append(f"The style “{asked.style}” is not here: the prompts are taken as they are.")
        changes["style"] = None
    if asked.recipe is not None and asked.recipe not in studio.recipes:
        notes.append(f"The recipe “{asked.recipe}” is not here: only its steps and sampler are taken.")
        changes["recipe"] = None
    if asked.scheduler not in studio.schedulers:
        notes.append(f"The sampler {asked.scheduler} is not here: this page's own is taken.")
        changes["scheduler"] = None
    if lacking := [name for name in asked.controls if name not in studio.controls]:
        notes.append(f"Controls that are not here: {', '.join(lacking)}.")
        changes["controls"] = {name: each for name, each in asked.controls.items() if name in studio.controls}
    for number, person in enumerate(asked.people, start=1):
        if (person.view is None) != (person.place is None) and person.keypoints is None:
            notes.append(
                f"Person {number} has a turn or a place alone, which only Python and the command line can give: "
                "look at “Place the faces”."
            )
    if lost := [name for name in PLAIN if name not in values and getattr(asked, name) != _default(name)]:
        notes.append(f"Cannot be set here: {', '.join(LABELS[name].partition(' (')[0] for name in lost)}.")
    return asked.replace(**changes, **_weights(asked, record, values, studio, notes))


def _weights(
    asked: Request, record: Record, values: Mapping[str, Any], studio: Studio, notes: list[str]
) -> dict[str, Any]:
    """Weights that are offered or uploaded; the name of somebody's own file cannot be typed in its place."""
    own, offered = uploaded(values.get("weight_files")), studio.weights() if studio.weights else {}

    def had(field: str, place: str, source: str | None) -> bool:
        typed = studio.open_weights and place not in record.weights
        there = source is None or (
            studio.weights is not None and (source in own or source in offered.get(KINDS[field], ()) or typed)
        )
        if not there:
            notes.append(
                f"The {dotted.in_words(place, record.settings)} “{source}” is not here: add it first."
            )
        return there

    return {
        "loras": tuple(
            lora for i, lora in enumerate(asked.loras) if had("loras", f"loras.{i}.source", lora.source)
        ),
        "textual_inversions": tuple(
            name
            for i, name in enumerate(asked.textual_inversions)
            if had("textual_inversions", f"textual_inversions.{i}", name)
        ),
        **{
            field: getattr(asked, field) if had(field, field, getattr(asked, field)) else None
            for field in ("base", "vae")
        },
    }


def _holds_pictures(name: str) -> bool:
    boxes = {*PICTURES, "faces", *(photos_name(number) for number in range(1, MAX_PEOPLE + 1))}
    return name in boxes or name.endswith("_map") or name.startswith(("portrait_", "saved_"))


def _pictures(record: Record, values: Mapping[str, Any], notes: list[str]) -> dict[str, Any]:
    """Compare the form's pictures with the record's prints; what the picture was made without goes, but for faces."""
    there = dict(
        _in_form(values, len(record.settings["people"]), record.settings.get("repaint", "everything"))
    )
    chosen, filled = dict(values.get("faces") or {}), {}
    regions = values.get("regions")
    for place, picture in there.items():
        was, now = record.pictures.get(place), _print(picture)
        name = _in_words(place, record)
        if was is not None and now is not None and was.get("photo", 0) == now.get("photo"):
            # The same photo; perhaps another of its faces was meant.
            chosen[str(picture.image)] = was["number"]
        elif was is not None and was != now:
            notes.append(f"The {name} in the form is not the one that the picture was made from.")
        elif was is None and ".references." in place:
            notes.append(f"The form has more photos of person {int(place.split('.')[1]) + 1} than were used.")
        elif was is None and place.endswith(".region"):
            i = int(place.split(".")[1])
            people = [[] if k == i else strokes for k, strokes in enumerate(regions["people"])]
            regions = regions | {"people": people} if any(people) else None
            filled["regions"] = regions
        elif was is None:
            filled[_part(place)] = None
            notes.append(f"The {name} was taken out of the form: the picture was made without one.")
    missing = [_in_words(place, record) for place in record.pictures if place not in there]
    if missing:
        notes.append(f"Add, as a file of ours holds no photos: {', '.join(missing)}.")
    if "faces" in values and chosen != values["faces"]:
        filled["faces"] = chosen
    return filled


def _in_form(values: Mapping[str, Any], count: int, repaint: str) -> Iterator[tuple[str, Source]]:
    """The form's pictures by dotted name, of the people that the record has."""
    for number in range(1, min(count, MAX_PEOPLE) + 1):
        portrait = values.get(f"portrait_{number}")
        photos = [] if portrait is not None else paths_of(values.get(photos_name(number)))
        for j, source in enumerate([portrait] if portrait is not None else map(_photo(values), photos)):
            yield f"people.{number - 1}.references.{j}", source
        if (region := read_region(values.get("regions"), number)) is not None:
            yield f"people.{number - 1}.region", Photo(image=region)
    for name in PICTURES:
        if paths := paths_of(values.get(name)):
            yield name, _photo(values)(paths[-1])
    for name in values:
        if name.endswith("_map") and (paths := paths_of(values[name])):
            yield f"controls.{name.removesuffix('_map')}.map", _photo(values)(paths[-1])
    if repaint == "mask" and (mask := read_mask(values.get("repaint_mask"))) is not None:
        yield "repaint_mask", Photo(image=mask)


def _photo(values: Mapping[str, Any]):
    faces = values.get("faces") or {}
    return lambda path: Photo(image=path, face=faces.get(str(path), 1))


def _print(picture: Source) -> prints.Print | None:
    try:
        return prints.of_picture(picture)
    except InvalidImage:  # the photo's own warning says what is wrong with it
        return None


def _part(place: str) -> str:
    """The form's name of a picture's place, faces and regions apart."""
    return f"{place.split('.')[1]}_map" if place.startswith("controls.") else place


def _in_words(place: str, record: Record) -> str:
    return dotted.in_words(place, record.settings)


def _default(name: str) -> Any:
    return Request.model_fields[name].default
