"""The history on the page: what shows the pictures that a visitor made, and how a new one comes in."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from gradio.components import Component

from ..errors import InstantIDError
from ..history import History
from .photos import notice
from .studio import Studio
from .visits import MOST, Visit, Visits

IN_SESSION = (
    f"Your newest {MOST} pictures, for nobody but you. A reload of this page keeps them; once you close it they are "
    "deleted within two hours: export what you want to keep."
)
ON_DISK = "Every picture made here. They are kept on this machine's disk until you delete them."
EMPTY = "Nothing here yet: pictures come as they are made."
CHOOSE = "Choose a picture to see how it was made."
COMPARE, DELETE = "Compare with another", "Delete"
PAGE = 60  # pictures shown at first, and more by so many
SMALL: dict[str, Any] = {"size": "sm", "min_width": 120}


@dataclass(frozen=True, kw_only=True)
class HistoryPanel:
    """The group's components, and what it knows of its visitor.

    Args:
        visits: of this page.
        visit: this visitor's `Visit`; None before the page has said which it is.
        key: how the browser's tab says whose visit this is; empty at all other times.
        latest: name of the newest picture: when it changes, the list is shown anew.
        names: of the pictures shown, in their order.
        chosen: name of the picture on the right.
        first: name of the one that is to be compared with the next that is chosen.
        limit: how many pictures are shown at most.
        minutes: of the visitor's clock ahead of UTC.
    """

    words: gr.Textbox
    likeness: gr.Slider
    said: gr.HTML
    gallery: gr.Gallery
    more: gr.Button
    export: gr.Button
    archive: gr.DownloadButton
    picture: gr.Image
    slider: gr.ImageSlider
    about: gr.HTML
    actions: gr.Row
    restore: gr.Button
    compare: gr.Button
    download: gr.DownloadButton
    delete: gr.Button
    visits: Visits
    visit: gr.State
    key: gr.Textbox
    latest: gr.State
    names: gr.State
    chosen: gr.State
    first: gr.State
    limit: gr.State
    minutes: gr.Number


def build_history(studio: Studio, visits: Visits) -> HistoryPanel:
    """Lay the group out: the pictures on the left, the chosen one on the right."""
    with (
        gr.Accordion("History", open=False, elem_id="history", elem_classes="group"),
        gr.Row(equal_height=False),
    ):
        with gr.Column(scale=1, min_width=340):
            gr.Markdown(IN_SESSION if studio.history is None else ON_DISK, elem_classes="hint")
            listed = _build_list(studio.likeness_scale)
        with gr.Column(scale=1, min_width=340):
            shown = _build_chosen()
    return HistoryPanel(
        **listed,
        **shown,
        visits=visits,
        visit=gr.State(None, delete_callback=visits.leave),
        key=gr.Textbox(visible="hidden"),
        latest=gr.State(""),
        names=gr.State([]),
        chosen=gr.State(None),
        first=gr.State(None),
        limit=gr.State(PAGE),
        minutes=gr.Number(0, visible="hidden"),
    )


def store_of(studio: Studio, panel: HistoryPanel, visit: Visit | None) -> History:
    """The owner's history where there is one, else the visitor's; an empty one for a visit that is over."""
    return (visit or panel.visits.enter()).history if studio.history is None else studio.history


def remember(
    studio: Studio, panel: HistoryPanel, visit: Visit | None, pictures: list[tuple[Path, float | None]]
) -> dict[Component, Any]:
    """Keep pictures, PNGs of ours with their likeness; the updates of `visit` and `latest`, which show them.

    What cannot be kept is told, and stops nothing: the pictures are on the page all the same.
    """
    visit = visit or panel.visits.enter()
    store = store_of(studio, panel, visit)
    updates: dict[Component, Any] = {panel.visit: visit}
    try:
        for picture, likeness in pictures:
            updates[panel.latest] = store.keep(picture, likeness).name
    except InstantIDError as error:
        gr.Warning(f"A picture is missing in the history. {error}")
    return updates


def _build_list(scale: str) -> dict[str, Component]:
    with gr.Row(equal_height=True):
        words = gr.Textbox(
            "",
            label="Find",
            info="Words of prompt, style, seed, model.",
            min_width=160,
            elem_id="history-words",
        )
        likeness = gr.Slider(
            0,
            1,
            0,
            step=0.05,
            label="Likeness from",
            info=f"0 shows all; {scale}." if scale else "0 shows all.",
            min_width=160,
            elem_id="history-likeness",
        )
    said = gr.HTML(notice(EMPTY), elem_id="history-said")
    gallery = gr.Gallery(
        label="Pictures made, newest first",
        interactive=False,
        columns=3,
        height=480,
        object_fit="contain",
        allow_preview=False,
        buttons=[],
        elem_id="history-pictures",
    )
    with gr.Row():
        more = gr.Button("Show older ones", visible=False, elem_id="history-more", **SMALL)
        export = gr.Button("Export these (zip)", visible=False, elem_id="history-export", **SMALL)
        archive = gr.DownloadButton("Download", visible=False, elem_id="history-zip", **SMALL)
    parts = {"words": words, "likeness": likeness, "said": said, "gallery": gallery}
    return parts | {"more": more, "export": export, "archive": archive}


def _build_chosen() -> dict[str, Component]:
    large: dict[str, Any] = {"visible": False, "interactive": False, "buttons": ["fullscreen"]}
    picture = gr.Image(label="Picture", height=420, elem_id="history-picture", **large)
    slider = gr.ImageSlider(label="Left and right", max_height=420, elem_id="history-slider", **large)
    with gr.Row(visible=False) as actions:
        restore = gr.Button("Restore settings", variant="primary", elem_id="history-restore", **SMALL)
        compare = gr.Button(COMPARE, elem_id="history-compare", **SMALL)
        download = gr.DownloadButton("Download PNG", elem_id="history-download", **SMALL)
        delete = gr.Button(DELETE, elem_id="history-delete", **SMALL)
    about = gr.HTML(notice(CHOOSE), elem_id="history-about")
    parts = {"picture": picture, "slider": slider, "actions": actions, "restore": restore}
    return parts | {"compare": compare, "download": download, "delete": delete, "about": about}
