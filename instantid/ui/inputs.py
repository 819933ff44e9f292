"""The left column: what a run is made from, top to bottom in the order of use."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from ..request import Request
from .photos import face_check, photo_box
from .settings import build_advanced, build_controls, build_likeness, describe, slider
from .studio import Studio
from .style_picker import build_style_picker, connect_suggestion
from .words import FACE_HINT, POSE_HINT, STYLE_HINT


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The form.

    Args:
        fields: one component per field of Request, by its name.
        own: the page's own: "randomise", "size", "faces" and one "…_strength" per extra ControlNet.
    """

    fields: dict[str, Component]
    own: dict[str, Component]
    generate: gr.Button
    cancel: gr.Button


def build_inputs(studio: Studio) -> Inputs:
    """Lay out the form and connect what stays within it."""
    fields: dict[str, Component] = {}
    own: dict[str, Component] = {"faces": gr.State({})}
    with gr.Row(equal_height=False):
        fields["people"] = photo_box("people", FACE_HINT, several=True)
        fields["pose_image"] = photo_box("pose_image", POSE_HINT, several=False)
    face_check(studio, fields["people"], own["faces"])
    face_check(studio, fields["pose_image"], own["faces"])
    fields["prompt"] = gr.Textbox(
        "", placeholder="A photo of a person", lines=2, max_lines=6, elem_id="prompt", **describe("prompt")
    )
    with gr.Column(elem_classes="tight"):
        fields["style"], suggested = build_style_picker(studio)
    with gr.Column(visible=studio.style_reference):
        fields["style_image"] = photo_box("style_image", STYLE_HINT, several=False)
        fields["style_strength"] = slider("style_strength", step=0.05)
    with gr.Row():
        generate = gr.Button("Generate", variant="primary", size="lg", elem_id="generate", scale=3)
        cancel = gr.Button("Cancel", variant="secondary", size="lg", elem_id="cancel", visible=False, scale=1)
    fields |= build_likeness()
    fields["controls"], strengths = build_controls(studio)
    advanced, advanced_own = build_advanced(studio)
    fields |= advanced
    own |= strengths | advanced_own
    connect_suggestion(studio, fields["style"], suggested, fields)
    assert set(fields) == set(Request.model_fields)
    return Inputs(fields=fields, own=own, generate=generate, cancel=cancel)
