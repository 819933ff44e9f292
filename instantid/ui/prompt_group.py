"""What the picture shows and how it looks: prompt, style preset, style picture."""

import gradio as gr
from gradio.components import Component

from .fields import choice, describe, slider
from .photos import photo_box
from .studio import Studio
from .style_picker import build_style_picker
from .words import LAYOUT_HINT, STYLE_HINT


def build_prompt(studio: Studio) -> tuple[dict[str, Component], gr.Button]:
    """Lay the group out: (components by name, the button that puts a style's suggested values in)."""
    parts: dict[str, Component] = {}
    with gr.Accordion("Prompt and style", open=True, elem_id="prompt-group", elem_classes="group"):
        parts["prompt"] = gr.Textbox(
            "",
            placeholder="A photo of a person",
            lines=2,
            max_lines=6,
            elem_id="prompt",
            **describe("prompt"),
        )
        with gr.Column(elem_classes="tight"):
            parts["style"], suggested = build_style_picker(studio)
        if studio.style_reference:
            with gr.Accordion("Style picture", open=False, elem_id="style-picture"):
                parts |= _build_style_picture()
        with gr.Accordion("Negative prompt", open=False, elem_id="negative"):
            parts["negative_prompt"] = gr.Textbox(
                studio.default_negative, lines=3, max_lines=6, **describe("negative_prompt")
            )
    return parts, suggested


def _build_style_picture() -> dict[str, Component]:
    parts: dict[str, Component] = {}
    parts["style_image"] = photo_box("style_image", STYLE_HINT, several=False)
    parts["style_mode"] = choice("style_mode")
    parts["style_strength"] = slider("style_strength", step=0.05)
    with gr.Accordion("A second picture for the layout", open=False):
        parts["layout_image"] = photo_box("layout_image", LAYOUT_HINT, several=False)
    parts["style_content"] = gr.Textbox("", placeholder="a cat", **describe("style_content"))
    parts["style_content_strength"] = slider("style_content_strength", step=0.05)
    return parts
