"""The left column: what a run is made from, top to bottom in the order of use."""

from dataclasses import dataclass

import gradio as gr
from gradio.components import Component

from ..people import STRENGTHS
from .fields import checkbox, slider
from .people import build_people
from .places import connect_places
from .pose_group import build_pose
from .prompt_group import build_prompt
from .quality_group import build_quality
from .start_group import build_start
from .studio import Studio
from .style_picker import connect_suggestion
from .weights_group import build_weights


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The form.

    Args:
        parts: components by name: that of the field of Request which they hold, where it is one component's.
        start_group: holds the start picture; opened when a result becomes it.
    """

    parts: dict[str, Component]
    generate: gr.Button
    cancel: gr.Button
    start_group: gr.Accordion


def build_inputs(studio: Studio) -> Inputs:
    """Lay out the form and connect what stays within it. What the bundle lacks is left out."""
    with gr.Accordion("People", open=True, elem_id="people-group", elem_classes="group"):
        people = build_people(studio)
        parts = people.components | _build_likeness(studio)
    prompt, suggested = build_prompt(studio)
    parts |= prompt
    with gr.Row(elem_id="actions"):
        generate = gr.Button("Generate", variant="primary", size="lg", elem_id="generate", scale=3)
        cancel = gr.Button("Cancel", variant="secondary", size="lg", elem_id="cancel", visible=False, scale=1)
    parts |= build_pose(studio, people)
    start, start_group = build_start()
    parts |= start | build_quality(studio) | build_weights(studio)
    connect_places(studio, parts)
    connect_suggestion(studio, parts["style"], suggested, parts)
    return Inputs(parts=parts, generate=generate, cancel=cancel, start_group=start_group)


def _build_likeness(studio: Studio) -> dict[str, Component]:
    """How strongly the faces steer."""
    with gr.Accordion("Likeness", open=False, elem_id="likeness"):
        sliders = {name: slider(name, studio.defaults[name], step=0.05) for name in STRENGTHS}
        if studio.faceid:
            sliders["faceid_strength"] = slider("faceid_strength", step=0.05)
        return sliders | {"face_region": checkbox("face_region")}
