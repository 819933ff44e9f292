"""Many pictures in one go: whose, of what, how far it is, and what came of it."""

from dataclasses import dataclass
from pathlib import Path

import gradio as gr

from ..styles import NO_STYLE
from .batch_run import make, pack, plan
from .history import HistoryPanel, remember
from .inputs import Inputs
from .photos import photo_box
from .problems import explain, shown_on_page
from .results import problem_line, status_line
from .runs import Runs
from .studio import Studio

FACES_HINT = "Each photo is one person. Of several faces in a photo, the largest counts."
INTRO = (
    "One picture for every person, prompt and style, with everything else as it is set above, the seed too. Start "
    "again to go on with a batch that was stopped: what is there is not made twice. Pictures are kept while this "
    "page is open; for a whole night there is `python -m instantid batch`."
)
QUIET = {"api_visibility": "private", "show_progress": "hidden"}
STOPPED = status_line("Stopped.", "Start again to go on: what is there is kept.")
EMPTY = status_line("Add photos and prompts, then start.")


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The group's components."""

    faces: gr.Gallery
    prompts: gr.Textbox
    styles: gr.Dropdown
    start: gr.Button
    stop: gr.Button
    status: gr.HTML
    gallery: gr.Gallery
    download: gr.DownloadButton


def build_batch(studio: Studio) -> Batch:
    """Lay the group out, inputs on the left and pictures on the right."""
    with (
        gr.Accordion(
            "Batch: many people, prompts and styles", open=False, elem_id="batch", elem_classes="group"
        ),
        gr.Row(equal_height=False),
    ):
        with gr.Column(scale=1, min_width=340):
            gr.Markdown(INTRO, elem_classes="hint")
            faces = photo_box("batch-faces", FACES_HINT, several=True, label="Face photos, one per person")
            prompts = gr.Textbox(
                "",
                lines=4,
                max_lines=12,
                label="Prompts, one per line",
                info="{name} stands for the name of the photo's file. None: the prompt above.",
                placeholder="a portrait of a person in the rain\na person reading in a garden",
                elem_id="batch-prompts",
            )
            styles = gr.Dropdown(
                [NO_STYLE, *sorted(name for name in studio.styles if name != NO_STYLE)],
                multiselect=True,
                label="Styles",
                info="None: the style above.",
                elem_id="batch-styles",
            )
            with gr.Row():
                start = gr.Button("Start batch", variant="primary", elem_id="batch-start", min_width=140)
                stop = gr.Button("Stop", visible=False, elem_id="batch-stop", min_width=140)
        with gr.Column(scale=1, min_width=340):
            status = gr.HTML(EMPTY, elem_id="batch-status")
            gallery = gr.Gallery(
                label="Pictures of the batch",
                interactive=False,
                columns=4,
                height=420,
                object_fit="contain",
                buttons=["fullscreen"],
                elem_id="batch-pictures",
            )
            download = gr.DownloadButton("Download all (zip)", visible=False, elem_id="batch-download")
    return Batch(
        faces=faces,
        prompts=prompts,
        styles=styles,
        start=start,
        stop=stop,
        status=status,
        gallery=gallery,
        download=download,
    )


def connect_batch(studio: Studio, inputs: Inputs, batch: Batch, history: HistoryPanel) -> None:
    """Wire the buttons. Other visitors' runs come in between a batch's pictures: it is not in their queue."""
    runs = Runs()
    own = [batch.faces, batch.prompts, batch.styles]

    def begin(visit):
        busy = gr.update(interactive=False), gr.update(visible=True), status_line("Starting…")
        return *busy, gr.update(visible=False), visit or history.visits.enter()

    def run(data, visitor: gr.Request):
        values = {name: data[part] for name, part in inputs.parts.items()}
        folder, kept = data[history.visit].batch, {}

        def made(picture, likeness):
            kept.update(remember(studio, history, data[history.visit], [(picture, likeness)]))

        with shown_on_page(), runs.begin(visitor.session_hash) as wanted:
            try:
                jobs = plan(values, studio, *(data[part] for part in own))
                for status, pictures in make(studio, jobs, folder, wanted, made):
                    shown = {} if pictures is None else {batch.gallery: pictures}
                    yield {batch.status: status} | shown | kept
            except Exception as error:
                yield rest(folder) | {batch.status: problem_line(explain(error))}
                raise
            yield rest(folder)

    def rest(folder: Path):
        archive = pack(folder)
        return {
            batch.start: gr.update(interactive=True),
            batch.stop: gr.update(visible=False),
            batch.download: gr.update(value=archive and str(archive), visible=archive is not None),
        }

    def stop(visit, visitor: gr.Request):
        runs.cancel(visitor.session_hash)
        return rest(visit.batch) | {batch.status: STOPPED}

    at_rest = [batch.start, batch.stop, batch.download, batch.status]
    started = batch.start.click(
        begin,
        history.visit,
        [batch.start, batch.stop, batch.status, batch.download, history.visit],
        queue=False,
        **QUIET,
    )
    running = started.then(
        run,
        {*inputs.parts.values(), *own, history.visit},
        [*at_rest, batch.gallery, history.visit, history.latest],
        concurrency_id="batch",
        concurrency_limit=1,
        **QUIET,
    )
    batch.stop.click(stop, history.visit, at_rest, cancels=[running], queue=False, **QUIET)
