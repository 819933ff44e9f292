"""Where things go: the faces placed by hand, extra ControlNets with strength, window and map, a free pose."""

import gradio as gr
from gradio.components import Component

from ..request import Control, limits
from .fields import checkbox, describe
from .people import People
from .photos import photo_box
from .places import build_places
from .studio import Studio
from .words import CONTROL_INFOS, CONTROL_LABELS, MAP_HINT, MAP_NEEDED


def build_pose(studio: Studio, people: People) -> dict[str, Component]:
    """Lay the group out."""
    parts: dict[str, Component] = {}
    with gr.Accordion("Pose and control", open=True, elem_id="pose-group", elem_classes="group"):
        parts |= build_places(studio, people)
        if studio.controls:
            parts |= _build_controls(studio)
        parts["free_pose"] = checkbox("free_pose", elem_id="free-pose")
    count = people.components["people_count"]
    count.change(  # several need their places: Request refuses it then
        lambda number: gr.update(visible=True) if number == 1 else gr.update(visible=False, value=False),
        count,
        parts["free_pose"],
        api_visibility="private",
        show_progress="hidden",
    )
    return parts


def start_controls(studio: Studio) -> list[str]:
    """The extra ControlNets that are on at first: those that the studio wants, where their maps can be read."""
    return [name for name in studio.first_controls if name in studio.controls and studio.reads(name)]


def _build_controls(studio: Studio) -> dict[str, Component]:
    start = start_controls(studio)
    parts: dict[str, Component] = {
        "controls": gr.CheckboxGroup(list(studio.controls), value=start, **describe("controls"))
    }
    rows = []
    for name in studio.controls:
        with gr.Column(visible=name in start, elem_classes="control") as row:
            parts |= _build_control(name, studio.control_strength, studio.reads(name))
        rows.append(row)
    parts["controls"].change(
        # A dict, because of a list Gradio would make one value where there is one control alone.
        lambda ticked: {row: gr.Column(visible=name in ticked) for name, row in zip(studio.controls, rows)},
        parts["controls"],
        rows,
        api_visibility="private",
        show_progress="hidden",
    )
    return parts


def _build_control(name: str, strength: float, readable: bool) -> dict[str, Component]:
    title = name.capitalize()
    parts: dict[str, Component] = {
        f"{name}_strength": gr.Slider(
            *limits("strength", Control),
            strength,
            step=0.05,
            label=f"{title} {CONTROL_LABELS['strength']}",
            info=CONTROL_INFOS[name],
        )
    }
    if not readable:
        parts[f"{name}_map"] = _map_box(name, MAP_NEEDED)
    with gr.Accordion(f"{title}: when it acts" + (", and its map" if readable else ""), open=False):
        with gr.Row():
            for side in ("start", "end"):
                about = describe(side, Control)
                parts[f"{name}_{side}"] = gr.Slider(
                    0,
                    1,
                    Control.model_fields[side].default,
                    step=0.05,
                    min_width=140,
                    label=f"{title} {about['label']}",
                    info=about["info"],
                )
        if readable and name == "canny":
            with gr.Row():
                for side in ("low", "high"):
                    parts[f"canny_{side}"] = gr.Slider(
                        *limits(side, Control),
                        Control.model_fields[side].default,
                        step=5,
                        min_width=140,
                        **describe(side, Control),
                    )
        if readable:
            parts[f"{name}_map"] = _map_box(name, MAP_HINT)
    return parts


def _map_box(name: str, hint: str) -> gr.Gallery:
    label = f"{name.capitalize()}: {CONTROL_LABELS['map']}"
    return photo_box(f"{name}_map", hint, several=False, label=label)
