"""Twins: one scene twice, with other hair, clothes, expression and surroundings, and nothing else changed.

Where every picture differs from the next one in all things at once, a small model hardly learns what a word does. Of
two pictures of one person in one place and light, what differs is what their captions say otherwise. Colours and
places are drawn evenly, as prompts ask for them, not as people have them.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from . import words
from .colours import jittered, kindred
from .description import Background, Colour, Figure, Garment, Picture
from .draws import between, pick, weighted
from .expressions import sample_expression
from .identities import is_male, sample_hair
from .wardrobe import GLASSES, HATS

PLACES: Mapping[str, float] = {
    "plain": 3.0, "gradient": 1.0, "studio": 0.5, "room": 0.8, "street": 0.8, "landscape": 0.8, "bokeh": 0.8,
    "beach": 1.0, "snow": 1.0, "sunset": 1.0, "forest": 1.0, "garden": 1.0, "night": 1.0,
}  # fmt: skip
# Of `backdrops`, sRGB: sky above, sky below, the further hills, the nearer ones and the ground; of a street the sky,
# then house fronts and the pavement. Above 1: white even in the shade.
SCENERIES: Mapping[str, tuple[Colour, ...]] = {
    "beach": ((0.3, 0.58, 0.92), (0.72, 0.86, 0.96), (0.08, 0.42, 0.62), (0.95, 0.84, 0.62)),
    "snow": ((0.72, 0.79, 0.9), (0.93, 0.95, 0.98), (0.95, 0.98, 1.05), (1.25, 1.28, 1.32)),
    "sunset": ((0.4, 0.2, 0.45), (1.0, 0.52, 0.18), (0.4, 0.14, 0.16), (0.25, 0.14, 0.1)),
    "forest": ((0.1, 0.22, 0.08), (0.25, 0.42, 0.16), (0.06, 0.17, 0.06), (0.12, 0.3, 0.09)),
    "garden": ((0.48, 0.7, 0.95), (0.5, 0.72, 0.38), (0.14, 0.46, 0.12), (0.28, 0.68, 0.18)),
    "night": ((0.02, 0.03, 0.1), (0.05, 0.06, 0.17), (0.1, 0.09, 0.13), (0.17, 0.13, 0.1), (0.08, 0.08, 0.1)),
}
OTHER_HAIR, BALD, GLASSES_ON, HAT_ON, OTHER_FACE = 0.5, 0.05, 0.3, 0.1, 0.4  # how often
WIDTH = 0.08  # of the draw about a named colour


def twin_of(view: int) -> int:
    """The first of a scene's two."""
    return view - view % 2


def is_second(record: Mapping) -> bool:
    """Whether a picture's record is of the second of twins."""
    return record.get("twin", record["scene"]) != record["scene"]


def reworded(picture: Picture, seed: int) -> Picture:
    """The same people there in the same light, with other things to be said of them and of where they are."""
    random = np.random.default_rng([seed, 0x7B1])
    return replace(
        picture,
        figures=tuple(_figure(figure, random) for figure in picture.figures),
        background=_background(random),
        seed=int(random.integers(2**31)),
    )


def _figure(figure: Figure, random: np.random.Generator) -> Figure:
    identity, hair = figure.identity, figure.hair
    if random.random() < OTHER_HAIR:
        hair = sample_hair(random, male=is_male(identity), african=identity.ancestry[0])
    if random.random() < BALD:
        hair = ""
    [worn, *others] = figure.clothes
    return replace(
        figure,
        hair=hair,
        hair_colour=_named(words.HAIR_COLOURS, random),
        clothes=(replace(worn, colour=_named(words.COLOURS, random)), *others),
        glasses=Garment(name=GLASSES) if random.random() < GLASSES_ON else None,
        hat=Garment(name=pick(random, HATS)) if random.random() < HAT_ON else None,
        expression=sample_expression(random) if random.random() < OTHER_FACE else figure.expression,
    )


def _background(random: np.random.Generator) -> Background:
    kind = weighted(random, PLACES)
    colours = kindred(random, 3)
    if kind in SCENERIES:
        colours = tuple(jittered(random, colour, WIDTH) for colour in SCENERIES[kind])
    elif kind in ("plain", "gradient"):
        named = _named(words.COLOURS, random)
        colours = (named, jittered(random, named, 2 * WIDTH))
    return Background(
        kind=kind, colours=colours, seed=int(random.integers(2**31)), blur=between(random, 0.15, 0.9)
    )


def _named(names: Mapping[str, Colour], random: np.random.Generator) -> Colour:
    return jittered(random, pick(random, list(names.values())), WIDTH)
