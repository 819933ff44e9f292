"""One cell large: its settings, likeness and time; two beside each other; and its settings back in the form."""

import html
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gradio as gr

from ..compare import Outcome
from ..request import Request
from ..styles import NO_STYLE
from .compare_group import COMPARING, TO_COMPARE, Compare
from .compare_run import Made, table_of
from .form import BASICS, PLAIN
from .inputs import Inputs
from .photos import notice
from .problems import shown_on_page
from .refill import refill
from .results import duration
from .side_by_side import side_by_side
from .studio import Studio

QUIET = {"api_visibility": "private", "show_progress": "hidden"}
SHOW_FORM = "() => document.querySelector('#prompt-group').scrollIntoView({behavior: 'smooth'})"
SHOW_ZOOM = (
    "() => document.querySelector('#compare-zoom')?.scrollIntoView({behavior: 'smooth', block: 'nearest'})"
)
IN_FORM = "The form above holds the settings of this cell."
CHOOSE_ANOTHER = "Now choose another cell: it is laid beside this one."
# What the form holds as it is, and a cell tells in words of its own, or not at all. Whatever else it so holds is told
# by its name, where it is not as it always is.
APART = {*BASICS, "images"}


def connect_zoom(studio: Studio, inputs: Inputs, compare: Compare) -> None:
    """Wire the table's cells and what can be done with them."""
    zoom, parts = compare.zoom, inputs.parts
    shown = [zoom.column, zoom.about, zoom.picture, zoom.slider, zoom.pin, zoom.download, zoom.said]

    def choose(made: Made | None, event: gr.EventData):
        at = tuple(event.at)
        if made is None or at not in made.outcomes:  # of a comparison that is gone
            return dict.fromkeys(shown, gr.skip())
        made.chosen = at
        return look_at(compare, made)

    def pin(made: Made, details):
        made.pinned = None if made.pinned else made.chosen
        said = notice(CHOOSE_ANOTHER) if made.pinned else ""
        return look_at(compare, made) | {zoom.said: said, compare.table: table_of(made, details)}

    def use(data):
        made: Made = data[compare.made]
        with shown_on_page():
            request = made.outcomes[made.chosen].cell.request
            return fill_form(parts, request, studio, data) | {zoom.said: notice(IN_FORM)}

    compare.table.choose(choose, compare.made, shown, **QUIET).then(None, js=SHOW_ZOOM)
    zoom.pin.click(pin, [compare.made, compare.details], [*shown, compare.table], **QUIET)
    zoom.use.click(use, {*parts.values(), compare.made}, [*parts.values(), zoom.said], **QUIET).then(
        None, js=SHOW_FORM
    )


def look_at(compare: Compare, made: Made) -> dict[Any, Any]:
    """The chosen cell large; beside the pinned one, where there is another."""
    zoom, outcome = compare.zoom, made.outcomes.get(made.chosen)
    if outcome is None:
        return {zoom.column: gr.update(visible=False)}
    pinned = made.outcomes.get(made.pinned)
    two = pinned if pinned is not None and made.pinned != made.chosen and outcome.there else None
    path = str(outcome.path) if outcome.there else None
    pair, fitted = side_by_side(two.path, outcome.path) if two else (None, "")
    return {
        zoom.column: gr.update(visible=True),
        zoom.about: fitted + _beside(two, outcome) if two else describe(outcome),
        zoom.picture: gr.update(value=path, visible=not two and outcome.there),
        zoom.slider: gr.update(value=pair, visible=two is not None),
        zoom.pin: gr.update(value=COMPARING if made.pinned else TO_COMPARE, visible=outcome.there),
        zoom.download: gr.update(value=path, visible=outcome.there),
        zoom.said: "",
    }


def fill_form(parts: Mapping[str, Any], request: Request, studio: Studio, data: Mapping[Any, Any]) -> dict:
    """Updates of the form's components, so that it asks for `request`."""
    values = {name: data[part] for name, part in parts.items()}
    return {parts[name]: value for name, value in refill(request, studio, values).items()}


def describe(outcome: Outcome) -> str:
    """HTML: which cell it is, how it came out, and the settings it was made with."""
    head = f"<h3>{html.escape(outcome.cell.name)}</h3>"
    if outcome.error:
        return head + notice(outcome.error, warning=True)
    rows = {**_measured(outcome), **_settings(outcome.cell.request)}
    return head + _list(rows)


def _beside(left: Outcome, right: Outcome) -> str:
    """What differs between two cells."""
    both = [{**_measured(each), **_settings(each.cell.request)} for each in (left, right)]
    rows = {
        name: f"{both[0].get(name, '–')} → {both[1].get(name, '–')}"
        for name in both[0] | both[1]
        if both[0].get(name) != both[1].get(name)
    }
    names = [
        f"<strong>{side}:</strong> {html.escape(each.cell.name)}"
        for side, each in (("A", left), ("B", right))
    ]
    return f"<h3>Side by side</h3><p>{'<br>'.join(names)}</p>" + _list(rows)


def _measured(outcome: Outcome) -> dict[str, str]:
    told = {} if outcome.likeness is None else {"Likeness": f"{outcome.likeness:.2f}"}
    return told | ({} if outcome.seconds is None else {"Made in": duration(outcome.seconds)})


def _settings(request: Request) -> dict[str, str]:
    """In words, without what is as it always is."""
    size = f"{request.width or 'as the photo'} × {request.height or 'as the photo'}"
    controls = ", ".join(f"{name} {control.strength:g}" for name, control in request.controls.items())
    told: dict[str, Any] = {
        "Face photo": _named(request),
        "Prompt": request.prompt,
        "Negative prompt": request.negative_prompt,
        "Style": request.style or NO_STYLE,
        "Seed": request.seed,
        "Recipe": request.recipe,
        "Steps": request.steps,
        "CFG": request.guidance_scale,
        "Scheduler": request.scheduler,
        "IdentityNet strength": request.identity_strength,
        "Image adapter strength": request.adapter_strength,
        "Controls": controls,
        "LoRAs": ", ".join(f"{Path(lora.source).name} {lora.strength:g}" for lora in request.loras),
        "Size": size if request.width or request.height else "",
    }
    told |= {
        name.replace("_", " ").capitalize(): getattr(request, name)
        for name, field in type(request).model_fields.items()
        if name in PLAIN and name not in APART and getattr(request, name) != field.default
    }
    return {
        name: f"{value:g}" if isinstance(value, float) else str(value)
        for name, value in told.items()
        if value not in (None, "")
    }


def _named(request: Request) -> str:
    images = [getattr(each, "image", None) for each in request.people[0].references]
    return ", ".join(image.name for image in images if isinstance(image, Path))


def _list(rows: Mapping[str, str]) -> str:
    told = "".join(
        f"<dt>{html.escape(name)}</dt><dd>{html.escape(value)}</dd>" for name, value in rows.items()
    )
    return f'<dl class="settings">{told}</dl>'
