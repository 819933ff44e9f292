"""One component for one field of a model: label, help, limits and start are the field's own."""

from typing import Any, get_args

import gradio as gr

from ..people import Frozen
from ..request import Control, Request, limits
from .words import CONTROL_LABELS, LABELS


def describe(field: str, model: type[Frozen] = Request) -> dict[str, Any]:
    """Label and info line of a field's component."""
    labels = CONTROL_LABELS if model is Control else LABELS
    return {"label": labels[field], "info": model.model_fields[field].description}


def slider(field: str, value: float | None = None, *, step: float, **more: Any) -> gr.Slider:
    """A slider over a number field's limits, at `value` or else the field's default."""
    low, high = limits(field)
    start = Request.model_fields[field].default if value is None else value
    return gr.Slider(low, high, start, step=step, **(describe(field) | more))


def checkbox(field: str, **more: Any) -> gr.Checkbox:
    """A tick for a yes-or-no field, at its default."""
    return gr.Checkbox(Request.model_fields[field].default, **(describe(field) | more))


def choice(field: str, **more: Any) -> gr.Radio:
    """One of the words that a field takes, at its default."""
    info = Request.model_fields[field]
    return gr.Radio(list(get_args(info.annotation)), value=info.default, **(describe(field) | more))
