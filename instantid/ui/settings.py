"""Strengths, extra ControlNets and the advanced settings: sliders that read limits and help from Request."""

from typing import Any

import gradio as gr
from gradio.components import Component

from ..request import Request, limits
from .studio import Studio
from .words import CHOSEN_SIZE, CONTROL_INFOS, FOLLOW_PHOTO, LABELS, STARTS


def describe(field: str) -> dict[str, Any]:
    """Label and info line of a field's component."""
    return {"label": LABELS[field], "info": Request.model_fields[field].description}


def slider(field: str, value: float | None = None, *, step: float, **more: Any) -> gr.Slider:
    """A slider over a number field's limits, at `value` or else the field's default."""
    low, high = limits(field)
    start = Request.model_fields[field].default if value is None else value
    return gr.Slider(low, high, start, step=step, **describe(field), **more)


def build_likeness() -> dict[str, Component]:
    """How strongly the face steers, by field of Request."""
    with gr.Group():
        return {
            "identity_strength": slider("identity_strength", step=0.05),
            "adapter_strength": slider("adapter_strength", step=0.05),
            "face_region": gr.Checkbox(
                Request.model_fields["face_region"].default, **describe("face_region")
            ),
        }


def build_controls(studio: Studio) -> tuple[Component, dict[str, Component]]:
    """The choice of extra ControlNets, and a strength for each that shows while it is ticked."""
    start = [STARTS["controls"]] if STARTS["controls"] in studio.controls else []
    with gr.Group(visible=bool(studio.controls)):
        choice = gr.CheckboxGroup(list(studio.controls), value=start, **describe("controls"))
        strengths = {
            f"{name}_strength": gr.Slider(
                *limits("controls"),
                STARTS["control_strength"],
                step=0.05,
                label=f"{name.capitalize()} strength",
                info=CONTROL_INFOS[name],
                visible=name in start,
            )
            for name in studio.controls
        }
    if strengths:
        choice.change(
            lambda ticked: [gr.Slider(visible=name in ticked) for name in studio.controls],
            choice,
            list(strengths.values()),
            api_visibility="private",
            show_progress="hidden",
        )
    return choice, strengths


def build_advanced(studio: Studio) -> tuple[dict[str, Component], dict[str, Component]]:
    """What most people leave alone: (by field of Request, the page's own)."""
    fields: dict[str, Component] = {}
    own: dict[str, Component] = {}
    with gr.Accordion("Advanced", open=False, elem_id="advanced"):
        fields["negative_prompt"] = gr.Textbox(
            studio.default_negative, lines=3, max_lines=6, **describe("negative_prompt")
        )
        fields["steps"] = slider("steps", studio.defaults["steps"], step=1)
        fields["guidance_scale"] = slider("guidance_scale", studio.defaults["guidance_scale"], step=0.1)
        start = STARTS["scheduler"] if STARTS["scheduler"] in studio.schedulers else studio.schedulers[0]
        fields["scheduler"] = gr.Dropdown(list(studio.schedulers), value=start, **describe("scheduler"))
        with gr.Row():
            fields["seed"] = gr.Number(
                Request.model_fields["seed"].default, precision=0, elem_id="seed", **describe("seed")
            )
            own["randomise"] = gr.Checkbox(
                True,
                label="Randomise seed",
                info="Each run takes a new one and shows it.",
                elem_id="randomise",
            )
        own["size"] = gr.Radio(
            [FOLLOW_PHOTO, CHOSEN_SIZE],
            value=FOLLOW_PHOTO,
            label="Size",
            info="Following keeps the shape of the pose photo, or else of the first face photo.",
        )
        with gr.Row(visible=False) as sides:
            # No minimum or maximum: Gradio's own message would name the value but not the field.
            for side in ("width", "height"):
                fields[side] = gr.Number(
                    studio.defaults[side], precision=0, step=8, min_width=120, **describe(side)
                )
        own["size"].change(
            lambda size: gr.Row(visible=size == CHOSEN_SIZE),
            own["size"],
            sides,
            api_visibility="private",
            show_progress="hidden",
        )
        fields["images"] = slider("images", step=1)
    return fields, own
