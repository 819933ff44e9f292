"""What happens in the comparison group: rows tell what they take, the outlook follows, and pictures are made."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from .compare_axes import Entered, first_values, names_of, offered
from .compare_group import Compare, Row, choices_of, row_help
from .compare_plan import load, look_ahead, read_grid
from .compare_run import Made, make, table_of, take_along
from .compare_zoom import connect_zoom, fill_form
from .inputs import Inputs
from .pace import Pace
from .photos import notice
from .problems import explain, shown_on_page
from .results import problem_line, status_line
from .runs import Runs
from .studio import Studio

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
CANCELLED = status_line("Cancelled.", "What is there is kept; go on whenever you like.")
WAITING = status_line("Starting…", "Other people’s comparisons may come first.")
START, GO_ON = "Start comparison", "Go on"
LOADED = "It is loaded: look at the form and at what varies, then start."
# What changes how many pictures there are, how long they take, or whether they can be asked for.
WATCHED = (
    *(
        "people",
        "people_count",
        "prompt",
        "recipe",
        "steps",
        "guidance_scale",
        "scheduler",
        "size",
        "width",
        "height",
    ),
    *("controls", "upscale", "face_detail", "start_image", "style_image", "pose_image"),
)


def connect_compare(studio: Studio, inputs: Inputs, compare: Compare, pace: Pace) -> None:
    """Wire the group. Other visitors' runs come in between a comparison's pictures: it is not in their queue."""
    connect_zoom(studio, inputs, compare)
    _connect_rows(studio, inputs, compare)
    _connect_outlook(studio, inputs, compare, pace)
    _connect_file(studio, inputs, compare)
    _connect_run(studio, inputs, compare, pace)


def entered_in(data: Mapping[Any, Any], compare: Compare) -> dict[str, Entered]:
    """What the rows hold, by place."""
    return {
        place: Entered(data[row.field] or "", data[row.text] or "", data[row.photos])
        for place, row in compare.rows.items()
    }


def values_in(data: Mapping[Any, Any], inputs: Inputs) -> dict[str, Any]:
    """What the form holds, by name."""
    return {name: data[part] for name, part in inputs.parts.items()}


def _components(inputs: Inputs, compare: Compare) -> set[Any]:
    rows = compare.rows.values()
    own = {part for row in rows for part in (row.field, row.text, row.photos)}
    return {*inputs.parts.values(), *own, compare.made, compare.details}


def _row_updates(row: Row, variable: Any, entered: Entered, studio: Studio) -> dict[Any, Any]:
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


def _connect_rows(studio: Studio, inputs: Inputs, compare: Compare) -> None:
    """Each row follows the chosen variable; the lists follow people, controls and LoRAs of the form."""
    names = [
        name
        for name in inputs.parts
        if name in ("people_count", "controls") or name.removeprefix("lora_").isdigit()
    ]
    form = [inputs.parts[name] for name in names]

    for row in compare.rows.values():

        def choose(field, *values, row=row):
            variable = offered(studio, dict(zip(names, values))).get(field)
            text = first_values(variable, studio) if variable else ""
            return _row_updates(row, variable, Entered(field, text), studio)

        def fill(field, *values):
            variable = offered(studio, dict(zip(names, values))).get(field)
            return " | ".join(names_of(variable, studio)) if variable else gr.skip()

        shown = [row.text, row.every, row.photos, row.photos_box, row.help]
        row.field.input(choose, [row.field, *form], shown, **QUIET)
        row.every.click(fill, [row.field, *form], row.text, **QUIET)

    fields = [row.field for row in compare.rows.values()]

    def offer(*entered):
        chosen, values = entered[: len(fields)], entered[len(fields) :]
        variables = offered(studio, dict(zip(names, values)))
        return [
            gr.update(choices=choices_of(variables), value=name if name in variables else "")
            for name in chosen
        ]

    gr.on([part.change for part in form], offer, [*fields, *form], fields, **QUIET)


def _connect_outlook(studio: Studio, inputs: Inputs, compare: Compare, pace: Pace) -> None:
    """Say how many and how long at every change, and what is wrong beside the row where it is."""
    rows = compare.rows
    watched = [inputs.parts[name] for name in WATCHED if name in inputs.parts]
    own = [part for row in rows.values() for part in (row.field, row.text, row.photos)]
    helps = [row.help for row in rows.values()]
    gr.on(
        [compare.group.expand, *(part.change for part in (*own, *watched))],
        lambda data: _outlook(studio, inputs, compare, pace, data),
        _components(inputs, compare),
        [compare.outlook, compare.start, *helps],
        trigger_mode="always_last",
        concurrency_limit=4,
        **QUIET,
    )


def _outlook(studio: Studio, inputs: Inputs, compare: Compare, pace: Pace, data: Mapping[Any, Any]) -> dict:
    values, entered, made = values_in(data, inputs), entered_in(data, compare), data[compare.made]
    with shown_on_page():
        told = look_ahead(values, entered, studio, pace.seconds, made and made.folder)
        variables = offered(studio, values)
    return {
        compare.outlook: told.text,
        compare.start: gr.update(value=GO_ON if told.begun else START),
        **{
            row.help: row_help(variables.get(entered[place].field), studio, told.problems[place])
            for place, row in compare.rows.items()
        },
    }


def _connect_file(studio: Studio, inputs: Inputs, compare: Compare) -> None:
    """Put a comparison's file into form and rows."""
    rows = compare.rows
    shown = [
        part
        for row in rows.values()
        for part in (row.field, row.text, row.every, row.photos, row.photos_box, row.help)
    ]

    def take_in(data):
        file = Path(data[compare.file])
        values = values_in(data, inputs)
        try:
            with shown_on_page():
                base, entered, notes = load(file, values, entered_in(data, compare), studio)
        except gr.Error as error:
            return {compare.loaded: gr.update(value=notice(error.message, warning=True), visible=True)}
        finally:
            file.unlink()  # an upload would lie about for hours
        form = fill_form(inputs.parts, base, studio, data)
        filled = values | {name: form[part] for name, part in inputs.parts.items() if part in form}
        variables = offered(studio, filled)
        updates = form | {compare.loaded: gr.update(value=notice("\n".join([LOADED, *notes])), visible=True)}
        for place, row in rows.items():
            chosen = entered[place]
            updates |= _row_updates(row, variables.get(chosen.field), chosen, studio)
            updates[row.field] = gr.update(choices=choices_of(variables), value=chosen.field)
        return updates

    compare.file.upload(
        take_in,
        {*_components(inputs, compare), compare.file},
        [*inputs.parts.values(), *shown, compare.loaded],
        **QUIET,
    )


