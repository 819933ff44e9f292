"""What can be asked and what comes back.

Every default and every limit is written once, here and in `people`: the page, the command line and the metadata
read them from the models' fields. Knows no torch and opens no files; a picture stays whatever the caller gave.
"""

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le
from PIL import Image
from pydantic import BeforeValidator, Field, model_validator

from .people import MAX_PEOPLE, MAX_STRENGTH, Fraction, Frozen, Picture, Strength
from .people import Face as Face
from .people import Person as Person
from .people import Photo as Photo
from .people import Place as Place
from .people import Portrait as Portrait
from .people import View as View

SCHEMA_VERSION = 2
MAX_SEED = 2_147_483_647
MAX_LORA = 2.0
FOLLOW_RECIPE = ("steps", "guidance_scale", "scheduler")  # a recipe settles them where a request does not

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
    "DDIM",
    "LCM",
    "TCD",
]
ControlName = Literal["pose", "canny", "depth"]
StyleMode = Literal["style", "layout", "style and layout", "whole image"]
RecipeName = Literal[
    "LCM, 4 steps",
    "LCM, 8 steps",
    "Lightning, 4 steps",
    "Lightning, 8 steps",
    "Hyper-SD, 4 steps",
    "Hyper-SD, 8 steps",
    "DMD2, 4 steps",
]


class Control(Frozen):
    """An extra ControlNet's part in the picture."""

    strength: Strength = Field(0.4, description="0 is off: the network does not run.")
    start: Fraction = Field(0.0, description="From which part of the run on: 0 is the first step.")
    end: Fraction = Field(1.0, description="Until which part of the run: 1 is the last step.")
    map: Picture | None = Field(
        None, description="A ready map, laid on the canvas like the pose photo, instead of one read off that."
    )
    low: int = Field(100, ge=0, le=500, description="Canny: weaker edges than this are dropped.")
    high: int = Field(200, ge=0, le=500, description="Canny: stronger edges than this are always kept.")

    @model_validator(mode="after")
    def _in_order(self) -> "Control":
        if self.start >= self.end:
            raise ValueError(f"start {self.start:g} must come before end {self.end:g}")
        if self.low > self.high:
            raise ValueError(f"low {self.low} must not be above high {self.high}")
        return self


class Lora(Frozen):
    """Weights laid over the base model's.

    Args:
        source: a name from the model folders, a path, or a place on the hub (`owner/repo[/file][@revision]`).
    """

    source: str = Field(min_length=1)
    strength: float = Field(1.0, ge=-MAX_LORA, le=MAX_LORA, description="0 is off; negative: the opposite.")

    @classmethod
    def read(cls, text: str) -> "Lora":
        """Of a source and a strength, `film=0.8`, or a source alone."""
        source, _, strength = text.rpartition("=")
        try:
            number = float(strength)
        except ValueError:  # a name with = in it
            return cls(source=text)
        return cls(source=source, strength=number) if source else cls(source=text)


def _as_control(value: Any) -> Any:
    return Control(strength=value) if isinstance(value, (int, float)) else value


def _as_lora(value: Any) -> Any:
    return Lora(source=value) if isinstance(value, str) else value


