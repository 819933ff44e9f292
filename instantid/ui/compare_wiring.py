"""What happens in the comparison group: the outlook follows what is entered, and pictures are made."""

from collections.abc import Mapping
from typing import Any

import gradio as gr
from gradio.events import Dependency

from ..compare import Outcome
from .compare_axes import offered
from .compare_files import at_rest, connect_files, resting
from .compare_group import Compare, row_help
from .compare_plan import look_ahead, read_grid
from .compare_rows import components_of, connect_rows, entered_in, values_in
from .compare_run import Made, make, table_of
from .compare_zoom import connect_zoom
from .history import HistoryPanel, remember
from .inputs import Inputs
from .pace import Pace
from .problems import explain, shown_on_page
from .results import problem_line, status_line
from .runs import Runs
from .studio import Studio
from .visits import Visit

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
CANCELLED = status_line("Cancelled.", "What is there is kept; go on whenever you like.")
WAITING = status_line("Starting…", "Other people’s comparisons may come first.")
START, GO_ON = "Start comparison", "Go on"
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


def connect_compare(
    studio: Studio,
    inputs: Inputs,
    compare: Compare,
    history: HistoryPanel,
    pace: Pace,
    opened: Dependency,
) -> None:
    """Wire the group. Other visitors' runs come in between a comparison's pictures: it is not in their queue.

    Args:
        opened: the event after which the visit is known.
    """
    connect_zoom(studio, inputs, compare)
    events = [
        *connect_rows(studio, inputs, compare),
        *connect_files(studio, inputs, compare, history, opened),
        *_connect_run(studio, inputs, compare, history),
    ]
    _connect_outlook(studio, inputs, compare, pace, events)


def _connect_outlook(
    studio: Studio, inputs: Inputs, compare: Compare, pace: Pace, events: list[Dependency]
) -> None:
    """Say how many and how long at every change, and what is wrong beside the row where it is.

    Args:
        events: after which it is said anew. A row's variable is among them and not watched itself: its help would
            come before its values, and what is typed by then would be lost.
    """
    again = gr.Number(0, visible="hidden")  # one event for all: an older answer never comes after a newer one
    for event in events:
        event.then(None, again, again, js="count => count + 1", **QUIET)
    watched = [inputs.parts[name] for name in WATCHED if name in inputs.parts]
    own = [part for row in compare.rows.values() for part in (row.text, row.photos)]
    gr.on(
        [compare.group.expand, *(part.change for part in (*own, *watched, again))],
        lambda data: _outlook(studio, inputs, compare, pace, data),
        components_of(inputs, compare),
        [compare.outlook, compare.start, *(row.help for row in compare.rows.values())],
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


def _connect_run(studio: Studio, inputs: Inputs, compare: Compare, history: HistoryPanel) -> list[Dependency]:
    """Start, Cancel, and the files of what there is."""
    runs, components = Runs(), components_of(inputs, compare)

    def begin(made: Made | None, visit: Visit | None):
        visit = visit or history.visits.enter()
        busy = gr.update(interactive=False), gr.update(visible=True), WAITING
        return (
            *busy,
            gr.update(visible=False),
            gr.update(visible=False),
            made or Made(visit.comparison),
            visit,
        )

    def run(data, visitor: gr.Request):
        made: Made = data[compare.made]
        kept: dict[Any, Any] = {}

        def keep(outcome: Outcome):
            picture = outcome.path, outcome.likeness
            kept.update(remember(studio, history, data[history.visit], [picture]))

        with shown_on_page(), runs.begin(visitor.session_hash) as wanted:
            try:
                grid = read_grid(values_in(data, inputs), entered_in(data, compare), studio).settled()
                yield {inputs.parts["seed"]: grid.base.seed, compare.zoom.column: gr.update(visible=False)}
                for status, new in make(studio, grid, made, wanted, keep):
                    shown = {compare.table: table_of(made, data[compare.details])} if new else {}
                    yield {compare.status: status} | shown | kept
            except Exception as error:
                told = {compare.status: problem_line(explain(error))}
                yield at_rest(compare, made, data[compare.details]) | told
                raise
            yield at_rest(compare, made, data[compare.details])

    def cancel(made: Made, details, visitor: gr.Request):
        runs.cancel(visitor.session_hash)
        made.end()
        return at_rest(compare, made, details) | {compare.status: CANCELLED}

    def redraw(made: Made | None, details):
        if made is None or made.running:
            return {compare.table: table_of(made, details) if made else None}
        return at_rest(compare, made, details)

    outputs = [*resting(compare), compare.status]
    started = compare.start.click(
        begin,
        [compare.made, history.visit],
        [
            *(compare.start, compare.cancel, compare.status, compare.files, compare.last),
            *(compare.made, history.visit),
        ],
        queue=False,
        **QUIET,
    )
    running = started.then(
        run,
        {*components, history.visit},
        [*outputs, inputs.parts["seed"], compare.zoom.column, history.visit, history.latest],
        concurrency_id="compare",
        concurrency_limit=1,
        **QUIET,
    )
    cancelled = compare.cancel.click(
        cancel, [compare.made, compare.details], outputs, cancels=[running], queue=False, **QUIET
    )
    compare.details.input(redraw, [compare.made, compare.details], resting(compare), **QUIET)
    return [running, cancelled]
