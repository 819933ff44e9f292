"""Choosing a style: a list to search by family or name, pictures to browse, strengths that suit it."""

import gradio as gr
from gradio.components import Component

from ..request import Request
from ..styles import NO_STYLE
from .studio import Studio
from .words import LABELS, START_STYLE


def build_style_picker(studio: Studio) -> tuple[gr.Dropdown, gr.Button]:
    """The list, and a button that puts in a style's suggested values (hidden for styles without)."""
    cards = sorted(
        (card for name, card in studio.styles.items() if name != NO_STYLE),
        key=lambda card: (card.family, card.name),
    )
    start = studio.begin_with(START_STYLE)
    style = gr.Dropdown(
        [(NO_STYLE, NO_STYLE), *((f"{card.family} · {card.name}", card.name) for card in cards)],
        value=start,
        label=LABELS["style"],
        info=f"{len(cards)} presets. Type to search, by family or name.",
        num_choices_shown=None,
        elem_id="style",
    )
    # Typing searches for the box's whole text, so what stands there must give way.
    style.focus(None, js="() => document.querySelector('#style input').select()")
    note = gr.Markdown(_describe(studio, start), elem_classes="hint", elem_id="style-note")
    suggested = gr.Button(_offer(studio, start), visible=bool(_suggested(studio, start)), size="sm")
    style.change(
        lambda name: (
            _describe(studio, name),
            gr.Button(_offer(studio, name), visible=bool(_suggested(studio, name))),
        ),
        style,
        [note, suggested],
        api_visibility="private",
        show_progress="hidden",
    )
    pictured = [card for card in cards if card.preview]
    if pictured:
        with gr.Accordion("Browse styles", open=False):
            browser = gr.Gallery(
                [(card.preview, card.name) for card in pictured],
                label="Styles",
                columns=4,
                height=320,
                allow_preview=False,
                interactive=False,
                buttons=[],
                elem_id="style-pictures",
            )

        def choose(event: gr.SelectData):
            return pictured[event.index].name

        browser.select(choose, None, style, api_visibility="private", show_progress="hidden")
    return style, suggested


def connect_suggestion(studio: Studio, style: Component, button: gr.Button, parts: dict[str, Component]):
    """Let `button` write the style's suggested values into the form."""
    names = [name for name in parts if any(name in card.suggested for card in studio.styles.values())]
    if names:
        button.click(
            lambda chosen: [_suggested(studio, chosen).get(name, gr.skip()) for name in names],
            style,
            [parts[name] for name in names],
            api_visibility="private",
            show_progress="hidden",
        )


def _suggested(studio: Studio, name: str) -> dict[str, float]:
    return dict(studio.styles[name].suggested) if name in studio.styles else {}


def _offer(studio: Studio, name: str) -> str:
    values = ", ".join(f"{_label(field)} {value:g}" for field, value in _suggested(studio, name).items())
    return f"Use this style's settings: {values}" if values else ""


def _label(field: str) -> str:
    assert field in Request.model_fields
    return LABELS[field].partition(" (")[0]


def _describe(studio: Studio, name: str) -> str:
    card = studio.styles.get(name)
    if card is None or name == NO_STYLE:
        return "The prompt is used exactly as you write it."
    return f"Your prompt becomes: {card.prompt.replace('{prompt}', '**your prompt**')}"
