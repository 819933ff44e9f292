"""What may be asked of the `decoder` stage."""

from pydantic import Field

from ..people import Frozen
from .settings import Share


class Options(Frozen):
    """Of the decoder's stage."""

    coarsest: int = Field(
        0,
        ge=0,
        description="Channels that the coarsest level is widened to, before anything is learned; 0: as it is.",
    )
    once: bool = Field(
        False,
        description="What is made for a picture is kept: memory instead of time, which CPUs are short of. Else it is "
        "made anew each time.",
    )
    crop: int = Field(64, ge=0, description="Side of the squares about faces that are learned from; 0: all.")
    real: Share = Field(0.25, description="Share of a batch that is latents of real pictures.")
    near: Share = Field(
        0.375, description="Share that is made out of noisy real ones. The rest is made of noise."
    )
    edges: float = Field(1.0, description="Weight of differences between edges, at three scales.")
    colours: float = Field(0.5, description="Weight of differences in hue.")
    realism: float = Field(
        2.0,
        ge=0,
        description="How much more not being taken for a picture counts than pixels do, by gradient.",
    )
    borders: float = Field(
        0.0,
        ge=0,
        description="Weight of frames along borders that true pictures have not: convolutions see zeros beyond, and "
        "discriminators look past it. What a square shows ends there, too, and tells of it.",
    )
    likeness: float = Field(
        0.0, ge=0, description="Weight of not being recognised; for squares that whole faces lie in."
    )
    lifelike: float = Field(
        0.0,
        ge=0,
        description="As realism, of faces alone, by what the face model sees; for squares that whole faces lie in.",
    )
