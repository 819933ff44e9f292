"""What the page shows in the course of a run, as updates of its components."""

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import gradio as gr

from ..request import Result, Step
from .form import read_request
from .inputs import Inputs
from .problems import explain
from .results import Results, captions, done_line, problem_line, progress_line, status_line
from .studio import Studio

Made = Callable[[Result, list[Path]], dict[Any, Any]]
CANCELLED = status_line("Cancelled.", "What you entered is still here.")


def page_updates(
    studio: Studio,
    values: Mapping[str, Any],
    inputs: Inputs,
    results: Results,
    wanted: Callable[[], bool] = lambda: True,
    made: Made = lambda result, files: {},
) -> Iterator[dict[Any, Any]]:
    """Page updates of one run, from the first step to the pictures, or to the reason why there are none.

    Args:
        wanted: asked at every step; once it says no, the run is closed.
        made: told of the result and its files while they are there; gives further updates.
    """
    try:
        with closing(studio.generate(read_request(values, studio))) as events:
            started = None
            for event in events:
                if not wanted():
                    yield idle(inputs, results, CANCELLED)
                    return
                if isinstance(event, Result):
                    yield from _finished(studio, event, inputs, results, made)
                else:
                    if started is None or not event.step:  # waiting and loading foretell nothing
                        started = (time.monotonic(), event.step)
                    yield _progress(event, started, results)
    except Exception as error:
        yield idle(inputs, results, problem_line(explain(error)))
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


def _finished(
    studio: Studio, result: Result, inputs: Inputs, results: Results, made: Made
) -> Iterator[dict[Any, Any]]:
    with tempfile.TemporaryDirectory() as folder:  # Gradio copies what it is given before the next step
        files = studio.save(result, Path(folder))
        yield idle(inputs, results, done_line(result)) | {
            inputs.parts["seed"]: result.seed,
            results.gallery: gr.update(
                value=list(zip(files, captions(result, studio))), visible=True, selected_index=0
            ),
            results.actions: gr.update(visible=True),
            results.download: str(files[0]),
            results.maps_box: gr.update(visible=bool(result.control_maps)),
            results.maps: [(picture, name) for name, picture in result.control_maps.items()],
            results.seeds: result.seeds,
            results.selected: 0,
            **made(result, files),
        }


def busy() -> list[Any]:
    """Generate, Cancel and the status, from the press of Generate to the first step."""
    return [
        gr.update(interactive=False),
        gr.update(visible=True),
        status_line("Starting…", "Other people’s pictures may come first."),
    ]


def idle(inputs: Inputs, results: Results, status: str) -> dict[Any, Any]:
    """The page at rest, with the last pictures, under a new status."""
    return {
        inputs.generate: gr.update(interactive=True),
        inputs.cancel: gr.update(visible=False),
        results.status: status,
        results.preview: gr.update(value=None, visible=False),
        results.gallery: gr.update(visible=True),
    }