class Request(Frozen):
    """One run. `None` for width, height, steps, guidance_scale or scheduler means the recipe's or the bundle's; for
    identity_strength and adapter_strength the bundle's."""

    people: tuple[Person, ...] = Field(
        min_length=1, max_length=MAX_PEOPLE, description="Who appears, from left to right."
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
        description="The same seed and settings give the same picture. Left empty: a random one.",
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
    recipe: RecipeName | None = Field(
        None, description="Few-step weights with the sampler, steps and guidance that suit them."
    )
    identity_strength: Strength | None = Field(
        None, description="IdentityNet: holds likeness and the place of the face. 0 is off."
    )
    adapter_strength: Strength | None = Field(
        None, description="Image adapter: holds the details of the face. Lower it when the prompt is ignored."
    )
    faceid_strength: Strength = Field(0.0, description="FaceID, an IP-Adapter for one person. 0 is off.")
    face_region: bool = Field(
        True, description="The face guides only its own region, which leaves more freedom to the rest."
    )
    free_pose: bool = Field(
        False,
        description="The prompt alone decides where the face goes and how it turns: IdentityNet is off, the image "
        "adapter acts everywhere.",
    )
    pose_image: Picture | None = Field(
        None, description="The new face takes its place, size and angle from the face in this photo."
    )
    controls: dict[ControlName, Annotated[Control, BeforeValidator(_as_control)]] = Field(
        default_factory=dict, description="Extra ControlNets and their strengths, read off the pose photo."
    )
    style_image: Picture | None = Field(None, description="A picture whose style to follow.")
    style_strength: Strength = Field(1.0, description="How strongly the style picture is followed. 0 is off.")
    style_mode: StyleMode = Field(
        "style", description="What is taken from the style picture. “Style” leaks least of its content."
    )
    layout_image: Picture | None = Field(
        None, description="A second picture, whose layout to follow; the style picture then gives style only."
    )
    style_content: str = Field(
        "", description="What the style picture shows and the new one should not: “a cat”, “a red car”."
    )
    style_content_strength: Fraction = Field(
        0.5, description="How much of that is taken out of the style picture's features."
    )
    start_image: Picture | None = Field(
        None, description="Start from this picture instead of from noise; it also sets the new one's shape."
    )
    start_strength: Fraction = Field(
        0.6, description="How much of it is painted anew. Low keeps it, 1 keeps only its shape."
    )
    repaint: Literal["everything", "face", "mask"] = Field(
        "everything",
        description="Which part of it: all of it, the face (a face swap), or what the mask marks.",
    )
    repaint_mask: Picture | None = Field(
        None, description="White is painted anew, black stays as it is to the pixel."
    )
    upscale: float = Field(
        1.0, ge=1, le=2, description="Paint the finished picture again, this many times as large. 1 is off."
    )
    upscale_strength: Fraction = Field(
        0.35, description="How much of it is painted anew when it is made larger."
    )
    upscale_by: Literal["pixels", "latents"] = Field(
        "pixels",
        description="Pixels keep the picture; latents need a strength above 0.5, with more new detail.",
    )
    face_detail: bool = Field(
        False, description="Paint each face a second time at full resolution: for small faces."
    )
    face_detail_strength: Fraction = Field(0.4, description="How much of the face is painted anew then.")
    loras: tuple[Annotated[Lora, BeforeValidator(_as_lora)], ...] = Field(
        (), max_length=8, description="LoRAs, with their strengths."
    )
    textual_inversions: tuple[str, ...] = Field(
        (), max_length=16, description="Embeddings; each is used by writing its name in a prompt."
    )
    base: str | None = Field(
        None, description="An SDXL checkpoint in the bundle's base model's place: a name, a file or a folder."
    )
    vae: str | None = Field(None, description="A VAE in its place: a name, a file or a folder.")
    cfg_rescale: Fraction = Field(
        0.0,
        description="Against burnt colours at a high guidance scale: brings contrast back to what the prompt alone "
        "gives. 0.7 is usual.",
    )
    negative_noise: Fraction = Field(
        0.0,
        description="Against a burnt look at high strengths: noise as the face to stay away from. 0.35 is usual.",
    )
    perturbed_negative: Fraction = Field(
        0.0,
        description="Against flat or overdone pictures: noise in what the negative prompt says. 0.1 to 0.3.",
    )
    off_size: bool = Field(
        False,
        description="Against watermarks out of the training data: a size a little off 1024 × 1024, such as "
        "1016 × 1016.",
    )
    width: int | None = Field(
        None, ge=64, le=4096, multiple_of=8, description="Pixels, a multiple of 8; with mini of 16."
    )
    height: int | None = Field(
        None, ge=64, le=4096, multiple_of=8, description="Pixels, a multiple of 8; with mini of 16."
    )
    images: int = Field(1, ge=1, le=16, description="Pictures per run; each takes the next seed.")

    @model_validator(mode="after")
    def _last_seed_can_be_asked_for(self) -> "Request":
        if self.seed is not None and self.seed + self.images - 1 > MAX_SEED:
            raise ValueError(f"seed {self.seed} leaves no room for {self.images} images under {MAX_SEED}")
        return self

    @model_validator(mode="after")
    def _parts_belong_together(self) -> "Request":
        if self.free_pose and len(self.people) > 1:
            raise ValueError("free_pose works for one person: several need their places")
        if self.faceid_strength > 0 and (len(self.people) > 1 or not self.people[0].photographed):
            raise ValueError("faceid_strength takes one person, as photos: no saved or ready face")
        if self.repaint != "everything" and self.start_image is None:
            raise ValueError(f"repaint “{self.repaint}” needs a start_image to repaint")
        if (self.repaint == "mask") != (self.repaint_mask is not None):
            raise ValueError("repaint “mask” and repaint_mask go together: give both or neither")
        if self.layout_image is not None and self.style_image is None:
            raise ValueError("layout_image goes with a style_image; for layout alone use style_mode “layout”")
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
        likeness: per image, the cosine of its face to the reference, or None where no face was found; of several
            people the least alike counts. None altogether where the bundle has no face model.
        notes: what did not go as one might expect, in sentences; mostly none.
        bundle: its name, whether it is untrained, device and precision; "at_once": how many pictures were painted
            together, where these were several.
    """

    images: list[Image.Image]
    seed: int
    request: Request
    timings: dict[str, float]
    control_maps: dict[str, Image.Image] = field(default_factory=dict)
    likeness: list[float | None] | None = None
    notes: list[str] = field(default_factory=list)
    bundle: dict[str, Any] = field(default_factory=dict)

    @property
    def seeds(self) -> list[int]:
        """The seed of each image."""
        return [self.seed + i for i in range(len(self.images))]


def limits(name: str, model: type[Frozen] = Request) -> tuple[float, float]:
    """The smallest and largest value of a number field, for sliders and help texts."""
    rules = model.model_fields[name].metadata
    low = next((rule.ge for rule in rules if isinstance(rule, Ge)), 0.0)
    return low, next((rule.le for rule in rules if isinstance(rule, Le)), MAX_STRENGTH)
