"""Generate, Cancel, and what follows a run."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from ..request import Result, Step
from .form import read_request
from .inputs import Inputs
from .problems import explain, shown_on_page
from .results import Results, captions, done_line, problem_line, progress_line, status_line
from .studio import Studio

GPU = {"concurrency_id": "gpu", "concurrency_limit": 1}
SHOW_STATUS = """() => {
  const status = document.querySelector('#status'), place = status.getBoundingClientRect();
  if (place.top < 0 || place.bottom > innerHeight) status.scrollIntoView({behavior: 'smooth'});
}"""
QUIET = {"api_visibility": "private", "show_progress": "hidden"}


def connect_run(studio: Studio, inputs: Inputs, results: Results) -> None:
    """Wire the buttons.

    Cancel relies on Gradio's own cancelling, which is per session: it takes a waiting run out of the queue
    and closes the generator of a running one.
    """
    names = inputs.fields | inputs.own

    def run_form(data):
        values = {name: data[component] for name, component in names.items()}
        with shown_on_page():
            yield from page_updates(studio, values, inputs, results)

    asked = [inputs.generate.click, inputs.fields["prompt"].submit]
    gr.on(asked, None, js=SHOW_STATUS)  # on a phone the results lie far below
    started = gr.on(
        asked,
        lambda: _busy(inputs, results),
        None,
        [inputs.generate, inputs.cancel, results.status],
        queue=False,
        **QUIET,
    )
    run = started.then(
        run_form,
        set(names.values()),
        [
            inputs.generate,
            inputs.cancel,
            inputs.fields["seed"],
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
        lambda: _idle(inputs, results, status_line("Cancelled.", "What you entered is still here.")),
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
        [inputs.fields["seed"], inputs.own["randomise"]],
        **QUIET,
    )


def page_updates(
    studio: Studio, values: Mapping[str, Any], inputs: Inputs, results: Results
) -> Iterator[dict[Any, Any]]:
    """Page updates of one run, from the first step to the pictures, or to the reason why there are none."""
    try:
        with closing(studio.generate(read_request(values))) as events:
            started = None
            for event in events:
                if isinstance(event, Result):
                    yield from _finished(studio, event, inputs, results)
                else:
                    started = started or (time.monotonic(), event.step)
                    yield _progress(event, started, results)
    except Exception as error:
        yield _idle(inputs, results, problem_line(explain(error)))
        raise


def _progress(step: Step, started: tuple[float, int], results: Results) -> dict[Any, Any]:
    since, first = started
    done = step.step - first
    left = (time.monotonic() - since) / done * (step.total - step.step) if done else None
    updates = {results.status: progress_line(step, left)}
    if step.preview is not None:
        updates |= {
            results.preview: gr.update(value=step.preview, visible=True),
            results.gallery: gr.update(visible=False),
        }
    return updates


def _finished(studio: Studio, result: Result, inputs: Inputs, results: Results) -> Iterator[dict[Any, Any]]:
    with tempfile.TemporaryDirectory() as folder:  # Gradio copies what it is given before the next step
        files = studio.save(result, Path(folder))
        yield _idle(inputs, results, done_line(result)) | {
            inputs.fields["seed"]: result.seed,
            results.gallery: gr.update(
                value=list(zip(files, captions(result, studio))), visible=True, selected_index=0
            ),
            results.actions: gr.update(visible=True),
            results.download: str(files[0]),
            results.maps_box: gr.update(visible=bool(result.control_maps)),
            results.maps: [(picture, name) for name, picture in result.control_maps.items()],
            results.seeds: result.seeds,
            results.selected: 0,
        }


def _busy(inputs: Inputs, results: Results) -> list[Any]:
    return [
        gr.update(interactive=False),
        gr.update(visible=True),
        status_line("Starting…", "Other people’s pictures may come first."),
    ]


def _idle(inputs: Inputs, results: Results, status: str) -> dict[Any, Any]:
    return {
        inputs.generate: gr.update(interactive=True),
        inputs.cancel: gr.update(visible=False),
        results.status: status,
        results.preview: gr.update(value=None, visible=False),
        results.gallery: gr.update(visible=True),
    }
