"""Weights that people already have: LoRAs with strengths, textual inversions, another checkpoint or VAE."""

from collections.abc import Mapping

import gradio as gr
from annotated_types import MaxLen
from gradio.components import Component

from ..request import Lora, Request, limits
from .fields import describe
from .form import KINDS, uploaded
from .studio import Studio
from .words import WEIGHTS_HINT

NONE, BUNDLES_OWN = [("(None)", "")], [("(The bundle's own)", "")]
SLOTS = next(rule.max_length for rule in Request.model_fields["loras"].metadata if isinstance(rule, MaxLen))


def build_weights(studio: Studio) -> dict[str, Component]:
    """Lay the group out; {} where only the bundle's own weights can be had."""
    if studio.weights is None:
        return {}
    parts: dict[str, Component] = {}
    typed = {"allow_custom_value": studio.open_weights, "interactive": True}
    with gr.Accordion("Weights", open=False, elem_id="weights", elem_classes="group"):
        gr.Markdown(WEIGHTS_HINT, elem_classes="hint")
        if studio.open_weights:
            gr.Markdown("Names, paths, and places on the hub (owner/repo) can be typed.", elem_classes="hint")
        rows = [_build_lora(i, parts, typed) for i in range(1, SLOTS + 1)]
        parts["textual_inversions"] = gr.Dropdown(
            [], multiselect=True, **typed, **describe("textual_inversions")
        )
        for name in ("base", "vae"):
            parts[name] = gr.Dropdown(BUNDLES_OWN, value="", **typed, **describe(name))
        parts["weight_files"] = gr.File(
            label="Your own files",
            file_count="multiple",
            file_types=[".safetensors"],
            height=120,
            elem_id="weight-files",
        )
        gr.Markdown("Once uploaded, they can be chosen above.", elem_classes="hint")
    _reveal(rows, parts)
    _connect_choices(studio, parts)
    return parts


def _build_lora(number: int, parts: dict[str, Component], typed: dict) -> gr.Row:
    with gr.Row(visible=number == 1) as row:
        parts[f"lora_{number}"] = gr.Dropdown(
            NONE,
            value="",
            label=f"LoRA {number}",
            info="A style or subject laid over the base model.",
            min_width=180,
            elem_id=f"lora-{number}",
            **typed,
        )
        parts[f"lora_{number}_strength"] = gr.Slider(
            *limits("strength", Lora),
            Lora.model_fields["strength"].default,
            step=0.05,
            label=f"LoRA {number} strength",
            info=Lora.model_fields["strength"].description,
            min_width=180,
        )
    return row


def _reveal(rows: list[gr.Row], parts: dict[str, Component]) -> None:
    """Show the next row once one is used."""
    boxes = [parts[f"lora_{i}"] for i in range(1, SLOTS + 1)]

    def show(*chosen: str):
        used = max((i for i, name in enumerate(chosen) if name), default=-1)
        return [gr.Row(visible=i <= used + 1) for i in range(1, SLOTS)]

    gr.on(
        [box.change for box in boxes], show, boxes, rows[1:], api_visibility="private", show_progress="hidden"
    )


def _connect_choices(studio: Studio, parts: dict[str, Component]) -> None:
    """Fill the lists when the page is opened, and again when a file has been uploaded."""
    boxes = [*(f"lora_{i}" for i in range(1, SLOTS + 1)), "textual_inversions", "base", "vae"]

    def offer(files: list[str] | None):
        names = _names(studio.weights(), files)
        return [gr.Dropdown(choices=_choices(box, names)) for box in boxes]

    gr.on(
        None,  # when the page is opened, and when its input changes
        offer,
        parts["weight_files"],
        [parts[name] for name in boxes],
        api_visibility="private",
        show_progress="hidden",
        concurrency_limit=None,
    )


def _names(offered: Mapping[str, list[str]], files: list[str] | None) -> dict[str, list[str]]:
    own = list(uploaded(files))
    return {kind: own + list(offered.get(kind, ())) for kind in KINDS.values()}


def _choices(box: str, names: Mapping[str, list[str]]) -> list[tuple[str, str]]:
    field = "loras" if box.startswith("lora_") else box
    first = {"loras": NONE, "textual_inversions": []}.get(field, BUNDLES_OWN)
    return first + [(name, name) for name in names[KINDS[field]]]
