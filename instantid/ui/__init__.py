"""The page, in Gradio. It is given callables and data (`Studio`) and never imports the engine."""

import html
from dataclasses import replace

import gradio as gr

from .api import connect_api
from .batch_group import build_batch, connect_batch
from .compare_group import build_compare
from .compare_wiring import connect_compare
from .examples import build_examples
from .history import build_history
from .history_drop import build_restore, connect_restore
from .history_events import connect_history
from .inputs import build_inputs
from .look import launch_options
from .pace import Pace
from .photos import notice
from .results import build_results
from .run import connect_run
from .studio import Example, Studio
from .visits import Visits
from .words import TIPS

__all__ = ["Example", "Studio", "build_ui", "launch_options"]

UNTRAINED = (
    "These weights are untrained: every control works, but the pictures are abstract and show no likeness. "
    "For real pictures: python -m instantid fetch --bundle sdxl"
)


def build_ui(studio: Studio) -> gr.Blocks:
    """Build the page. Launch it with `launch(**launch_options(studio))`."""
    pace = Pace()
    studio = replace(studio, generate=pace.measured(studio.generate))

    def show_banner():
        for line in studio.banner():
            yield _masthead(studio, line)

    with gr.Blocks(
        title=studio.title,
        analytics_enabled=False,
        delete_cache=(3600, 6 * 3600),  # uploads and results are people's faces: they do not stay
    ) as page:
        masthead = gr.HTML(_masthead(studio, "…"), elem_id="masthead")
        with gr.Row(equal_height=False):
            with gr.Column(scale=1, min_width=340):
                inputs = build_inputs(studio)
            with gr.Column(scale=1, min_width=340):
                results = build_results()
                restore = build_restore()
                build_examples(studio, inputs)
                with gr.Accordion("Tips", open=True):
                    gr.Markdown(TIPS)
        compare = build_compare(studio)
        batch = build_batch(studio)
        history = build_history(studio, Visits())
        page.load(
            show_banner,
            None,
            masthead,
            api_visibility="private",
            show_progress="hidden",
            concurrency_limit=None,  # every visitor waits for the model on their own
        )
        connect_run(studio, inputs, results, history)
        opened = connect_history(studio, history)
        connect_compare(studio, inputs, compare, history, pace, opened)
        connect_batch(studio, inputs, batch, history)
        connect_restore(studio, inputs, results, history, restore)
        connect_api(studio, inputs)
    return page.queue(max_size=32)


def _masthead(studio: Studio, banner: str) -> str:
    told = (
        notice(UNTRAINED, warning=True) if studio.untrained else notice(studio.about) if studio.about else ""
    )
    return (
        f'<div class="bar"><div><h1>{html.escape(studio.title)}</h1>'
        "<p>One photo of a face becomes any picture of that person.</p></div>"
        f'<span class="bundle">{html.escape(banner)}</span></div>{told}'
    )
