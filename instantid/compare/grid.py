"""A comparison: one request, and up to three axes along which it is varied."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

from pydantic import Field, model_validator

from ..errors import InvalidRequest
from ..people import Frozen
from ..request import MAX_SEED, Request
from . import values
from .applying import apply
from .fields import REPLACE, Variable, find

# What a change costs, dearest first: it is made as rarely as can be. The rest cost nothing.
_DEAR = (
    ("base", "vae"),  # models are loaded
    ("recipe", "loras", "textual_inversions", "method", "faceid_strength"),  # weights are laid over them
    ("prompt", "negative_prompt", "style", REPLACE),  # texts are read
    ("people", "pose_image", "start_image", "style_image", "layout_image", "style_content"),  # photos are
    ("width", "height", "scheduler", "upscale"),
)


class Axis(Frozen):
    """What varies in one direction.

    Args:
        field: what `fields.find` knows it by; its full name is kept.
        values: as the request wants them, each once; checked against the field.
    """

    field: str
    values: tuple[Any, ...] = Field(min_length=1)

    @model_validator(mode="before")
    @classmethod
    def _as_the_request_wants_it(cls, given: dict[str, Any]) -> dict[str, Any]:
        variable = find(given["field"])
        told = given["values"]
        if isinstance(told, str):
            told = values.read_values(variable, told)
        checked = [values.check(variable, value) for value in told]
        for i, value in enumerate(checked):
            if value in checked[:i]:
                raise InvalidRequest(
                    f"{variable.title}: “{values.label(variable, value)}” is there twice. Give each value once."
                )
        return {"field": variable.name, "values": tuple(checked)}

    @property
    def variable(self) -> Variable:
        """What it varies."""
        return find(self.field)

    @property
    def title(self) -> str:
        """For people: “Identity strength”."""
        return self.variable.title

    @property
    def labels(self) -> tuple[str, ...]:
        """One for each value."""
        return tuple(values.label(self.variable, value) for value in self.values)


def read_axis(text: str) -> Axis:
    """The axis that a line describes: `identity_strength: 0..1.2 step 0.4`, `style: Watercolor | Neon`.

    Raises:
        InvalidRequest: names the field, the value, and what is allowed.
    """
    field, colon, told = text.partition(":")
    if not colon or not field.strip():
        raise InvalidRequest(
            f"An axis is a field and its values, such as “identity_strength: 0..1.2 step 0.4”; got “{text}”."
        )
    return Axis(field=field, values=told)


@dataclass(frozen=True, eq=False)
class Cell:
    """One picture of a comparison.

    Args:
        x, y, z: its column, row and page, from 0.
        request: of one image.
        labels: (title of the axis, label of the value), for each axis.
    """

    x: int
    y: int
    z: int
    request: Request
    labels: tuple[tuple[str, str], ...]

    @property
    def name(self) -> str:
        """For people: “Identity strength 0.4 · Style Neon”."""
        return " · ".join(f"{title} {label}" for title, label in self.labels)


class Grid(Frozen):
    """A comparison: every cell is `base` with one value of each axis.

    Args:
        base: what all cells have in common. Of it one picture is made for each cell, with the same seed; where it has
            none, `settled` draws one for all.
        x, y, z: columns, rows and pages.
        bundle: the name that the bundle is opened by; empty: not said.

    Raises:
        InvalidRequest: a cell cannot be asked for, or two axes vary the same; says which.
    """

    base: Request
    x: Axis
    y: Axis | None = None
    z: Axis | None = None
    bundle: str = ""

    @model_validator(mode="after")
    def _every_cell_can_be_asked_for(self) -> "Grid":
        names = [axis.field for axis in self.axes]
        if doubled := next((axis.title for axis in self.axes if names.count(axis.field) > 1), None):
            raise InvalidRequest(f"Two axes vary the same: {doubled}. Choose something else for one of them.")
        for axis in self.axes:
            if axis.field == REPLACE and not any(axis.values[0] in text for text in self._texts()):
                raise InvalidRequest(
                    f"Prompt S/R: “{axis.values[0]}” is in neither prompt. The first value is what is looked for."
                )
        _ = self.cells
        return self

    @property
    def axes(self) -> tuple[Axis, ...]:
        """Those that there are: x, y, z."""
        return tuple(axis for axis in (self.x, self.y, self.z) if axis is not None)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, pages."""
        columns, rows, pages = (len(axis.values) if axis else 1 for axis in (self.x, self.y, self.z))
        return columns, rows, pages

    @property
    def count(self) -> int:
        """Of cells."""
        columns, rows, pages = self.shape
        return columns * rows * pages

    @cached_property
    def cells(self) -> tuple[Cell, ...]:
        """All of them, in the order in which they are best made: what is dear to change, changes rarely."""
        by_place = [
            (place, axis) for place, axis in zip("zyx", (self.z, self.y, self.x), strict=True) if axis
        ]
        by_cost = sorted(by_place, key=lambda placed: _cost(placed[1].field))
        made = []
        for chosen in product(*(range(len(axis.values)) for _, axis in by_cost)):
            at = {place: i for (place, _), i in zip(by_cost, chosen, strict=True)}
            made.append(self._cell(at.get("x", 0), at.get("y", 0), at.get("z", 0)))
        return tuple(made)

    def settled(self) -> "Grid":
        """The same with a seed: where it was left open, one is drawn for all cells."""
        if self.base.seed is not None:
            return self
        return self.replace(base=self.base.replace(seed=secrets.randbelow(MAX_SEED)))

    def samples(self) -> Iterator[Request]:
        """Requests in which every value of every axis appears, far fewer than cells: to refuse wrong ones early."""
        seen: set[tuple[str, int]] = set()
        for cell in self.cells:
            here = {("x", cell.x), ("y", cell.y), ("z", cell.z)}
            if not here <= seen:
                seen |= here
                yield cell.request

    def _cell(self, *at: int) -> Cell:
        chosen = [(axis, i) for axis, i in zip((self.x, self.y, self.z), at, strict=True) if axis]
        labels = tuple((axis.title, axis.labels[i]) for axis, i in chosen)
        try:
            changes = [(axis.variable, axis.values[i], axis.values[0]) for axis, i in chosen]
            request = apply(self.base.replace(images=1), changes)
        except InvalidRequest as error:
            where = ", ".join(f"{title} {label}" for title, label in labels)
            raise InvalidRequest(f"At {where}: {error}") from None
        return Cell(*at, request, labels)

    def _texts(self) -> list[str]:
        varied: Sequence[Any] = next((axis.values for axis in self.axes if axis.field == "prompt"), ())
        return [self.base.prompt, self.base.negative_prompt, *varied]


def _cost(field: str) -> int:
    """The smaller, the dearer."""
    first, *rest = field.split(".")
    if rest and rest[-1] in ("strength", "identity_strength", "adapter_strength", "start", "end"):
        return len(_DEAR)
    return next((i for i, names in enumerate(_DEAR) if first in names or field in names), len(_DEAR))
