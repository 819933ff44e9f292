"""A picture's record → the request again, and in what a request, its pictures or this machine differ from it."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import dotted, prints
from .dotted import Source
from .errors import InvalidRequest
from .metadata import Record, versions
from .people import STRENGTHS
from .prints import Print
from .request import FOLLOW_RECIPE, Photo, Request

# The engine fills them in.
LEFT_OPEN = ("width", "height", "seed", *FOLLOW_RECIPE, *STRENGTHS)


def restore(
    record: Record,
    values: Mapping[str, Any] | None = None,
    /,
    *,
    references: Sequence[Source] = (),
    **changes: Any,
) -> tuple[Request, list[str]]:
    """Build the request again from a record and the pictures, which it does not hold.

    Args:
        values: pictures, and settings that are to differ from the record's, by dotted name:
            `{"people.1.references.0": photo, "controls.pose.map": skeleton, "people.1.view": "front"}`.
        references: of the first person, for short.
        changes: the same by the names of `Request`'s fields: `pose_image=photo, prompt="a king"`. A picture
            that is None counts as not given; a strength also replaces the people's own.

    Returns:
        The request, and one sentence for each picture that is not the one the picture was made from.

    Raises:
        InvalidRequest: the record needs a picture that was not given; all such are named.
    """
    given = dict(values or {})
    given |= {f"people.0.references.{i}": reference for i, reference in enumerate(references)}
    given |= {
        name: value for name, value in changes.items() if value is not None or name not in dotted.PICTURES
    }
    _all_given(record, given)
    count = len(record.settings["people"])
    owned = {f"people.{i}.{name}": None for i in range(count) for name in STRENGTHS if name in given}
    request = Request(**dotted.put_in(record.settings, owned | given))
    return request, _differences(record, request)


def recorded(record: Record) -> Request:
    """The request as it was, with a photo that does not exist in the place of each picture.

    Raises:
        InvalidRequest: the record holds what no request can: it was edited.
    """
    return Request(**dotted.put_in(record.settings, dict.fromkeys(record.pictures, Photo(image=Path("any")))))


def made_from(record: Record, request: Request, known: dict[int, Print] | None = None) -> bool:
    """Whether `request`, of one image, asks for the picture that carries `record`.

    What a request leaves open (size, steps, …) matches anything: the engine filled it in.

    Args:
        known: prints by the `id()` of their pictures; new ones are added. For many requests of the same photos.
    """
    try:
        was, _ = dotted.take_apart(recorded(record))  # with defaults for what is newer than the record
    except InvalidRequest:
        return False
    now = prints.describe(request, known)
    open_ = {name for name in LEFT_OPEN if now.settings[name] is None}
    same = all(was[name] == value for name, value in now.settings.items() if name not in open_)
    return same and (now.pictures, now.weights) == (record.pictures, record.weights)


def made_otherwise(record: Record, bundle: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing beside the request that makes a repeated picture differ.

    Args:
        bundle: `Result.bundle` of the repetition.
    """
    told = []
    if any(bundle.get(name) != value for name, value in record.bundle.items()):
        told.append(f"The picture was made with {_told(record.bundle)}; this one with {_told(bundle)}.")
    libraries = [
        f"{name} {was} (here: {now})"
        for name, now in versions().items()
        if (was := record.versions.get(name)) != now
    ]
    if libraries:
        told.append(f"The picture was made with {', '.join(libraries)}.")
    return told


def _all_given(record: Record, given: Mapping[str, Any]) -> None:
    """Refuse what is too little, and faces that have no place."""
    missing = [
        dotted.in_words(name, record.settings)
        for name in record.pictures
        if not any(f"{name}.".startswith(f"{each}.") for each in given)
    ]
    if missing:
        it = "it" if len(missing) == 1 else "them, in the same order,"
        raise InvalidRequest(
            f"The picture was made with more than was given: {', '.join(missing)}. Give {it} as well."
        )
    people = record.settings["people"]
    for name in given:
        match name.split("."):
            case ["people", i, *_] if int(i) >= len(people):
                shown = "1 person" if len(people) == 1 else f"{len(people)} people"
                raise InvalidRequest(f"The picture shows {shown}: there is no person {int(i) + 1} in it.")
            case ["people", i, "references", j] if int(j) >= (count := len(people[int(i)]["references"])):
                photos = "1 face photo" if count == 1 else f"{count} face photos"
                owner = f" of person {int(i) + 1}" if len(people) > 1 else ""
                raise InvalidRequest(f"The picture was made from {photos}{owner}; more were given.")


def _differences(record: Record, request: Request) -> list[str]:
    described = prints.describe(request)
    told = []
    for place in described.pictures | record.pictures:
        was, now = record.pictures.get(place), described.pictures.get(place)
        if was == now:
            continue
        name = dotted.in_words(place, record.settings if now is None else described.settings)
        if was is None:
            told.append(f"The picture was made without a {name}.")
        elif now is None:
            told.append(f"The picture was made with a {name}.")
        elif was.get("photo", 0) == now.get("photo"):
            told.append(
                f"The {name} is the same, but the picture was made from its face {was.get('number')}."
            )
        else:
            told.append(f"The {name} is not the one that the picture was made from.")
    for place, print_ in described.weights.items():
        if place in record.weights and record.weights[place] != print_:
            name = dotted.in_words(place, described.settings)
            told.append(f"The {name} is another file than the one that the picture was made with.")
    return told


def _told(bundle: Mapping[str, Any]) -> str:
    told = " ".join(str(bundle[key]) for key in ("name", "device", "dtype") if key in bundle)
    return told + (f", {bundle['at_once']} pictures at once" if "at_once" in bundle else "")
