"""Who somebody is, drawn at random: the same seed and number give the same person, anywhere.

How far each shape goes is tuned (see `FACE`): as far as faces still look like people, because that is what makes
them different people; `report.py` measures it. Knows names of shapes and textures, no meshes.
"""

from collections.abc import Sequence

import numpy as np

from .colours import jittered
from .description import Colour, Identity
from .draws import bell, pick, weighted

ANCESTRIES = ("african", "asian", "caucasian")

# How far each shape may go, 0..1 of what the artists modelled as its extreme. Weights are drawn evenly up to it: a
# bell curve would make most people average, and its tails caricatures. Shapes that place and size features tell
# people apart and look natural far out; those that bend bone or skin do not, and stay small.
FACE: dict[str, float] = {
    "head/head-fat": 0.55, "head/head-scale-horiz": 0.55, "head/head-scale-vert": 0.5,
    "head/head-scale-depth": 0.4, "head/head-angle-in-out": 0.35, "head/head-back-scale-depth": 0.5,
    "forehead/forehead-scale-vert": 0.6, "forehead/forehead-nubian": 0.5, "forehead/forehead-temple": 0.6,
    "forehead/forehead-trans-backward-forward": 0.5,
    "eyebrows/eyebrows-angle-down-up": 0.7, "eyebrows/eyebrows-trans-down-up": 0.75,
    "eyebrows/eyebrows-trans-backward-forward": 0.6,
    "eyes/eye-scale": 0.6, "eyes/eye-trans-in-out": 0.75, "eyes/eye-trans-down-up": 0.55,
    "eyes/eye-height1": 0.5, "eyes/eye-height2": 0.6, "eyes/eye-height3": 0.5,
    "eyes/eye-corner1-down-up": 0.6, "eyes/eye-corner2-down-up": 0.65, "eyes/eye-epicanthus-in-out": 0.6,
    "eyes/eye-eyefold-angle-down-up": 0.6, "eyes/eye-eyefold-concave-convex": 0.5,
    "eyes/eye-eyefold-down-up": 0.6, "eyes/eye-push1-in-out": 0.4, "eyes/eye-push2-in-out": 0.4,
    "eyes/eye-bag": 0.6, "eyes/eye-bag-in-out": 0.5, "eyes/eye-bag-height": 0.5,
    "nose/nose-scale-horiz": 0.65, "nose/nose-scale-vert": 0.65, "nose/nose-scale-depth": 0.6,
    "nose/nose-width1": 0.6, "nose/nose-width2": 0.6, "nose/nose-width3": 0.7, "nose/nose-hump": 0.6,
    "nose/nose-curve-concave-convex": 0.5, "nose/nose-greek": 0.5, "nose/nose-point-down-up": 0.65,
    "nose/nose-point-width": 0.6, "nose/nose-volume": 0.5, "nose/nose-flaring": 0.6,
    "nose/nose-nostrils-width": 0.6, "nose/nose-nostrils-angle-down-up": 0.5, "nose/nose-base-down-up": 0.55,
    "nose/nose-trans-down-up": 0.5, "nose/nose-trans-backward-forward": 0.3, "nose/nose-septumangle": 0.5,
    "nose/nose-compression-compress-uncompress": 0.35,
    "cheek/cheek-bones": 0.65, "cheek/cheek-volume": 0.6, "cheek/cheek-inner": 0.5,
    "cheek/cheek-trans-down-up": 0.6,
    "mouth/mouth-scale-horiz": 0.65, "mouth/mouth-scale-vert": 0.6, "mouth/mouth-scale-depth": 0.4,
    "mouth/mouth-trans-down-up": 0.55, "mouth/mouth-trans-backward-forward": 0.35,
    "mouth/mouth-angles-down-up": 0.5, "mouth/mouth-cupidsbow": 0.6, "mouth/mouth-cupidsbow-width": 0.6,
    "mouth/mouth-philtrum-volume": 0.5, "mouth/mouth-laugh-lines-in-out": 0.4, "mouth/mouth-dimples-in-out": 0.5,
    "mouth/mouth-lowerlip-height": 0.65, "mouth/mouth-lowerlip-volume": 0.65, "mouth/mouth-lowerlip-width": 0.6,
    "mouth/mouth-upperlip-height": 0.65, "mouth/mouth-upperlip-volume": 0.65, "mouth/mouth-upperlip-width": 0.6,
    "chin/chin-width": 0.65, "chin/chin-height": 0.65, "chin/chin-prominent": 0.6, "chin/chin-prognathism": 0.5,
    "chin/chin-bones": 0.6, "chin/chin-cleft": 0.6, "chin/chin-jaw-drop": 0.6,
    "ears/ear-scale": 0.5, "ears/ear-wing": 0.6, "ears/ear-lobe": 0.6, "ears/ear-trans-down-up": 0.4,
    "ears/ear-rot-backward-forward": 0.4, "neck/neck-double": 0.4, "neck/neck-scale-horiz": 0.4,
    "neck/neck-scale-vert": 0.3,
}  # fmt: skip
STRENGTH = 0.75
"""Of all of `FACE`: what was found to be enough."""
LEANING = {
    "eyebrows/eyebrows-angle-down-up": 0.25, "eyebrows/eyebrows-trans-down-up": 0.15, "eyes/eye-scale": 0.2,
    "eyes/eye-height2": 0.12, "mouth/mouth-angles-down-up": 0.25,
}  # fmt: skip
"""Added to the weights drawn: without it most faces at rest look cross and screw up their eyes."""
OUTLINES = ("oval", "round", "rectangular", "square", "triangular", "invertedtriangular", "diamond")
OUTLINE = 0.5
ASYMMETRIES = (
    "brown-1", "brown-2", "cheek-1", "cheek-2", "ear-1", "eye-1", "eye-2", "eye-3", "eye-4", "eye-5", "jaw-1",
    "jaw-2", "jaw-3", "mouth-1", "mouth-2", "nose-1", "nose-2", "nose-3", "nose-4", "temple-1", "top-1",
)  # fmt: skip
ASYMMETRY = 0.3
BODY: dict[str, float] = {
    "torso/torso-scale-horiz": 0.35, "torso/torso-scale-depth": 0.3, "torso/torso-scale-vert": 0.25,
    "torso/torso-vshape": 0.4, "hip/hip-scale-horiz": 0.35, "hip/hip-scale-depth": 0.3,
    "hip/hip-waist-down-up": 0.4, "stomach/stomach-tone": 0.5, "buttocks/buttocks-volume": 0.5,
    "arms/upperarm-fat": 0.3, "arms/lowerarm-fat": 0.3, "legs/upperlegs-height": 0.3, "legs/lowerlegs-height": 0.3,
    "legs/upperleg-fat": 0.3, "hands/hand-scale": 0.3,
}  # fmt: skip

