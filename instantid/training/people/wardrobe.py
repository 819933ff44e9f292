"""What somebody wears in one picture: garments by name, dyed at random; sometimes glasses or a hat."""

from dataclasses import dataclass, replace

import numpy as np

from .colours import any_colour, jittered
from .description import Colour, Garment, Identity
from .draws import pick, weighted
from .identities import HAIR_COLOURS, is_male, sample_hair

WOMEN_SUITS = ("female_casualsuit01", "female_casualsuit02", "female_elegantsuit01", "female_sportsuit01")
MEN_SUITS = (
    "male_casualsuit01", "male_casualsuit02", "male_casualsuit03", "male_casualsuit04", "male_casualsuit05",
    "male_casualsuit06", "male_elegantsuit01", "male_worksuit01",
)  # fmt: skip
ELEGANT = ("male_elegantsuit01", "female_elegantsuit01")
"""Of one cloth from top to bottom; other suits are a shirt and trousers."""
TROUSERS: tuple[Colour, ...] = (
    (0.16, 0.20, 0.32), (0.25, 0.33, 0.48), (0.10, 0.10, 0.11), (0.33, 0.33, 0.35), (0.48, 0.41, 0.31),
    (0.27, 0.20, 0.16), (0.66, 0.62, 0.54),
)  # fmt: skip
DRESSES = ("F_Dress_01", "F_Dress_02", "F_Dress_03", "F_Dress_04", "Cocktaildress", "TubeDress")
TOPS = ("VNeckTop", "spaghetti-top", "Sleeveless", "short_tail_camo_tee", "Tank_Top_01", "Rolled_neck_blouse")
BOTTOMS = ("Tightjeans", "Tightjeans", "miniskirt", "JeansSkirt", "ShortJeans")
SKIRTS = ("miniskirt", "JeansSkirt", "female_elegantsuit01")
SHOES = ("shoes01", "shoes02", "shoes03", "shoes04", "shoes05", "shoes06")
HATS = ("fedora", "fedora_cocked", "Fishing_Hat_01", "pith_helmet")
GLASSES = "glasses"
DYES: tuple[Colour, ...] = (*(colour for colour, *_ in HAIR_COLOURS), (0.5, 0.12, 0.14), (0.55, 0.3, 0.42))
"""Natural ones, dark red and rose."""


@dataclass(frozen=True, kw_only=True)
class Outfit:
    """What `description.Figure` calls clothes, glasses, hat and hair."""

    clothes: tuple[Garment, ...]
    glasses: Garment | None
    hat: Garment | None
    hair: str | None
    """Other hair than usual, or None."""
    hair_colour: Colour | None


def sample_outfit(
    identity: Identity, random: np.random.Generator, *, other_hair: float = 0.3, extras: float = 0.15
) -> Outfit:
    """Dress somebody.

    Args:
        other_hair: how often the hair is cut differently; its colour differs a fourth as often.
        extras: how often there are glasses; hats come two thirds as often.
    """
    male = is_male(identity)
    clothes = _man(random) if male else _woman(random)
    shoes = _dyed(random, pick(random, SHOES), 0.3)
    hair = None
    if identity.hair and random.random() < other_hair:
        hair = sample_hair(random, male=male, african=identity.ancestry[0])
    dye = random.random() < other_hair / 4
    return Outfit(
        clothes=(*clothes, shoes),
        glasses=Garment(name=GLASSES) if random.random() < extras else None,
        hat=_dyed(random, pick(random, HATS), 0.3) if random.random() < extras / 1.5 else None,
        hair=hair,
        hair_colour=jittered(random, pick(random, DYES), 0.15) if dye else None,
    )


def has_skirt(outfit: Outfit) -> bool:
    """Whether legs would pull a mesh apart that goes round both."""
    return any(garment.name in (*DRESSES, *SKIRTS) for garment in outfit.clothes)


def _man(random: np.random.Generator) -> tuple[Garment, ...]:
    return (_suit(random, pick(random, MEN_SUITS)),)


def _woman(random: np.random.Generator) -> tuple[Garment, ...]:
    kind = weighted(random, {"suit": 0.4, "dress": 0.25, "separates": 0.35})
    if kind == "suit":
        return (_suit(random, pick(random, WOMEN_SUITS)),)
    if kind == "dress":
        return (_dyed(random, pick(random, DRESSES), 0.8),)
    bottom = pick(random, BOTTOMS)
    denim = Garment(name=bottom, tint=jittered(random, (1.0, 1.0, 1.0), 0.2))
    return _dyed(random, pick(random, TOPS), 0.8), denim if "eans" in bottom else _dyed(random, bottom, 0.7)


def _suit(random: np.random.Generator, name: str) -> Garment:
    """A third as it came, a little tinted."""
    garment = _dyed(random, name, 0.65)
    if garment.colour is None or name in ELEGANT:
        return garment
    return replace(garment, lower=jittered(random, pick(random, TROUSERS), 0.2))


def _dyed(random: np.random.Generator, name: str, share: float) -> Garment:
    """In any colour, or with the given chance not: then as it came, a little tinted."""
    return Garment(name=name, colour=any_colour(random)) if random.random() < share else _tinted(random, name)


def _tinted(random: np.random.Generator, name: str) -> Garment:
    """As it came, but no two of the same colour; clear tints change white cloth most."""
    strength = random.uniform(0, 0.9)
    colour = any_colour(random, light=1.0, dark=0.5)
    return Garment(name=name, tint=tuple(round(1 - strength * (1 - part), 4) for part in colour))
