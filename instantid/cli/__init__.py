"""`python -m instantid …`: pictures, weights and a look at the machine, without the page. A module per command."""

import typer

from . import doctor, fetch, generate
from .terminal import quieten, told


def _all_commands() -> typer.Typer:
    app = typer.Typer(
        help="InstantID Studio: one photo of a face becomes any picture of that person.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_show_locals=False,
    )
    app.callback()(quieten)
    for command in (generate.generate, fetch.fetch, doctor.doctor):
        app.command()(told(command))
    return app


app = _all_commands()


def main() -> None:
    """The entry point of `python -m instantid`."""
    app(prog_name="python -m instantid")