# Those of 2, 3 and 7 slant so far that everybody with them looks angry; 9 and 12 are bushy.
WOMEN_BROWS = tuple(f"eyebrow{i:03d}" for i in (1, 4, 5, 6, 8, 10, 11))
MEN_BROWS = tuple(f"eyebrow{i:03d}" for i in (1, 4, 5, 8, 9, 10, 11, 12))
DARK_EYES = ("brown", "brownlight")
LIGHT_EYES = ("blue", "lightblue", "deepblue", "green", "grey", "bluegreen", "ice")

# (sRGB, share among Caucasian hair, share among other hair)
HAIR_COLOURS: tuple[tuple[Colour, float, float], ...] = (
    ((0.06, 0.05, 0.05), 0.14, 0.58),  # black
    ((0.14, 0.10, 0.08), 0.20, 0.26),
    ((0.24, 0.16, 0.11), 0.20, 0.08),
    ((0.36, 0.24, 0.15), 0.15, 0.03),
    ((0.52, 0.38, 0.22), 0.12, 0.02),
    ((0.72, 0.58, 0.36), 0.10, 0.01),  # blond
    ((0.50, 0.22, 0.10), 0.09, 0.02),  # red
)
GREYS: tuple[Colour, ...] = ((0.42, 0.41, 0.41), (0.62, 0.61, 0.60), (0.82, 0.81, 0.79))

MEN_HAIR = {
    "short01": 3.0,
    "short02": 3.0,
    "short04": 3.0,
    "ponytail01": 0.6,
    "long01": 0.4,
    "curly": 0.4,
    "Harvey_Hawk1": 0.15,
}
WOMEN_HAIR = {
    "long01": 2.0, "ponytail01": 1.5, "curly": 1.5, "long_alpha7": 1.5, "junglebookhair": 1.2,
    "blondwithheadband": 1.0, "Wig_bun_blonde": 0.8, "short01": 0.5, "short04": 0.3,
}  # fmt: skip
"""With how likely each is. None hangs over an eye: bob01, bob02, short03, Braid01, curly2 and long2_alpha7 do, and
are left out; the renderer's truth says so (`face_visible`)."""


def sample_identity(number: int, *, seed: int = 0) -> Identity:
    """Draw person `number` of the people of `seed`."""
    random = np.random.default_rng((seed, number))
    male = random.random() < 0.5
    sex = float(np.clip((0.9 if male else 0.1) + random.normal(0, 0.1), 0, 1))
    age = float(random.triangular(18, 28, 85))
    ancestry = tuple(float(share) for share in random.dirichlet((0.45, 0.45, 0.45)))
    skin, skin_other, skin_mix = _skin(random, male, age, ancestry)
    hair_colour = _hair_colour(random, age, ancestry)
    lightness = float(np.exp(random.normal(0, 0.16)))
    warmth = float(random.normal(0, 0.05))
    bald = male and random.random() < 0.06 + 0.2 * (age > 45)
    return Identity(
        number=number,
        seed=int(random.integers(2**31)),
        sex=sex,
        age=round(age, 1),
        ancestry=ancestry,
        muscle=bell(random, 0.4),
        weight=bell(random, 0.4),
        height=_height(random),
        proportions=bell(random, 0.4),
        shape=_shape(random),
        skin=skin,
        skin_other=skin_other,
        skin_mix=skin_mix,
        skin_tint=(lightness * (1 + warmth), lightness, lightness * (1 - 1.5 * warmth)),
        complexion=_complexion(random, male, age, ancestry),
        eyes=_eyes(random, ancestry),
        brows=pick(random, MEN_BROWS if male else WOMEN_BROWS),
        brow_colour=jittered(random, hair_colour, 0.2) if random.random() < 0.4 else None,
        lashes=pick(random, ("Eyelashes01", "eyelashes02", "eyelashes03", "eyelashes04"))
        if not male
        else "Eyelashes01",
        hair=None if bald else sample_hair(random, male=male, african=ancestry[0]),
        hair_colour=hair_colour,
        beard=_beard(random) if male else None,
    )


