"""Generate, Cancel, and what follows a run."""

import gradio as gr

from .history import HistoryPanel, remember
from .inputs import Inputs
from .problems import shown_on_page
from .results import Results
from .runs import Runs
from .studio import Studio
from .updates import CANCELLED, busy, idle, page_updates

GPU = {"concurrency_id": "gpu", "concurrency_limit": 1}
SHOW_START = "() => document.querySelector('#start-group').scrollIntoView({behavior: 'smooth'})"
SHOW_STATUS = """() => {
  const status = document.querySelector('#status'), place = status.getBoundingClientRect();
  if (place.top < 0 || place.bottom > innerHeight) status.scrollIntoView({behavior: 'smooth'});
}"""
QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def connect_run(studio: Studio, inputs: Inputs, results: Results, history: HistoryPanel) -> None:
    """Wire the buttons. A waiting run is taken out of Gradio's queue, a running one is told to end."""
    names = inputs.parts
    runs = Runs()

    def run_form(data, visitor: gr.Request):
        values = {name: data[component] for name, component in names.items()}
        with shown_on_page(), runs.begin(visitor.session_hash) as wanted:

            def made(result, files):
                likeness = result.likeness or [None] * len(files)
                return remember(studio, history, data[history.visit], list(zip(files, likeness)))

            yield from page_updates(studio, values, inputs, results, wanted, made)

    def cancel(visitor: gr.Request):
        runs.cancel(visitor.session_hash)
        return idle(inputs, results, CANCELLED)

    asked = [inputs.generate.click, inputs.parts["prompt"].submit]
    gr.on(asked, None, js=SHOW_STATUS)  # on a phone the results lie far below
    started = gr.on(
        asked,
        busy,
        None,
        [inputs.generate, inputs.cancel, results.status],
        queue=False,
        **QUIET,
    )
    run = started.then(
        run_form,
        {*names.values(), history.visit},
        [
            history.visit,
            history.latest,
            inputs.generate,
            inputs.cancel,
            inputs.parts["seed"],
            results.status,
            results.preview,
            results.gallery,
            results.actions,
            results.download,
            results.maps_box,
            results.maps,
            results.seeds,
            results.selected,
        ],
        api_visibility="private",
        show_progress="hidden",  # the status line does it; Gradio's own would fade and cover that
        **GPU,
    )
    inputs.cancel.click(
        cancel,
        None,
        [inputs.generate, inputs.cancel, results.status, results.preview, results.gallery],
        cancels=[run],
        queue=False,
        **QUIET,
    )

    def select(items, event: gr.SelectData):
        return event.index, items[event.index][0]

    results.gallery.select(
        select,
        results.gallery,
        [results.selected, results.download],
        **QUIET,
    )
    results.use_seed.click(
        lambda seeds, selected: (seeds[selected], False),
        [results.seeds, results.selected],
        [inputs.parts["seed"], inputs.parts["randomise"]],
        **QUIET,
    )
    results.use_picture.click(
        lambda items, selected: ([items[selected][0]], gr.Accordion(open=True)),
        [results.gallery, results.selected],
        [inputs.parts["start_image"], inputs.start_group],
        **QUIET,
    ).then(None, js=SHOW_START)
