"""What may be asked of the `twins` stage."""

from pydantic import Field

from ..people import Frozen
from .settings import Share
from .tempering import TEMPERED
from .thing_reader import READ


class Options(Frozen):
    """Of the twins stage."""

    kept: Share = Field(
        0.25,
        lt=1,
        description="Share of batches in which what is made of other captions, and in later steps, stays as it was.",
    )
    foretold: Share = Field(
        0.9,
        description="Share of the other batches in which twins are to differ as captions foretell, not as they do.",
    )
    louder: float = Field(
        1.0,
        gt=0,
        description="By how much more they are to differ in the first steps: the later ones take some back.",
    )
    second: Share = Field(
        0.3,
        description="How often they are asked in the second step: there it is still decided what is painted.",
    )
    read: float = READ
    tempered: float = TEMPERED
    keeping: float = Field(4.0, gt=0, description="Weight of what stays as it was, beside what words change.")
    faces: float = Field(
        1.0,
        ge=1,
        description="By how much more what stays as it was counts in a face, where people are known by little.",
    )
    presets: Share = Field(
        0.4,
        description="Of what is foretold, how often captions stand in a preset. Above 0, it needs data with looks.",
    )
    mapped: Share = Field(
        0.3,
        description="Of batches in which things stay as they were: how many are led by maps of the pictures, too, "
        "through the bundle's Union ControlNet. Above 0, it needs one.",
    )
    teacher: str = Field(
        "",
        description="Bundle whose UNet and first text encoder say what stays; empty: the one that is begun with. "
        "Where words cost something when they were learned, the one from before then can tell what.",
    )
    other_view: Share = Field(0.5, description="How often the embedding is of other pictures of the person.")
    styled: Share = Field(0.5, description="Of captions that change nothing: how many ask for a preset.")
    brief: Share = Field(
        0.5, description="How often captions are as short as prompts are, and else as long as they can be."
    )
