"""Where a picture is taken: backgrounds, and light that fits them."""

import numpy as np

from .colours import kindred, of_warmth
from .description import Background, Light, Lighting
from .draws import bell, between, weighted

PLACES = {
    "plain": 1.0, "gradient": 1.5, "studio": 1.2, "room": 1.2, "street": 1.0, "landscape": 1.2, "bokeh": 1.0,
}  # fmt: skip
OUTDOORS = ("street", "landscape")


def sample_setting(random: np.random.Generator) -> tuple[Background, Lighting]:
    """Draw a background and the light there."""
    kind = weighted(random, PLACES)
    background = Background(
        kind=kind,
        colours=kindred(random, 3),
        seed=int(random.integers(2**31)),
        blur=between(random, 0.15, 0.9),
    )
    draw = weighted(
        random, {_overcast: 0.45, _sunny: 0.55} if kind in OUTDOORS else {_studio: 0.5, _window: 0.5}
    )
    return background, draw(random)


def _studio(random: np.random.Generator) -> Lighting:
    """A large key light, a fill from the other side and often a rim from behind."""
    side, warmth = random.choice((-1, 1)), bell(random, 0.25)
    key = Light(
        azimuth=round(float(side * random.uniform(12, 62)), 1),
        elevation=between(random, 12, 50),
        colour=of_warmth(warmth),
        strength=between(random, 0.75, 1.15),
        softness=between(random, 4, 18),
    )
    fill = Light(
        azimuth=round(float(-side * random.uniform(20, 70)), 1),
        elevation=between(random, 0, 25),
        colour=of_warmth(bell(random, 0.3)),
        strength=between(random, 0.12, 0.45),
    )
    rim = Light(
        azimuth=round(float(random.choice((-1, 1)) * random.uniform(125, 165)), 1),
        elevation=between(random, 15, 50),
        colour=of_warmth(bell(random, 0.5)),
        strength=between(random, 0.0, 0.7),
    )
    return _lighting(random, (key, fill, rim), sky=between(random, 0.22, 0.4), warmth=warmth)


def _window(random: np.random.Generator) -> Lighting:
    """Soft light from the side, the room's own light for the rest."""
    side, warmth = random.choice((-1, 1)), bell(random, 0.35)
    window = Light(
        azimuth=round(float(side * random.uniform(25, 80)), 1),
        elevation=between(random, 8, 35),
        colour=of_warmth(warmth),
        strength=between(random, 0.7, 1.1),
        softness=between(random, 12, 25),
    )
    lamp = Light(
        azimuth=round(float(-side * random.uniform(10, 90)), 1),
        elevation=between(random, 10, 60),
        colour=of_warmth(between(random, 0, 0.8)),
        strength=between(random, 0.1, 0.4),
    )
    return _lighting(random, (window, lamp), sky=between(random, 0.25, 0.45), warmth=warmth / 2)


def _overcast(random: np.random.Generator) -> Lighting:
    """Light from the whole sky; hardly a shadow."""
    sky = Light(
        azimuth=between(random, -60, 60),
        elevation=between(random, 40, 70),
        colour=of_warmth(between(random, -0.35, 0.05)),
        strength=between(random, 0.4, 0.7),
        softness=30.0,
    )
    return _lighting(random, (sky,), sky=between(random, 0.5, 0.7), warmth=-0.15)


def _sunny(random: np.random.Generator) -> Lighting:
    """The sun from the front or the side, low and warm or high and white; a blue sky fills the shadows."""
    elevation = between(random, 12, 55)
    sun = Light(
        azimuth=between(random, -75, 75),
        elevation=elevation,
        colour=of_warmth(max(0.0, 0.75 - elevation / 50)),
        strength=between(random, 0.9, 1.25),
        softness=2.0,
    )
    return _lighting(random, (sun,), sky=between(random, 0.35, 0.5), warmth=-0.35)


def _lighting(
    random: np.random.Generator, lights: tuple[Light, ...], *, sky: float, warmth: float
) -> Lighting:
    """Add what comes from above and, a good deal weaker and of the floor's colour, from below."""
    floor = between(random, 0.35, 0.65) * sky
    return Lighting(
        lights=lights,
        sky=tuple(round(sky * part, 4) for part in of_warmth(warmth)),
        ground=tuple(round(floor * part, 4) for part in of_warmth(bell(random, 0.3))),
        exposure=round(float(np.exp(random.normal(0, 0.1))), 3),
    )
