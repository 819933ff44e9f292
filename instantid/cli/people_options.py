"""Options about who appears: each with the number of the person, who is the first where there is no number."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..people import MAX_PEOPLE, STRENGTHS, Photo, Portrait, View
from ..request import Person
from .options import Option, of_field

PANEL = "People"
OF_FACES = ("face", "person", "face_number")
NUMBERED = (  # name, kind, help
    ("face", list[Path], "A photo of the face. Several of one person are averaged."),
    ("person", list[str], "Somebody saved before, by name, instead of a photo or beside photos."),
    ("face_number", int, "Which face of each face photo; 1 is the largest."),
    ("region", Path, ""),
    ("view", str, f"{Person.model_fields['view'].description} One of: {'; '.join(View.__args__)}."),
    (
        "place",
        str,
        "Where the middle of the face goes, and its height: x,y,size in parts of 1, such as 0.3,0.4,0.35.",
    ),
    (
        "keypoints",
        str,
        "Five x,y;x,y;… in parts of 1: left eye, right eye, nose, left and right mouth corner.",
    ),
)


def people_options(*, faces: bool = True) -> list[Option]:
    """Of all people, or without `faces` what everybody has in common whose photos come from elsewhere."""
    options = []
    for number in range(1, MAX_PEOPLE + 1 if faces else 2):
        for name, kind, told in NUMBERED:
            flag = f"--{name.replace('_', '-')}"
            about = told or of_field(name, PANEL, Person).help
            if not faces:
                if name not in OF_FACES:
                    options.append(Option(f"{name}_1", kind, about, PANEL, (flag,)))
                continue
            flags = (flag, f"{flag}1") if number == 1 else (f"{flag}{number}",)
            about = f"{about} Of others: {flag}2 to {flag}{MAX_PEOPLE}."
            options.append(Option(f"{name}_{number}", kind, about, PANEL, flags, number > 1))
        for name in STRENGTHS if faces else ():
            flag = f"--{name.replace('_', '-')}"
            about = f"{flag} of the first person alone. Of others: {flag}2 to {flag}{MAX_PEOPLE}."
            options.append(Option(f"{name}_{number}", float, about, PANEL, (f"{flag}{number}",), number > 1))
    return options


def read_people(given: Mapping[str, Any], saved: Callable[[str], Portrait]) -> dict[str, Any]:
    """The options' values by the request's dotted names.

    Args:
        saved: name → what stands for the photos of a saved person.
    """
    values: dict[str, Any] = {}
    for i in range(MAX_PEOPLE):
        own = {name: given[f"{name}_{i + 1}"] for name in _NAMES if f"{name}_{i + 1}" in given}
        number = own.pop("face_number", 1)
        references = [saved(name) for name in own.pop("person", ())]
        references += [Photo(image=path, face=number) for path in own.pop("face", ())]
        values |= {f"people.{i}.references.{j}": reference for j, reference in enumerate(references)}
        values |= {f"people.{i}.{name}": READ.get(name, _as_given)(value) for name, value in own.items()}
    return values


def refuse_gaps(values: Mapping[str, Any]) -> None:
    """Refuse settings of people without a face, and people who skip a number."""
    numbered = {int(name.split(".")[1]) for name in values if name.startswith("people.")}
    seen = {int(name.split(".")[1]) for name in values if ".references." in name}
    if not seen:
        raise InvalidRequest("Who is to appear? Give a photo of their face: --face photo.jpg.")
    for i in range(max(numbered) + 1):
        if i not in seen:
            raise InvalidRequest(
                f"There is no face of person {i + 1}: give --face{i + 1} photo.jpg, or start counting at 1."
            )


_NAMES = (*(name for name, _, _ in NUMBERED), *STRENGTHS)


def _as_given(value: Any) -> Any:
    return value


def _place(text: str) -> dict[str, float]:
    numbers = list(_numbers(text, f"--place wants x,y,size, such as 0.3,0.4,0.35; got {text!r}.", 2, 3))
    return dict(zip(("x", "y", "size"), numbers))


def _keypoints(text: str) -> list[tuple[float, ...]]:
    told = f"--keypoints wants five x,y;x,y;…, such as 0.4,0.35;0.6,0.35;0.5,0.45;0.42,0.55;0.58,0.55; got {text!r}."
    points = [tuple(_numbers(point, told, 2, 2)) for point in text.strip("; ").split(";")]
    if len(points) != 5:
        raise InvalidRequest(told)
    return points


def _numbers(text: str, told: str, least: int, most: int) -> Iterator[float]:
    parts = text.split(",")
    if not least <= len(parts) <= most:
        raise InvalidRequest(told)
    for part in parts:
        try:
            yield float(part)
        except ValueError:
            raise InvalidRequest(told) from None


READ: dict[str, Callable[[str], Any]] = {"place": _place, "keypoints": _keypoints}
