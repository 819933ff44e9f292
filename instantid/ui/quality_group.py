"""How well and how fast: recipe, steps, guidance, sampler, seed, size, number, further passes."""

import gradio as gr
from gradio.components import Component

from ..request import FOLLOW_RECIPE, Request
from .fields import checkbox, choice, describe, slider
from .studio import Studio
from .words import CHOSEN_SIZE, FOLLOW_PHOTO, NO_RECIPE


def build_quality(studio: Studio) -> dict[str, Component]:
    """Lay the group out and let steps, guidance and sampler follow the recipe."""
    parts: dict[str, Component] = {}
    with gr.Accordion("Quality", open=False, elem_id="quality", elem_classes="group"):
        if studio.recipes:
            parts["recipe"] = gr.Dropdown(
                [NO_RECIPE, *studio.recipes], value=NO_RECIPE, elem_id="recipe", **describe("recipe")
            )
            when = gr.Markdown("", visible=False, elem_classes="hint")
        parts |= _build_sampling(studio)
        parts["images"] = slider("images", step=1)
        parts |= _build_seed()
        parts |= _build_size(studio)
        with gr.Accordion("Larger, and small faces", open=False, elem_id="passes"):
            parts |= _build_passes()
        with gr.Accordion("Against burnt colours and watermarks", open=False, elem_id="remedies"):
            for name in ("cfg_rescale", "negative_noise", "perturbed_negative"):
                parts[name] = slider(name, step=0.05)
            parts["off_size"] = checkbox("off_size")
    if studio.recipes:
        parts["recipe"].input(
            lambda name: [*_values(studio, name), _when(studio, name)],
            parts["recipe"],
            [*(parts[name] for name in FOLLOW_RECIPE), when],
            api_visibility="private",
            show_progress="hidden",
        )
    return parts


def _values(studio: Studio, recipe: str) -> list[float | str]:
    """Of FOLLOW_RECIPE: the recipe's, or the bundle's own where none is chosen."""
    chosen = studio.recipes.get(recipe, studio.defaults)
    return [chosen[name] for name in FOLLOW_RECIPE]


def _when(studio: Studio, recipe: str) -> gr.Markdown:
    text = studio.recipes.get(recipe, {}).get("when", "")
    return gr.Markdown(text, visible=bool(text))


def _build_sampling(studio: Studio) -> dict[str, Component]:
    return {
        "steps": slider("steps", studio.defaults["steps"], step=1, elem_id="steps"),
        "guidance_scale": slider("guidance_scale", studio.defaults["guidance_scale"], step=0.1),
        "scheduler": gr.Dropdown(
            list(studio.schedulers),
            value=studio.defaults["scheduler"],
            elem_id="scheduler",
            **describe("scheduler"),
        ),
    }


def _build_seed() -> dict[str, Component]:
    with gr.Row():
        return {
            "seed": gr.Number(
                Request.model_fields["seed"].default, precision=0, elem_id="seed", **describe("seed")
            ),
            "randomise": gr.Checkbox(
                True,
                label="Randomise seed",
                info="Each run takes a new one and shows it.",
                elem_id="randomise",
            ),
        }


def _build_size(studio: Studio) -> dict[str, Component]:
    parts: dict[str, Component] = {
        "size": gr.Radio(
            [FOLLOW_PHOTO, CHOSEN_SIZE],
            value=FOLLOW_PHOTO,
            label="Size",
            info="Following keeps the shape of the start picture, the pose photo, or the first face photo.",
        )
    }
    grid = studio.defaults["grid"]
    with gr.Row(visible=False) as sides:
        # No minimum or maximum: Gradio's own message would name the value but not the field.
        for side in ("width", "height"):
            parts[side] = gr.Number(
                studio.defaults[side],
                precision=0,
                step=grid,
                min_width=120,
                **describe(side) | {"info": f"Pixels, a multiple of {grid}."},
            )
    parts["size"].change(
        lambda size: gr.Row(visible=size == CHOSEN_SIZE),
        parts["size"],
        sides,
        api_visibility="private",
        show_progress="hidden",
    )
    return parts


def _build_passes() -> dict[str, Component]:
    parts: dict[str, Component] = {"upscale": slider("upscale", step=0.05)}
    with gr.Column(visible=False) as upscaling:
        parts["upscale_strength"] = slider("upscale_strength", step=0.05)
        parts["upscale_by"] = choice("upscale_by")
    parts["face_detail"] = checkbox("face_detail")
    with gr.Column(visible=False) as detailing:
        parts["face_detail_strength"] = slider("face_detail_strength", step=0.05)
    quiet = {"api_visibility": "private", "show_progress": "hidden"}
    parts["upscale"].change(lambda times: gr.Column(visible=times > 1), parts["upscale"], upscaling, **quiet)
    parts["face_detail"].change(lambda on: gr.Column(visible=on), parts["face_detail"], detailing, **quiet)
    return parts
