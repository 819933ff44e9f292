"""What can be asked and what comes back.

Every default and every limit is written once, here: the page, the command line and the metadata read them
from the models' fields. Knows no torch and opens no files; a picture stays whatever the caller gave.
"""

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from PIL import Image
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from .errors import InvalidRequest

SCHEMA_VERSION = 1
MAX_STRENGTH = 1.5  # the reference's sliders end here; past it colours burn (InstantID#80)
MAX_SEED = 2_147_483_647

SchedulerName = Literal[
    "Euler",
    "Euler a",
    "DEIS",
    "Heun",
    "DPM++ 2M",
    "DPM++ 2M Karras",
    "DPM++ 2M SDE",
    "DPM++ 2M SDE Karras",
    "UniPC",
    "LCM",
    "TCD",
]
ControlName = Literal["pose", "canny", "depth"]
Strength = Annotated[float, Field(ge=0, le=MAX_STRENGTH)]


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
            object.__setattr__(self, name, array)

    def __repr__(self) -> str:  # the embedding is biometric: it stays out of logs and error messages
        return f"Face({len(self.embedding)}-d, box={[round(float(value)) for value in self.box]})"

    @property
    def area(self) -> float:
        """Of the box, in square pixels."""
        x1, y1, x2, y2 = (float(value) for value in self.box)
        return max(0.0, x2 - x1) * max(0.0, y2 - y1)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    def __init__(self, **values: Any):
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InvalidRequest(_explain(type(self).__name__, error)) from None

    def replace(self, **changes: Any):
        """A copy with `changes`, validated like a new one."""
        return type(self)(**{name: getattr(self, name) for name in type(self).model_fields} | changes)


class Photo(_Frozen):
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


class Person(_Frozen):
    """Somebody to appear in the picture: photos or ready faces, averaged when there are several."""

    references: tuple[Annotated[Photo | Face, BeforeValidator(_as_photo)], ...] = Field(min_length=1)
    identity_strength: Strength | None = Field(None, description="Overrides the request's, for this person.")
    adapter_strength: Strength | None = Field(None, description="Overrides the request's, for this person.")


class Request(_Frozen):
    """One run. `None` for width, height, steps, guidance_scale or scheduler means the bundle's default."""

    people: tuple[Person, ...] = Field(
        min_length=1, max_length=1, description="Who appears. One person per picture for now."
    )
    prompt: str = Field("", description="What to show. A few words are enough: “a man, studio portrait”.")
    negative_prompt: str = Field("", description="What to keep out of the picture.")
    style: str | None = Field(
        None, description="A style preset's name; none leaves the prompts exactly as given."
    )
    seed: int | None = Field(
        42,
        ge=0,
        le=MAX_SEED,
        description="The same seed and settings give the same picture. None: a random one.",
    )
    steps: int | None = Field(None, ge=1, le=150, description="More steps: slower, with finer detail.")
    guidance_scale: float | None = Field(
        None,
        ge=0,
        le=20,
        description="How strictly the prompt is followed. Lower it when colours look burnt.",
    )
    scheduler: SchedulerName | None = Field(
        None, description="The sampler. LCM and TCD want few-step weights."
    )
    identity_strength: Strength = Field(
        0.8, description="IdentityNet: holds likeness and the place of the face. 0 is off."
    )
    adapter_strength: Strength = Field(
        0.8, description="Image adapter: holds the details of the face. Lower it when the prompt is ignored."
    )
    face_region: bool = Field(
        True, description="The face guides only its own region, which leaves more freedom to the rest."
    )
    pose_image: Picture | None = Field(
        None, description="The new face takes its place, size and angle from the face in this photo."
    )
    controls: dict[ControlName, Strength] = Field(
        default_factory=dict, description="Extra ControlNets and their strengths, read off the pose photo."
    )
    style_image: Picture | None = Field(None, description="A picture whose style to follow.")
    style_strength: Strength = Field(1.0, description="How strongly the style picture is followed. 0 is off.")
    width: int | None = Field(None, ge=64, le=4096, multiple_of=8, description="Pixels, a multiple of 8.")
    height: int | None = Field(None, ge=64, le=4096, multiple_of=8, description="Pixels, a multiple of 8.")
    images: int = Field(1, ge=1, le=16, description="Pictures per run; each takes the next seed.")

    @model_validator(mode="after")
    def _last_seed_can_be_asked_for(self) -> "Request":
        if self.seed is not None and self.seed + self.images - 1 > MAX_SEED:
            raise ValueError(f"seed {self.seed} leaves no room for {self.images} images under {MAX_SEED}")
        return self


@dataclass(frozen=True)
class Step:
    """Progress of a run.

    Args:
        step, total: how many are done, and of how many, over all images of the run.
        preview: a small, rough picture of the image being made.
        note: what is going on while no step is.
    """

    step: int
    total: int
    preview: Image.Image | None
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a run gives back.

    Args:
        images: PIL RGB, the pipeline's pixels untouched.
        seed: of the first image; image i was made with `seed + i`.
        request: the request with every `None` filled in (size, steps, seed…): running it again repeats the run.
        timings: seconds per stage, and "total".
        control_maps: what the networks saw, by name: "keypoints", "pose", "canny", "depth".
        likeness: per image, the cosine of its face to the reference, or None where no face was found;
            None altogether where the bundle has no face model.
        bundle: its name, whether it is untrained, device and precision.
    """

    images: list[Image.Image]
    seed: int
    request: Request
    timings: dict[str, float]
    control_maps: dict[str, Image.Image] = field(default_factory=dict)
    likeness: list[float | None] | None = None
    bundle: dict[str, Any] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seed of each image."""
        return [self.seed + i for i in range(len(self.images))]


def limits(name: str) -> tuple[float, float]:
    """The smallest and largest value of a number field of `Request`, for sliders and help texts."""
    annotation = Request.model_fields[name]
    bounds = {type(rule).__name__: rule for rule in annotation.metadata}
    if "Ge" not in bounds:
        return 0.0, MAX_STRENGTH
    return bounds["Ge"].ge, bounds["Le"].le


def _explain(model: str, error: ValidationError) -> str:
    """One sentence per problem: the field, what was wrong, what was given."""
    lines = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"]) or model
        given = problem["input"]
        shown = f" (got {given!r})" if isinstance(given, (str, int, float, bool, type(None))) else ""
        lines.append(f"{place}: {problem['msg'].removeprefix('Value error, ')}{shown}")
    return f"This {model.lower()} cannot be used. " + "; ".join(lines) + "."
