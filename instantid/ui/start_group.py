"""Starting from a picture: how much of it changes, and which part (all of it, the face, a painted mask)."""

import gradio as gr
from gradio.components import Component
from PIL import EpsImagePlugin

from .fields import choice, describe, slider
from .photos import paths_of, photo_box
from .words import START_HINT

BRUSH = "#0d9488"  # seen on light and dark photos alike; what counts is where it went, not its colour


def build_start() -> tuple[dict[str, Component], gr.Accordion]:
    """Lay the group out: (components by name, the group, to be opened from elsewhere)."""
    parts: dict[str, Component] = {}
    # The mask's picture is opened by Gradio, with all that Pillow knows: EPS would start Ghostscript on an upload.
    EpsImagePlugin.gs_binary = False
    with gr.Accordion("Start picture", open=False, elem_id="start-group", elem_classes="group") as group:
        parts["start_image"] = photo_box("start_image", START_HINT, several=False)
        parts["start_strength"] = slider("start_strength", step=0.05)
        parts["repaint"] = choice("repaint", elem_id="repaint")
        with gr.Column(visible=False) as painting:
            about = describe("repaint_mask")
            parts["repaint_mask"] = gr.ImageEditor(
                label=about["label"],
                type="pil",
                image_mode="RGBA",
                sources=[],
                transforms=[],
                layers=False,
                brush=gr.Brush(default_size=40, colors=[BRUSH], color_mode="fixed"),
                buttons=["fullscreen"],
                height=420,
                elem_id="repaint-mask",
            )
            gr.Markdown("Paint over what is to be made anew.", elem_classes="hint")
    for trigger in (parts["repaint"].change, parts["start_image"].change):
        trigger(
            lambda repaint, picture: (gr.Column(visible=repaint == "mask"), _background(repaint, picture)),
            [parts["repaint"], parts["start_image"]],
            [painting, parts["repaint_mask"]],
            api_visibility="private",
            show_progress="hidden",
        )
    return parts, group


def _background(repaint: str, picture: list | None):
    """The start picture under a mask that is still empty."""
    paths = paths_of(picture)
    if repaint != "mask" or not paths:
        return None
    return {"background": str(paths[-1]), "layers": [], "composite": None}
