"""Who appears: face photos of one to four people, from left to right, with strengths of their own."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from ..errors import InvalidRequest
from ..people import MAX_PEOPLE, Person, Photo
from .keypoint_editor import read_place
from .photos import face_check, paths_of, photo_box
from .region_painter import paint_mask
from .studio import Studio

FACE_HINT = "One clear photo is enough; several of the same person are averaged."


@dataclass(frozen=True, kw_only=True)
class People:
    """The section.

    Args:
        components: by name: "faces", "people_count", and for each person i the photos ("people", then
            "person_2" to "person_4"), "portrait_i", "own_i", "identity_i" and "adapter_i"; "places" and "regions"
            are for all.
    """

    components: dict[str, Component]


def photos_name(number: int) -> str:
    """The name of a person's box of photos."""
    return "people" if number == 1 else f"person_{number}"


def build_people(studio: Studio) -> People:
    """Lay out the section and connect what stays within it."""
    parts: dict[str, Component] = {"faces": gr.State({}), "people_count": gr.State(1)}
    for number in range(1, MAX_PEOPLE + 1):
        with gr.Column(visible=number == 1):
            box = photo_box(photos_name(number), FACE_HINT, several=True, label="Face photos")
            face_check(studio, box, parts["faces"])
            parts[photos_name(number)] = box
    return People(components=parts)


def read_people(values: Mapping[str, Any]) -> tuple[Person, ...]:
    """The people of the form's values, by the names in `People.components`.

    Raises:
        InvalidRequest: somebody has no photo and is not a saved person.
    """
    count = values["people_count"]
    return tuple(_read_person(values, number, count) for number in range(1, count + 1))


def _read_person(values: Mapping[str, Any], number: int, count: int) -> Person:
    portrait = values.get(f"portrait_{number}")
    chosen = values.get("faces") or {}
    photos = tuple(
        Photo(image=path, face=chosen.get(str(path), 1)) for path in paths_of(values[photos_name(number)])
    )
    if portrait is None and not photos:
        raise InvalidRequest(_no_photo(number, count))
    own = count > 1 and values.get(f"own_{number}")
    painted = values.get("regions") or {}
    strokes = (painted.get("people") or [])[number - 1 : number]
    place = (values.get("places") or [])[number - 1 : number]
    return Person(
        references=photos if portrait is None else (portrait,),
        identity_strength=values[f"identity_{number}"] if own else None,
        adapter_strength=values[f"adapter_{number}"] if own else None,
        region=paint_mask(strokes[0], *painted["canvas"]) if strokes and strokes[0] else None,
        **(read_place(place[0]) if place else {}),
    )


def _no_photo(number: int, count: int) -> str:
    if count == 1:
        return "There is no face photo yet. Add at least one, then press Generate."
    return f"Person {number} has no face photo yet. Add at least one, or remove this person."
