"""`python -m instantid …`: pictures, weights and a look at the machine, without the page. A module per command."""

import os
import sys
import threading
from collections.abc import Callable

import typer

from ..progress import THREAD
from . import batch, compare, data, doctor, evaluate, fetch, generate, people, train, train_mini
from .terminal import quieten as quieten
from .terminal import told


def _group(commands: dict[str, Callable[..., None]], about: str) -> typer.Typer:
    group = typer.Typer(
        help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_show_locals=False
    )
    for name, command in commands.items():
        group.command(name)(told(command))
    return group


def _all_commands() -> typer.Typer:
    app = _group(
        {
            "generate": generate.generate,
            "batch": batch.batch,
            "compare": compare.compare,
            "fetch": fetch.fetch,
            "doctor": doctor.doctor,
            "evaluate": evaluate.evaluate,
        },
        "InstantID Studio: one photo of a face becomes any picture of that person.",
    )
    app.callback()(quieten)
    saved = {
        "save": people.save,
        "list": people.list_,
        "export": people.export,
        "import": people.import_,
        "delete": people.delete,
    }
    made = {
        "fetch": data.fetch,
        "make": data.make,
        "sheet": data.sheet,
        "report": data.report,
        "card": data.describe,
    }
    app.add_typer(
        _group(made, "Rendered people for training and tests: nobody real, everything known."), name="data"
    )
    learned = {"prepare": train.prepare, "latents": train.latents, "mini": train_mini.mini}
    learned |= {stage: train.command(stage) for stage in train.STAGES}
    app.add_typer(_group(learned, "Training: data made ready, then one stage at a time."), name="train")
    app.add_typer(_group(saved, "People kept under a name, to be used in place of photos."), name="people")
    return app


app = _all_commands()


def main() -> None:
    """The entry point of `python -m instantid`."""
    try:
        app(prog_name="python -m instantid")
    except SystemExit as end:
        if any(thread.name == THREAD for thread in threading.enumerate()):
            # A stopped run goes on to the end of its step, and torch aborts when Python ends under it.
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(end.code if isinstance(end.code, int) else 1)
        raise
