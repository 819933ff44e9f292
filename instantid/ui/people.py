"""Who appears: face photos of one to four people, from left to right, and the pose photo that places them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import gradio as gr
from gradio.components import Component

from ..errors import InvalidRequest
from ..people import MAX_PEOPLE, Person, Photo
from .fields import slider
from .keypoint_editor import read_place
from .photos import face_check, paths_of, photo_box
from .region_painter import read_region
from .saved import build_saved
from .studio import Studio
from .words import POSE_HINT

NUMBERS = range(1, MAX_PEOPLE + 1)
SIDE = 240  # pixels: least width of a person, of the pose photo
FACE_HINT = "One clear photo is enough; several of the same person are averaged."
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
# What belongs to one person: a name for each number, in the order that `_without` moves their values in.
OWN_NAMES = ("photos", "saved", "portrait", "own", "identity", "adapter")


@dataclass(frozen=True, kw_only=True)
class People:
    """The section.

    Args:
        components: by name: "faces" (path → which face), "people_count", "pose_image", and for each person i the
            photos ("people", then "person_2" to "person_4"), "saved_i", "portrait_i", "own_i", "identity_i" and
            "adapter_i".
        removals: one button per person.
    """

    components: dict[str, Component]
    removals: tuple[gr.Button, ...]


def photos_name(number: int) -> str:
    """The name of a person's box of photos."""
    return "people" if number == 1 else f"person_{number}"


def build_people(studio: Studio) -> People:
    """Lay out the section and connect what stays within it."""
    parts: dict[str, Component] = {"faces": gr.State({}), "people_count": gr.State(1)}
    columns, heads, removals, strengths = [], [], [], []
    with gr.Row(equal_height=False, elem_id="photos"):  # two side by side where there is room
        for number in NUMBERS:
            with gr.Column(visible=number == 1, min_width=SIDE, elem_id=f"person-{number}") as column:
                with gr.Row(visible=number > 1, elem_classes="person-head") as head:
                    gr.Markdown(f"**Person {number}**, from the left")
                    removals.append(
                        gr.Button("Remove", size="sm", scale=0, min_width=90, elem_id=f"remove-{number}")
                    )
                parts |= _build_photos(studio, number, parts["faces"])
                with gr.Column(visible=number > 1) as own:
                    parts |= _build_strengths(studio, number)
            columns.append(column)
            heads.append(head)
            strengths.append(own)
        with gr.Column(min_width=SIDE):
            parts["pose_image"] = photo_box("pose_image", POSE_HINT, several=False)
            face_check(studio, parts["pose_image"], parts["faces"], for_people=parts["people_count"])
    add = gr.Button("Add a person", size="sm", elem_id="add-person")

    build_saved(studio, parts, [parts[photos_name(number)] for number in NUMBERS])

    add.click(lambda count: min(count + 1, MAX_PEOPLE), parts["people_count"], parts["people_count"], **QUIET)

    def arrange(count):
        shown = [gr.Column(visible=number <= count) for number in NUMBERS]
        several = [gr.update(visible=count > 1) for _ in NUMBERS]
        return *shown, *several, *several, gr.Button(visible=count < MAX_PEOPLE)

    parts["people_count"].change(arrange, parts["people_count"], [*columns, *heads, *strengths, add], **QUIET)
    return People(components=parts, removals=tuple(removals))


def connect_removals(people: People, editors: Mapping[str, Component]) -> None:
    """Let each person be taken out, with what was drawn for them; those to the right move up.

    Args:
        editors: "places" and "regions".
    """
    own = [people.components[_name(kind, number)] for number in NUMBERS for kind in OWN_NAMES]
    concerned = [people.components["people_count"], *own, editors["places"], editors["regions"]]
    for number, button in enumerate(people.removals, start=1):
        button.click(lambda *values, number=number: _without(number, *values), concerned, concerned, **QUIET)


def read_people(values: Mapping[str, Any]) -> tuple[Person, ...]:
    """The people of the form's values, by the names in `People.components`, "places" and "regions".

    Raises:
        InvalidRequest: somebody has no photo and is not a saved person.
    """
    count = values["people_count"]
    return tuple(_read_person(values, number, count) for number in range(1, count + 1))


def _read_person(values: Mapping[str, Any], number: int, count: int) -> Person:
    portrait = values[f"portrait_{number}"]
    photos = tuple(
        Photo(image=path, face=values["faces"].get(str(path), 1))
        for path in paths_of(values[photos_name(number)])
    )
    if portrait is None and not photos:
        raise InvalidRequest(_no_photo(number, count))
    own = count > 1 and values[f"own_{number}"]
    return Person(
        references=photos if portrait is None else (portrait,),
        identity_strength=values[f"identity_{number}"] if own else None,
        adapter_strength=values[f"adapter_{number}"] if own else None,
        region=read_region(values["regions"], number),
        **read_place(values["places"], number),
    )


def _no_photo(number: int, count: int) -> str:
    if count == 1:
        return "There is no face photo yet. Add at least one, then press Generate."
    return f"Person {number} has no face photo yet. Add at least one, or remove this person."


def _build_photos(studio: Studio, number: int, faces: gr.State) -> dict[str, Component]:
    with gr.Column() as photos:
        box = photo_box(photos_name(number), FACE_HINT, several=True, label="Face photos")
        face_check(studio, box, faces, advise=True)
    saved = gr.Dropdown(
        [("(photos)", "")],
        value="",
        label="Saved person",
        info="In place of photos.",
        visible=False,
        elem_id=f"saved-{number}",
    )
    portrait = gr.State(None)
    portrait.change(lambda kept: gr.Column(visible=kept is None), portrait, photos, **QUIET)
    return {photos_name(number): box, f"saved_{number}": saved, f"portrait_{number}": portrait}


def _build_strengths(studio: Studio, number: int) -> dict[str, Component]:
    own = gr.Checkbox(
        False,
        label="Strengths of their own",
        info="Instead of those for everyone below.",
        elem_id=f"own-{number}",
    )
    with gr.Row(visible=False) as sliders:
        parts = {
            f"{short}_{number}": slider(
                field,
                studio.defaults[field],
                step=0.05,
                min_width=200,
                label=f"{label}, person {number}",
                info=None,
            )
            for short, field, label in (
                ("identity", "identity_strength", "IdentityNet"),
                ("adapter", "adapter_strength", "Image adapter"),
            )
        }
    own.change(lambda ticked: gr.Row(visible=ticked), own, sliders, **QUIET)
    return {f"own_{number}": own} | parts


def _name(kind: str, number: int) -> str:
    return photos_name(number) if kind == "photos" else f"{kind}_{number}"


def _without(number: int, count: int, *values: Any) -> list[Any]:
    """The values of `connect_removals` after person `number` has gone."""
    *own, places, regions = values
    width = len(OWN_NAMES)
    people = [own[i * width : (i + 1) * width] for i in range(MAX_PEOPLE)]
    people.append([None, "", None, False, *people.pop(number - 1)[-2:]])  # strengths stay sliders' values
    if regions:
        painted = _gone(regions["people"], number)
        regions = regions | {"people": painted} if any(painted) else None
    return [
        max(1, count - 1),
        *(value for person in people for value in person),
        _gone(places or [], number),
        regions,
    ]


def _gone(entries: list, number: int) -> list:
    return [entry for i, entry in enumerate(entries, start=1) if i != number]