def group_of(identity: Identity) -> str:
    """Whom impostors in the identity report are like: such as “asian woman”, by the largest share."""
    return f"{ancestry_of(identity)} {'man' if is_male(identity) else 'woman'}"


def ancestry_of(identity: Identity) -> str:
    """The largest share: one of `ANCESTRIES`."""
    return ANCESTRIES[int(np.argmax(identity.ancestry))]


def is_male(identity: Identity) -> bool:
    """Which half of `sex`; clothes, skins and beards go by it."""
    return identity.sex >= 0.5


def sample_hair(random: np.random.Generator, *, male: bool, african: float) -> str:
    """Draw a hair mesh that leaves both eyes free."""
    if random.random() < (0.45 if male else 0.35) * african:
        return "afro01"
    return weighted(random, MEN_HAIR if male else WOMEN_HAIR)


def _height(random: np.random.Generator) -> float:
    """The mesh's tallest are 72 cm above its average, its smallest 37 cm below; people differ by some 6 cm."""
    metres = bell(random, 0.055, 0.15)
    return round(metres / (0.72 if metres > 0 else 0.37), 3)


def _shape(random: np.random.Generator) -> dict[str, float]:
    face = {name: STRENGTH * most for name, most in FACE.items()}
    shape = {name: random.uniform(-most, most) + LEANING.get(name, 0) for name, most in (face | BODY).items()}
    first, second = random.choice(len(OUTLINES), 2, replace=False)
    shape[f"head/head-{OUTLINES[first]}"] = random.uniform(0, OUTLINE)
    shape[f"head/head-{OUTLINES[second]}"] = random.uniform(0, OUTLINE / 2)
    shape |= {f"asym/asym-{name}": random.uniform(-ASYMMETRY, ASYMMETRY) for name in ASYMMETRIES}
    return {name: round(float(weight), 3) for name, weight in shape.items()}


def _skin(
    random: np.random.Generator, male: bool, age: float, ancestry: Sequence[float]
) -> tuple[str, str, float]:
    """Name two skins, of the two largest shares of ancestry, and how much of the second there is."""
    # Skins come for three ages; people in between get either.
    felt = age + random.normal(0, 4)
    band = "young" if felt < 36 else "middleage" if felt < 58 else "old"
    order = np.argsort(ancestry)[::-1]
    sex = "male" if male else "female"
    first, second = (f"{band}_{ANCESTRIES[i]}_{sex}" for i in order[:2])
    share = ancestry[order[1]] / (ancestry[order[0]] + ancestry[order[1]])
    return first, second, round(float(np.clip(share + random.normal(0, 0.08), 0, 0.5)), 3)


def _complexion(
    random: np.random.Generator, male: bool, age: float, ancestry: Sequence[float]
) -> dict[str, float]:
    light = 1 - ancestry[0]
    drawn = {
        "freckles": light * random.random() ** 4,
        "moles": random.random() ** 1.5,
        "redness": light * random.random() ** 2 * (0.6 + 0.4 * (age > 50)),
        "stubble": random.random() ** 1.3 if male else 0.0,
        "lips": random.random() ** (2 if male else 0.8) * (0.5 if male else 1),
    }
    return {name: round(float(amount), 3) for name, amount in drawn.items()}


def _hair_colour(random: np.random.Generator, age: float, ancestry: Sequence[float]) -> Colour:
    colours = [colour for colour, *_ in HAIR_COLOURS]
    light_share = ancestry[2] ** 2  # who has some light-haired forebears has dark hair most of the time
    shares = np.array([light * light_share + dark * (1 - light_share) for _, light, dark in HAIR_COLOURS])
    colour = colours[random.choice(len(colours), p=shares / shares.sum())]
    if random.random() < np.clip((age - 38) / 45, 0, 0.9):
        grey, share = pick(random, GREYS), float(random.uniform(0.4, 1))
        colour = tuple((1 - share) * old + share * new for old, new in zip(colour, grey))
    return jittered(random, colour, 0.1)


def _eyes(random: np.random.Generator, ancestry: Sequence[float]) -> str:
    return pick(random, LIGHT_EYES if random.random() < 0.65 * ancestry[2] else DARK_EYES)


def _beard(random: np.random.Generator) -> str | None:
    drawn = random.random()
    return "Full_beard" if drawn < 0.12 else "Moustache" if drawn < 0.17 else None
