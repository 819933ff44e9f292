"""The rows of a comparison: what they hold, and how they follow what varies and what the form offers."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.events import Dependency

from .compare_axes import Entered, first_values, names_of, offered
from .compare_group import Compare, Row, choices_of, row_help
from .inputs import Inputs
from .studio import Studio

QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def entered_in(data: Mapping[Any, Any], compare: Compare) -> dict[str, Entered]:
    """What the rows hold, by place."""
    return {
        place: Entered(data[row.field] or "", data[row.text] or "", data[row.photos])
        for place, row in compare.rows.items()
    }


def values_in(data: Mapping[Any, Any], inputs: Inputs) -> dict[str, Any]:
    """What the form holds, by name."""
    return {name: data[part] for name, part in inputs.parts.items()}


def components_of(inputs: Inputs, compare: Compare) -> set[Any]:
    rows = compare.rows.values()
    own = {part for row in rows for part in (row.field, row.text, row.photos)}
    return {*inputs.parts.values(), *own, compare.made, compare.details}


def row_updates(row: Row, variable: Any, entered: Entered, studio: Studio) -> dict[Any, Any]:
    """The row as it looks for a variable: a text, or photos; nothing for none."""
    photo = variable is not None and variable.kind == "photo"
    listed = variable is not None and bool(names_of(variable, studio))
    return {
        row.text: gr.update(value=entered.text, visible=variable is not None and not photo),
        row.every: gr.update(visible=listed),
        row.photos: list(entered.photos or ()) or None,
        row.photos_box: gr.update(visible=photo),
        row.help: row_help(variable, studio),
    }


def rows_of(compare: Compare) -> list[Any]:
    """All their components."""
    return [
        part
        for row in compare.rows.values()
        for part in (row.field, row.text, row.every, row.photos, row.photos_box, row.help)
    ]


def connect_rows(studio: Studio, inputs: Inputs, compare: Compare) -> list[Dependency]:
    """Each row follows the chosen variable; the lists follow people, controls and LoRAs of the form."""
    names = [
        name
        for name in inputs.parts
        if name in ("people_count", "controls") or name.removeprefix("lora_").isdigit()
    ]
    form = [inputs.parts[name] for name in names]
    events = []

    for row in compare.rows.values():

        def choose(field, *values, row=row):
            variable = offered(studio, dict(zip(names, values))).get(field)
            text = first_values(variable, studio) if variable else ""
            return row_updates(row, variable, Entered(field, text), studio)

        def fill(field, *values):
            variable = offered(studio, dict(zip(names, values))).get(field)
            return " | ".join(names_of(variable, studio)) if variable else gr.skip()

        shown = [row.text, row.every, row.photos, row.photos_box, row.help]
        events.append(row.field.input(choose, [row.field, *form], shown, **QUIET))
        row.every.click(fill, [row.field, *form], row.text, **QUIET)

    rows = compare.rows.values()
    fields = [row.field for row in rows]

    def offer(*entered):
        variables = offered(studio, dict(zip(names, entered[len(fields) :])))
        updates = {}
        for row, name in zip(rows, entered):
            there = not name or name in variables
            updates |= {} if there else row_updates(row, None, Entered(""), studio)
            updates[row.field] = gr.update(choices=choices_of(variables), value=name if there else "")
        return updates

    changes = [part.change for part in form]
    return [*events, gr.on(changes, offer, [*fields, *form], rows_of(compare), **QUIET)]
