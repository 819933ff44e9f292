"""Options of several commands, as data: what they are called, and the help out of the request's own fields."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

import typer

from ..dotted import PICTURES
from ..people import Frozen
from ..request import Request, limits

FLAGS = {  # where a field's own name is longer than need be
    "negative_prompt": "--negative",
    "guidance_scale": "--cfg",
    "pose_image": "--pose",
    "start_image": "--start",
    "repaint_mask": "--mask",
}


@dataclass(frozen=True)
class Option:
    """One option of a command line. Not given, it is None, or an empty list.

    Args:
        name: of the parameter that the command gets.
        kind: str, int, float, bool, Path, or a list of one of them for what may be given again and again.
        panel: the heading in --help.
        hidden: works, and is left out of --help.
    """

    name: str
    kind: Any
    help: str
    panel: str
    flags: tuple[str, ...] = ()
    hidden: bool = False

    def parameter(self) -> inspect.Parameter:
        """As typer reads it off a function's signature."""
        option = typer.Option(*self.flags, help=self.help, rich_help_panel=self.panel, hidden=self.hidden)
        return inspect.Parameter(
            self.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[self.kind | None, option],
        )


def of_field(name: str, panel: str, model: type[Frozen] = Request) -> Option:
    """The option that sets a field of the request: its kind, choices and limits as the field has them."""
    field = model.model_fields[name]
    kinds = [
        get_args(kind)[0] if get_origin(kind) is Annotated else kind
        for kind in get_args(field.annotation) or (field.annotation,)
    ]
    kind = next((kind for kind in (bool, int, float) if kind in kinds), Path if name in PICTURES else str)
    told = field.description or ""
    choices = [
        choice
        for each in (field.annotation, *kinds)
        if get_origin(each) is Literal
        for choice in get_args(each)
    ]
    if choices:
        told += f" One of: {'; '.join(choices)}."
    if kind is float:
        low, high = limits(name, model)
        told += f" From {low:g} to {high:g}."
    flags = (FLAGS[name],) if name in FLAGS else ()
    return Option(name, kind, told, panel, flags)


def with_options(options: Sequence[Option]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options before its own; it gets those that were given as a dict called `given`."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        @wraps(command)
        def run(**values: Any) -> None:
            shared = {option.name: values.pop(option.name) for option in options}
            given = {name: value for name, value in shared.items() if value is not None and value != []}
            command(given=given, **values)

        own = [each for name, each in inspect.signature(command).parameters.items() if name != "given"]
        run.__signature__ = inspect.Signature([*(option.parameter() for option in options), *own])
        return run

    return decorate
