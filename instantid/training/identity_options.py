"""What the `identity` stage may be told: how it begins, what learns along, what batches leave out and are taught."""

from pydantic import Field, model_validator

from .denoising import Noise
from .settings import Share
from .tempering import TEMPERED

NET_ALONE = 0.1  # of the batches with faces


class Options(Noise):
    """Of the identity stage."""

    fresh: bool = Field(True, description="Begin with IdentityNet and attention copied from the UNet.")
    projector: int = Field(
        0,
        ge=0,
        multiple_of=64,
        description="With fresh: width of a projector that knows nothing (InstantID's: 1280); 0: the bundle's own.",
    )
    text_encoder: bool = Field(True, description="With the base: the first text encoder learns along, too.")
    with_base: bool = Field(False, description="The UNet and the first text encoder learn along.")
    plain: float = Field(0.25, description="With the base: share of batches that see no face at all.")
    drop_text: float = Field(0.1, description="How often the text is left out.")
    drop_face: float = Field(0.1, description="How often the face is left out.")
    drop_both: Share = Field(
        0.05,
        description="How often both are, too: what guidance leads away from is nobody, with nothing said.",
    )
    adapter_alone: Share = Field(
        0.2,
        le=1 - NET_ALONE,
        description="Share of the batches with faces that do without IdentityNet. A tenth does without the adapter: "
        "each of the two must work where the other is off.",
    )
    other_view: float = Field(
        0.5,
        description="How often the embedding is of other pictures of the person: none of this one's light or hair.",
    )
    references: int = Field(4, description="At most so many other pictures, averaged.")
    foretold: Share = Field(
        0.0,
        description="Share of batches with faces that learn what may be foretold of them out of the strongest noise.",
    )
    soft: Share = Field(
        0.0,
        description="Share of these in noise of any strength: faces come out softer, and more like whom they are of.",
    )
    worded: Share = Field(
        0.0,
        description="With the base: share of batches that learn what may be foretold of pictures from their captions "
        "out of the strongest noise: a small UNet hardly learns words from pictures alone.",
    )
    told: Share = Field(
        0.0,
        description="Share of batches in which the UNet is told, in IdentityNet's place, just what it should say: "
        "until it does.",
    )
    placed: bool = Field(
        False,
        description="With the base: IdentityNet and projector stay as the placing stage left them, the UNet learns "
        "to hear them.",
    )
    guided: Share = Field(
        0.0,
        description="With the base: share of batches that are shown edges, depth and skeletons, too, and the "
        "bundle's Union ControlNet learns along: a small UNet that stays as it is hardly hears one.",
    )
    mapped: Share = Field(
        0.0,
        description="With guided: share of all batches that learn what the Union ControlNet foretells of pictures "
        "out of the strongest noise.",
    )
    tempered: float = TEMPERED
    face_weight: float = Field(1.0, ge=1, description="How much more a place inside the face's box counts.")

    @model_validator(mode="after")
    def _go_together(self) -> "Options":
        if self.placed and (self.fresh or not self.with_base):
            raise ValueError(
                "placed is for a base that learns from an IdentityNet that knows faces already: choose "
                "with_base: true, fresh: false"
            )
        if self.guided and not self.with_base:
            raise ValueError(
                "guided is for a base that learns along: choose with_base: true; for a base that stays as it is "
                "there is the control stage"
            )
        if self.worded and not self.with_base:
            raise ValueError("worded teaches the base to read: choose with_base: true, or leave worded at 0")
        if self.mapped and not self.guided:
            raise ValueError("mapped is for a Union ControlNet that learns along: choose guided, too")
        return self
