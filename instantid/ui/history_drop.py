"""Restoring a picture's settings: from the history, from a PNG that is uploaded, or dropped anywhere on the page."""

from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component
from gradio.context import Context

from .. import metadata
from ..metadata import Record
from .history import HistoryPanel, store_of
from .history_restore import fill_form
from .inputs import Inputs
from .photos import notice
from .places import stage_of
from .problems import shown_on_page
from .results import Results, status_line
from .stage import stage_props
from .studio import Studio

QUIET: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
SHOW_STATUS = "() => document.querySelector('#status').scrollIntoView({behavior: 'smooth', block: 'center'})"
EDITORS = ("places", "regions")


def build_restore() -> gr.UploadButton:
    """The button that takes a PNG of ours: what dropping one on the page does, for keyboard and touch."""
    return gr.UploadButton(
        "Restore the settings of a PNG made here",
        file_types=[".png"],
        file_count="single",
        size="sm",
        elem_id="restore-png",
    )


def connect_restore(
    studio: Studio, inputs: Inputs, results: Results, panel: HistoryPanel, button: gr.UploadButton
) -> None:
    """Let the history, the button and drops fill the form. Nothing is generated before Generate is pressed."""
    parts = inputs.parts

    def from_history(data):
        with shown_on_page():
            return fill(store_of(studio, panel, data[panel.visit]).get(data[panel.chosen]).record, data)

    def from_file(data):
        with shown_on_page():
            try:
                record = metadata.read(Path(data[button]))
            finally:
                Path(data[button]).unlink(missing_ok=True)  # an upload would lie about for hours
            return fill(record, data)

    def fill(record: Record, data: dict[Component, Any]) -> dict[Component, Any]:
        values = {name: data[part] for name, part in parts.items()}
        filled = fill_form(record, values, studio)
        props = stage_props(stage_of(studio, values | filled.values))
        updates = {
            parts[name]: gr.update(value=value, **props) if name in EDITORS else value
            for name, value in filled.values.items()
        }
        return updates | {results.status: restored(record, filled.notes)}

    outputs = [*parts.values(), results.status]
    events = [
        panel.restore.click(from_history, {*parts.values(), panel.visit, panel.chosen}, outputs, **QUIET),
        button.upload(from_file, {*parts.values(), button}, outputs, **QUIET),
    ]
    for event in events:
        event.success(None, js=SHOW_STATUS)
    Context.root_block.load(None, js=Path(__file__).with_name("history_drop.js").read_text(encoding="utf-8"))


def restored(record: Record, notes: list[str]) -> str:
    """HTML of the status: whose settings the form holds now, and what is otherwise."""
    made = " ".join(str(record.bundle[name]) for name in ("name", "device", "dtype") if name in record.bundle)
    said = status_line(
        f"The settings of seed {record.settings['seed']} are in the form.", f"Made with {made}."
    )
    return said + "".join(notice(note) for note in notes)
