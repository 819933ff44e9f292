"""Who is to appear: photos, faces found in them, and where each person goes. Knows no torch and opens no files."""

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from .errors import InvalidRequest

STRENGTHS = ("identity_strength", "adapter_strength")  # a person's own go before the request's
USUAL_STRENGTH = 0.8  # the reference's, of both
MAX_STRENGTH = 1.5  # the reference's sliders end here; past it colours burn (InstantID#80)
MAX_PEOPLE = 4
FARTHEST = 1e6  # pixels from the picture's corner: what can be drawn at all; no photo is as large

Strength = Annotated[float, Field(ge=0, le=MAX_STRENGTH)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Around = Annotated[float, Field(ge=-1, le=2)]
"""In parts of the canvas, 0 to 1; a face may reach past its edge."""
View = Literal[
    "front", "three-quarter left", "three-quarter right", "profile left", "profile right", "up", "down"
]


@dataclass(frozen=True, eq=False)
class Face:
    """A face as the recognition model sees it.

    Args:
        embedding: (d,) float32, raw: never normalised, the identity adapter's `proj_in` has a bias.
        keypoints: (5, 2) float32, (x, y) in pixels: left eye, right eye, nose, left and right mouth corner,
            as seen in the picture (insightface's order).
        box: (4,) float32, x1 y1 x2 y2 in pixels; may reach past the picture's edge.

    Pixels are those of the photo the face was found in. A ready `Face` given to a `Person` is already in
    pixels of the canvas, the picture to be made.
    """

    embedding: np.ndarray
    keypoints: np.ndarray
    box: np.ndarray

    def __post_init__(self):
        for name, shape in (("embedding", (-1,)), ("keypoints", (5, 2)), ("box", (4,))):
            try:
                array = np.asarray(getattr(self, name), dtype=np.float32)
            except (TypeError, ValueError) as error:
                raise InvalidRequest(f"Face.{name} must be an array of numbers: {error}.") from error
            if array.ndim != len(shape) or any(
                want not in (-1, got) for want, got in zip(shape, array.shape)
            ):
                raise InvalidRequest(f"Face.{name} must have shape {shape}, got {array.shape}.")
            if not np.isfinite(array).all():
                raise InvalidRequest(f"Face.{name} holds NaN or infinite values.")
            if name != "embedding" and (far := float(np.abs(array).max())) > FARTHEST:
                raise InvalidRequest(f"Face.{name} must be in pixels of the picture, got {far:.3g}.")
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:  # the embedding is biometric: it stays out of logs and error messages
        return f"Face({len(self.embedding)}-d, box={[round(float(value)) for value in self.box]})"

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        x1, y1, x2, y2 = (float(value) for value in self.box)
        return max(0.0, x2 - x1) * max(0.0, y2 - y1)

    @property
    def centre(self) -> tuple[float, float]:
        """Of the box, (x, y) in pixels."""
        x1, y1, x2, y2 = (float(value) for value in self.box)
        return (x1 + x2) / 2, (y1 + y2) / 2


@dataclass(frozen=True, eq=False)
class Portrait:
    """A face that was found earlier, with the size of the photo it was found in; the photo itself is not needed.

    Args:
        face: in pixels of that photo.
        width, height: of the photo, in pixels.
    """

    face: Face
    width: int
    height: int


class _Refused(InvalidRequest, ValueError):
    """Pydantic takes a ValueError for a problem of the field that it comes from, and so says where it was.

    Args:
        problems: (where, what) of each.
    """

    def __init__(self, message: str, problems: tuple[tuple[str, str], ...] = ()):
        super().__init__(message)
        self.problems = problems


class Frozen(BaseModel):
    """An immutable record whose problems are told in words."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            problems = tuple(_problems(error))
            told = "; ".join(f"{where}: {what}" if where else what for where, what in problems)
            raise _Refused(f"This {type(self).__name__.lower()} cannot be used. {told}.", problems) from None

    def replace(self, **changes: Any):
        """A copy with `changes`, validated like a new one."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)


class Photo(Frozen):
    """A photo, and which of its faces is meant.

    Args:
        image: a PIL image or the path of a file.
        face: counted from 1, largest first.
    """

    image: Image.Image | Path
    face: int = Field(1, ge=1)


def _as_photo(value: Any) -> Any:
    """Let callers give a bare PIL image or path where a `Photo` is meant."""
    if isinstance(value, (str, os.PathLike)):
        value = Path(value)
    return Photo(image=value) if isinstance(value, (Image.Image, Path)) else value


Picture = Annotated[Photo, BeforeValidator(_as_photo)]


class Place(Frozen):
    """Where a face goes, in parts of the canvas."""

    x: Fraction = Field(0.5, description="Middle of the face, from the left edge (0) to the right (1).")
    y: Fraction = Field(0.42, description="Middle of the face, from the top (0) to the bottom (1).")
    size: float = Field(
        0.4, ge=0.05, le=1, description="Height of the face, as a part of the picture's shorter side."
    )


class Person(Frozen):
    """Somebody to appear in the picture: photos or faces found earlier, averaged when there are several."""

    references: tuple[Annotated[Photo | Portrait | Face, BeforeValidator(_as_photo)], ...] = Field(
        min_length=1
    )
    identity_strength: Strength | None = Field(None, description="Overrides the request's, for this person.")
    adapter_strength: Strength | None = Field(None, description="Overrides the request's, for this person.")
    region: Picture | None = Field(
        None,
        description="Where this person may appear: a picture, white there and black elsewhere, laid on the "
        "canvas like the pose photo.",
    )
    view: View | None = Field(
        None, description="How the face is turned, instead of as in the pose photo; left is the picture's."
    )
    place: Place | None = Field(None, description="Where the face goes, and how large it is.")
    keypoints: tuple[tuple[Around, Around], ...] | None = Field(
        None,
        min_length=5,
        max_length=5,
        description="Five (x, y) in parts of the canvas (0 to 1): left eye, right eye, nose, left and right "
        "mouth corner, as seen in the picture. They go before view and pose photo.",
    )

    @property
    def photographed(self) -> bool:
        """Whether all references are photos, which another face model can read as well."""
        return all(isinstance(reference, Photo) for reference in self.references)


def _problems(error: ValidationError) -> Iterator[tuple[str, str]]:
    """Where each problem is, and what was wrong and given; those of records within by their whole place."""
    found = error.errors()
    within = {problem["loc"][:1] for problem in found if _inner(problem)}
    for problem in found:
        where = ".".join(str(part) for part in problem["loc"])
        if inner := _inner(problem):
            yield from ((".".join(filter(None, (where, deeper))), what) for deeper, what in inner)
        elif (
            problem["type"] != "too_short" or problem["loc"] not in within
        ):  # counted without what was refused
            given = problem["input"]
            shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool, type(None))) else ""
            yield where, f"{problem['msg'].removeprefix('Value error, ')}{shown}"


def _inner(problem: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return getattr(problem.get("ctx", {}).get("error"), "problems", ())
