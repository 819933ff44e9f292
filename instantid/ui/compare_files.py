"""A comparison back on the page: from a file, or this visitor's last one; and what is shown while none is made."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.events import Dependency

from ..compare import Grid
from .compare_axes import Entered, offered
from .compare_group import Compare, choices_of
from .compare_plan import load
from .compare_rows import components_of, entered_in, row_updates, rows_of, values_in
from .compare_run import LAST, Made, go_back, table_of, take_along
from .compare_zoom import fill_form
from .history import HistoryPanel
from .inputs import Inputs
from .photos import notice
from .problems import shown_on_page
from .studio import Studio

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
LOADED = "It is loaded: look at the form and at what varies, then start."
LAST_ONE = "Form and rows hold your last comparison again, with the pictures that were made."


def connect_files(
    studio: Studio, inputs: Inputs, compare: Compare, history: HistoryPanel, opened: Dependency
) -> list[Dependency]:
    """Put a comparison into form and rows: one from a file, or this visitor's last one."""

    def put_in(grid: Grid, entered: dict[str, Entered], said: str, data):
        form = fill_form(inputs.parts, grid.base, studio, data)
        filled = {name: form.get(part, data[part]) for name, part in inputs.parts.items()}
        variables = offered(studio, filled)
        updates = form | {compare.loaded: gr.update(value=notice(said), visible=True)}
        for place, row in compare.rows.items():
            chosen = entered[place]
            updates |= row_updates(row, variables.get(chosen.field), chosen, studio)
            updates[row.field] = gr.update(choices=choices_of(variables), value=chosen.field)
        return updates

    def told(error: gr.Error):
        return {compare.loaded: gr.update(value=notice(error.message, warning=True), visible=True)}

    def take_in(data):
        file = Path(data[compare.file])
        try:
            with shown_on_page():
                here = entered_in(data, compare)
                grid, entered, notes = load(file, values_in(data, inputs), here, studio)
        except gr.Error as error:
            return told(error)
        finally:
            file.unlink()  # an upload would lie about for hours
        return put_in(grid, entered, "\n".join([LOADED, *notes]), data)

    def find_last(data):
        folder = data[history.visit].comparison
        try:
            with shown_on_page():
                grid, entered, _ = load(folder / LAST, values_in(data, inputs), {}, studio, own=True)
                made = go_back(grid, folder)
        except gr.Error as error:
            return told(error)
        shown = at_rest(compare, made, data[compare.details])
        return (
            put_in(grid, entered, LAST_ONE, data)
            | shown
            | {compare.made: made, compare.last: gr.update(visible=False)}
        )

    opened.then(
        lambda visit: gr.update(visible=(visit.comparison / LAST).exists()),
        history.visit,
        compare.last,
        **QUIET,
    )
    filled = [*inputs.parts.values(), *rows_of(compare), compare.loaded]
    components = components_of(inputs, compare)
    return [
        compare.file.upload(take_in, {*components, compare.file}, filled, **QUIET),
        compare.last.click(
            find_last,
            {*components, history.visit},
            [*filled, *resting(compare), compare.made, compare.last],
            **QUIET,
        ),
    ]


def at_rest(compare: Compare, made: Made, details: bool) -> dict[Any, Any]:
    """The group while nothing is made: the table, and the files of what there is."""
    files = take_along(made, details)
    return {
        compare.start: gr.update(interactive=True),
        compare.cancel: gr.update(visible=False),
        compare.table: table_of(made, details),
        compare.files: gr.update(value=files or None, visible=bool(files)),
    }


def resting(compare: Compare) -> list[Any]:
    """What `at_rest` updates."""
    return [compare.start, compare.cancel, compare.table, compare.files]
