"""The right column: how far a run is, what came out, and what can be done with it."""

import html
from dataclasses import dataclass

import gradio as gr

from ..request import Result, Step
from .studio import Studio


@dataclass(frozen=True, kw_only=True)
class Results:
    """The right column's components. `seeds` and `selected` are per session: seeds shown, picture chosen."""

    status: gr.HTML
    preview: gr.Image
    gallery: gr.Gallery
    actions: gr.Row
    download: gr.DownloadButton
    use_seed: gr.Button
    use_picture: gr.Button
    maps_box: gr.Column
    maps: gr.Gallery
    seeds: gr.State
    selected: gr.State


def build_results() -> Results:
    """Lay out the results; everything that has nothing to show yet is hidden."""
    status = gr.HTML(status_line("Add a face photo, say what to show, press Generate."), elem_id="status")
    preview = gr.Image(
        label="Preview",
        visible=False,
        interactive=False,
        height=480,
        format="jpeg",
        buttons=[],
        elem_id="preview",
    )
    gallery = gr.Gallery(
        label="Pictures",
        interactive=False,
        columns=2,
        height=480,
        object_fit="contain",
        buttons=["fullscreen"],
        elem_id="pictures",
    )
    with gr.Row(visible=False) as actions:
        download = gr.DownloadButton("Download PNG", elem_id="download", min_width=140)
        use_seed = gr.Button("Use this seed", elem_id="use-seed", min_width=140)
        use_picture = gr.Button("Use as start picture", elem_id="use-picture", min_width=140)
    with gr.Column(visible=False) as maps_box:
        maps = gr.Gallery(
            label="What the networks saw",
            interactive=False,
            columns=4,
            fit_columns=False,
            height=200,
            object_fit="contain",
            buttons=["fullscreen"],
            elem_id="maps",
        )
    return Results(
        status=status,
        preview=preview,
        gallery=gallery,
        actions=actions,
        download=download,
        use_seed=use_seed,
        use_picture=use_picture,
        maps_box=maps_box,
        maps=maps,
        seeds=gr.State([]),
        selected=gr.State(0),
    )


def status_line(text: str, detail: str = "", *, done: float | None = None) -> str:
    """HTML of the status: what happens, a quieter detail, and a bar where `done` (0…1) is known."""
    bar = "" if done is None else f'<progress max="1" value="{done:.3f}" aria-label="Progress"></progress>'
    quiet = f'<span class="detail">{html.escape(detail)}</span>' if detail else ""
    return f'<div class="status" role="status"><div>{html.escape(text)} {quiet}</div>{bar}</div>'


def problem_line(text: str) -> str:
    """HTML of the status after a run that failed."""
    return f'<div class="status"><div class="notice warning">{html.escape(text)}</div></div>'


def progress_line(step: Step, seconds_left: float | None) -> str:
    """HTML of the status while a run is on its way: what goes on, and how far it is once steps are done.

    The time left is known from the second step on.
    """
    if not step.step:
        return status_line(f"{step.note or 'Starting'}…")
    left = "" if seconds_left is None else f"· {duration(seconds_left)} left"
    doing = f"{step.note} · step" if step.note else "Step"
    return status_line(f"{doing} {step.step} of {step.total}", left, done=step.step / step.total)


def done_line(result: Result) -> str:
    """HTML of the status once the pictures are there, with what did not go as one might expect."""
    request = result.request
    width, height = result.images[0].size  # the request's are those before a further pass made it larger
    size = f"{width}×{height}"
    settings = f"{size} · {request.steps} steps · {request.scheduler} · CFG {request.guidance_scale:g}"
    told = "".join(f'<div class="notice" role="note">{html.escape(note)}</div>' for note in result.notes)
    return status_line(f"Done in {duration(result.timings['total'])}", f"· {settings}") + told


def captions(result: Result, studio: Studio) -> list[str]:
    """One line per picture: its seed, how alike its face is, and whether the weights are untrained."""
    likeness = result.likeness or [None] * len(result.images)
    untrained = " · untrained weights" if studio.untrained else ""
    return [
        f"seed {seed}{_likeness(value, result, studio)}{untrained}"
        for seed, value in zip(result.seeds, likeness)
    ]


def _likeness(value: float | None, result: Result, studio: Studio) -> str:
    if result.likeness is None:
        return ""
    if value is None:
        return " · no face found in it"
    scale = f" ({studio.likeness_scale})" if studio.likeness_scale else ""
    return f" · likeness {value:.2f}{scale}"


def duration(seconds: float) -> str:
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole} s" if whole < 60 else f"{whole // 60} min {whole % 60:02d} s"