def _connect_run(studio: Studio, inputs: Inputs, compare: Compare, pace: Pace) -> None:
    """Start, Cancel, and the files of what there is."""
    runs, components = Runs(), _components(inputs, compare)

    def begin(made: Made | None):
        made = made or Made(Path(tempfile.mkdtemp(prefix="instantid-compare-")))
        return gr.update(interactive=False), gr.update(visible=True), WAITING, gr.update(visible=False), made

    def run(data, visitor: gr.Request):
        made: Made = data[compare.made]
        with shown_on_page(), runs.begin(visitor.session_hash) as wanted:
            try:
                grid = read_grid(values_in(data, inputs), entered_in(data, compare), studio).settled()
                yield {inputs.parts["seed"]: grid.base.seed, compare.zoom.column: gr.update(visible=False)}
                for status, new in make(studio, grid, made, wanted):
                    shown = {compare.table: table_of(made, data[compare.details])} if new else {}
                    yield {compare.status: status} | shown
            except Exception as error:
                yield rest(made, data[compare.details]) | {compare.status: problem_line(explain(error))}
                raise
            yield rest(made, data[compare.details])

    def rest(made: Made, details: bool):
        files = take_along(made, details)
        return {
            compare.start: gr.update(interactive=True),
            compare.cancel: gr.update(visible=False),
            compare.table: table_of(made, details),
            compare.files: gr.update(value=files or None, visible=bool(files)),
        }

    def cancel(made: Made, details, visitor: gr.Request):
        runs.cancel(visitor.session_hash)
        made.end()
        return rest(made, details) | {compare.status: CANCELLED}

    def redraw(made: Made | None, details):
        if made is None or made.running:
            return {compare.table: table_of(made, details) if made else None}
        files = take_along(made, details)
        return {
            compare.table: table_of(made, details),
            compare.files: gr.update(value=files or None, visible=bool(files)),
        }

    at_rest = [compare.start, compare.cancel, compare.table, compare.files, compare.status]
    started = compare.start.click(
        begin,
        compare.made,
        [compare.start, compare.cancel, compare.status, compare.files, compare.made],
        queue=False,
        **QUIET,
    )
    running = started.then(
        run,
        components,
        [*at_rest, inputs.parts["seed"], compare.zoom.column],
        concurrency_id="compare",
        concurrency_limit=1,
        **QUIET,
    )
    cancelled = compare.cancel.click(
        cancel, [compare.made, compare.details], at_rest, cancels=[running], queue=False, **QUIET
    )
    rows = [row.help for row in compare.rows.values()]
    for over in (running, cancelled):
        over.then(
            lambda data: _outlook(studio, inputs, compare, pace, data),
            components,
            [compare.outlook, compare.start, *rows],
            **QUIET,
        )
    compare.details.input(redraw, [compare.made, compare.details], [compare.table, compare.files], **QUIET)
