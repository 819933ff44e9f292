"""The group in which settings are compared: what varies, the table of cells, and one or two of them large."""

import html
from dataclasses import dataclass

import gradio as gr

from ..compare import Variable
from .compare_axes import first_values, help_text, names_of, offered
from .compare_plan import DIRECTIONS, PLACES
from .compare_table import compare_table
from .photos import notice, photo_box
from .results import status_line
from .studio import Studio

INTRO = (
    "One picture for every value, with everything else as it is set above, the seed too: so what changes comes from "
    "what you vary. Values are ranges, `0.2..1.2 step 0.2`, or lists, `a | b | c`. What is there is not made twice, "
    "also when you change the comparison a little. Pictures are kept until you close this page."
)
EMPTY = status_line("Choose what varies, then start.")
TO_COMPARE, COMPARING = "Keep, to lay another beside it", "Stop laying beside it"
NOTHING = ("(Nothing)", "")
START_FIELD = "identity_strength"


@dataclass(frozen=True, kw_only=True)
class Row:
    """The components of one axis."""

    field: gr.Dropdown
    text: gr.Textbox
    every: gr.Button
    photos: gr.Gallery
    photos_box: gr.Column
    help: gr.HTML


@dataclass(frozen=True, kw_only=True)
class Zoom:
    """One cell large, or two with a slider between them."""

    column: gr.Column
    about: gr.HTML
    picture: gr.Image
    slider: gr.ImageSlider
    use: gr.Button
    pin: gr.Button
    download: gr.DownloadButton
    said: gr.HTML


@dataclass(frozen=True, kw_only=True)
class Compare:
    """The group's components. `made` holds what this visitor compares, from the first comparison on."""

    group: gr.Accordion
    rows: dict[str, Row]
    file: gr.UploadButton
    last: gr.Button
    loaded: gr.HTML
    details: gr.Checkbox
    outlook: gr.HTML
    start: gr.Button
    cancel: gr.Button
    status: gr.HTML
    table: gr.HTML
    zoom: Zoom
    files: gr.File
    made: gr.State


def build_compare(studio: Studio) -> Compare:
    """Lay the group out: rows, the table, and below it what was chosen."""
    with gr.Accordion(
        "Compare: what each setting does, side by side", open=False, elem_id="compare", elem_classes="group"
    ) as group:
        gr.Markdown(INTRO, elem_classes="hint")
        with gr.Row(equal_height=False):
            rows = {place: _build_row(studio, place) for place in PLACES}
        with gr.Row():
            scale = studio.likeness_scale and f"; {studio.likeness_scale}"
            details = gr.Checkbox(
                True,
                label="Likeness and seconds under each picture",
                info=f"In the table and in the labelled picture{scale}.",
                min_width=260,
                elem_id="compare-details",
            )
            file = gr.UploadButton(
                "Load a comparison",
                file_types=[".json", ".png"],
                file_count="single",
                size="sm",
                scale=0,
                min_width=180,
                elem_id="compare-load",
            )
            last = gr.Button(
                "Go back to my last one",
                visible=False,
                size="sm",
                scale=0,
                min_width=180,
                elem_id="compare-last",
            )
        loaded = gr.HTML("", visible=False, elem_id="compare-loaded")
        outlook = gr.HTML("", elem_id="compare-outlook")
        with gr.Row():
            start = gr.Button("Start comparison", variant="primary", elem_id="compare-start", min_width=140)
            cancel = gr.Button("Cancel comparison", visible=False, elem_id="compare-cancel", min_width=140)
        status = gr.HTML(EMPTY, elem_id="compare-status")
        table = compare_table()
        zoom = _build_zoom()
        files = gr.File(
            label="To take along",
            file_count="multiple",
            interactive=False,
            visible=False,
            elem_id="compare-files",
        )
    return Compare(
        group=group,
        rows=rows,
        file=file,
        last=last,
        loaded=loaded,
        details=details,
        outlook=outlook,
        start=start,
        cancel=cancel,
        status=status,
        table=table,
        zoom=zoom,
        files=files,
        made=gr.State(None),
    )


def choices_of(variables: dict[str, Variable]) -> list[tuple[str, str]]:
    """Of a row's list: what people read, and the name."""
    return [NOTHING, *((variable.title, name) for name, variable in variables.items())]


def row_help(variable: Variable | None, studio: Studio, problem: str = "") -> str:
    """HTML under a row: what is wrong with it, else what it does."""
    if problem:
        return notice(problem, warning=True)
    return f'<div class="hint"><p>{html.escape(help_text(variable, studio))}</p></div>' if variable else ""


def _build_row(studio: Studio, place: str) -> Row:
    variables = offered(studio, {})
    chosen = variables.get(START_FIELD) if place == "x" else None
    with gr.Column(min_width=280, elem_classes="tight"):
        field = gr.Dropdown(
            choices_of(variables),
            value=chosen.name if chosen else "",
            label=f"{place.upper()}: what varies along the {DIRECTIONS[place]}",
            info="Type to search." if place == "x" else "Leave it at nothing for one less.",
            interactive=True,
            elem_id=f"compare-{place}",
        )
        # Typing searches for the box's whole text, so what stands there must give way.
        field.focus(None, js=f"() => document.querySelector('#compare-{place} input').select()")
        with gr.Row():
            text = gr.Textbox(
                first_values(chosen, studio) if chosen else "",
                label=f"Values of {place.upper()}",
                info="A range, or a list with | between.",
                lines=1,
                max_lines=8,
                visible=bool(chosen),
                scale=4,
                min_width=160,
                elem_id=f"compare-{place}-values",
            )
            every = gr.Button(
                "All",
                visible=bool(chosen) and bool(names_of(chosen, studio)),
                scale=0,
                min_width=64,
                size="sm",
                elem_id=f"compare-{place}-all",
            )
        with gr.Column(visible=False) as photos_box:
            photos = photo_box(
                f"compare-{place}-photos", "In this order.", several=True, label=f"Photos of {place.upper()}"
            )
        about = gr.HTML(row_help(chosen, studio), elem_id=f"compare-{place}-help")
    return Row(field=field, text=text, every=every, photos=photos, photos_box=photos_box, help=about)


def _build_zoom() -> Zoom:
    with gr.Column(visible=False, elem_id="compare-zoom") as column, gr.Row(equal_height=False):
        with gr.Column(scale=3, min_width=300):
            picture = gr.Image(
                label="Chosen cell",
                interactive=False,
                type="filepath",
                height=480,
                buttons=["fullscreen"],
                elem_id="compare-picture",
            )
            slider = gr.ImageSlider(
                label="The kept cell on the left, the chosen one on the right",
                interactive=False,
                type="filepath",
                max_height=480,
                visible=False,
                buttons=["fullscreen"],
                elem_id="compare-slider",
            )
        with gr.Column(scale=2, min_width=280):
            about = gr.HTML("", elem_id="compare-about")
            use = gr.Button("Use these settings", elem_id="compare-use")
            pin = gr.Button(TO_COMPARE, elem_id="compare-pin")
            download = gr.DownloadButton("Download this PNG", elem_id="compare-download")
            said = gr.HTML("", elem_id="compare-said")
    return Zoom(
        column=column,
        about=about,
        picture=picture,
        slider=slider,
        use=use,
        pin=pin,
        download=download,
        said=said,
    )
