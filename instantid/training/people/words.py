"""What one sees on a described picture, in plain words: who, hair, clothes, face, view, place. None where nothing is
worth saying. Ancestry is never put in words: a name for a look is neither needed nor ours to give.
"""

from collections.abc import Mapping

import numpy as np

from .description import BACKGROUNDS, Camera, Colour, Figure, Garment, Identity, Lighting, from_json
from .truth import FigureTruth

# Names of colours as people use them for cloth; sRGB.
COLOURS: Mapping[str, Colour] = {
    "black": (0.06, 0.06, 0.07),
    "white": (0.95, 0.95, 0.95),
    "grey": (0.5, 0.5, 0.5),
    "red": (0.75, 0.1, 0.1),
    "orange": (0.9, 0.5, 0.12),
    "yellow": (0.93, 0.83, 0.2),
    "green": (0.15, 0.5, 0.2),
    "teal": (0.1, 0.5, 0.52),
    "blue": (0.18, 0.32, 0.75),
    "light blue": (0.6, 0.76, 0.92),
    "navy": (0.08, 0.11, 0.3),
    "purple": (0.45, 0.2, 0.58),
    "pink": (0.93, 0.6, 0.7),
    "brown": (0.4, 0.26, 0.15),
    "beige": (0.85, 0.77, 0.62),
}
HAIR_COLOURS: Mapping[str, Colour] = {
    "black": (0.05, 0.04, 0.04),
    "dark brown": (0.16, 0.1, 0.07),
    "brown": (0.32, 0.2, 0.12),
    "auburn": (0.42, 0.16, 0.08),
    "red": (0.62, 0.25, 0.1),
    "dark blonde": (0.52, 0.39, 0.22),
    "blonde": (0.78, 0.62, 0.38),
    "grey": (0.5, 0.49, 0.48),
    "white": (0.85, 0.84, 0.82),
}
# By the beginning of the asset's name; the first that fits counts.
HAIR: Mapping[str, str] = {
    "afro": "an afro",
    "bob": "{} bobbed hair",
    "Braid": "{} braided hair",
    "blondwithheadband": "{} hair and a headband",
    "curly": "curly {} hair",
    "Harvey_Hawk": "a {} mohawk",
    "junglebook": "long {} hair",
    "long": "long {} hair",
    "minoan": "long curled {} hair",
    "ponytail": "{} hair in a ponytail",
    "short": "short {} hair",
    "southernbelle": "{} ringlets",
    "Wig_bun": "{} hair in a bun",
}
CLOTHES: Mapping[str, str] = {
    "Asymmetric_Tunic": "tunic with a sash",
    "Coat": "coat",
    "Cocktail": "cocktail dress",
    "F_Beach_Dress": "beach dress",
    "F_Dress": "dress",
    "F_One-piece": "swimsuit",
    "Harvey_Sweater": "sweater",
    "Harvey_Vest": "vest",
    "Rolled_neck": "turtleneck",
    "Sari": "sari",
    "Sleeveless": "sleeveless top",
    "Tank_Top": "tank top",
    "TubeDress": "dress",
    "TubeTop": "strapless top",
    "VNeck": "v-neck top",
    "female_casualsuit": "casual clothes",
    "female_elegantsuit": "suit",
    "female_sportsuit": "sports clothes",
    "female_top": "top",
    "male_casualsuit": "casual clothes",
    "male_elegantsuit": "suit",
    "male_worksuit": "work clothes",
    "short_tail_camo": "camouflage shirt",
    "spaghetti": "top with thin straps",
}
HATS: Mapping[str, str] = {"fedora": "a fedora", "pith": "a pith helmet", "Fishing": "a fishing hat"}
PLACES: Mapping[str, tuple[str, ...]] = dict(
    zip(
        BACKGROUNDS,
        (
            ("plain {} background", "in front of a {} wall"),
            ("soft {} background", "{} backdrop"),
            ("in a studio", "studio background"),
            ("in a room", "indoors"),
            ("in the street", "in a city"),
            ("outdoors", "in the country"),
            ("blurred lights behind", "bokeh background"),
            ("at the beach", "on a beach"),
            ("in the snow", "snow behind"),
            ("at sunset", "sunset behind"),
            ("in a forest", "forest behind"),
            ("in a garden", "in a park"),
            ("at night", "in a city at night"),
        ),
        strict=True,
    )
)
FRAMINGS: Mapping[str, tuple[str, ...]] = {
    "head": ("close-up", "close-up portrait", "face"),
    "bust": ("portrait", "head and shoulders", "headshot"),
    "half": ("upper body", "half-length portrait", "waist-up"),
    "body": ("full body", "full-length picture", "wide shot"),
}
_NOBODY = {"number": 0, "seed": 0}  # records keep who it is as a number; clothes do not ask
PLURALS = {"man": "men", "woman": "women", "person": "people"}


def colour_name(colour: Colour, names: Mapping[str, Colour] = COLOURS) -> str:
    """The name of the nearest colour; hue weighs more than brightness."""
    table = np.array(list(names.values()))
    mean, wanted = table.mean(axis=1, keepdims=True), np.array(colour)
    far = ((table - mean) - (wanted - wanted.mean())) ** 2
    return list(names)[int((far.sum(axis=1) + 0.6 * (mean[:, 0] - wanted.mean()) ** 2).argmin())]


def colour_in(text: str, names: Mapping[str, Colour]) -> str | None:
    """The longest of the names that a text says: “light blue” goes before “blue”."""
    return next((name for name in sorted(names, key=len, reverse=True) if f" {name} " in f" {text} "), None)


def noun(identity: Identity) -> str:
    """man, woman, or person in between."""
    return "woman" if identity.sex < 0.45 else "man" if identity.sex > 0.55 else "person"


def age(identity: Identity) -> str | None:
    """young, middle-aged, old, or nothing."""
    years = identity.age
    return "young" if years < 30 else None if years < 45 else "middle-aged" if years < 62 else "old"


def hair(figure: Figure) -> str | None:
    """Like “short brown hair”; None under a hat."""
    if figure.hat:
        return None
    name = figure.identity.hair if figure.hair is None else figure.hair
    if not name:
        return "a bald head"
    colour = colour_name(figure.hair_colour or figure.identity.hair_colour, HAIR_COLOURS)
    return _named(name, HAIR, "{} hair").format(colour)


def beard(figure: Figure) -> str | None:
    """a beard, a moustache, or stubble."""
    name = figure.identity.beard
    if name:
        return "a moustache" if name == "Moustache" else "a beard"
    return "stubble" if figure.identity.complexion.get("stubble", 0) > 0.5 else None


def clothes(figure: Figure) -> str | None:
    """Like “a red dress”; shoes and trousers are not told."""
    for garment in figure.clothes:
        word = _named(garment.name, CLOTHES, None)
        if word:
            dyed = _dye(garment)
            words = f"{dyed} {word}" if dyed else word
            return words if word.endswith("clothes") else f"{_article(words)} {words}"
    return None


def clothes_of(figure: Mapping) -> str | None:
    """The same of a figure as a shard's record has it."""
    return clothes(from_json(Figure, figure["description"] | {"identity": _NOBODY}))


def worn_on_head(figure: Figure) -> list[str]:
    """glasses, a hat."""
    worn = ["glasses"] if figure.glasses else []
    return [*worn, _named(figure.hat.name, HATS, "a hat")] if figure.hat else worn


def expression(figure: Figure) -> str | None:
    """Like “smiling”."""
    both = {name.removesuffix("Left").removesuffix("Right"): 0.0 for name in figure.expression}
    for name, weight in figure.expression.items():
        name = name.removesuffix("Left").removesuffix("Right")
        both[name] = max(both[name], weight)

    def much(name: str, limit: float) -> bool:
        return both.get(name, 0) > limit

    if much("eyeBlink", 0.75):
        return "with closed eyes"
    if much("mouthSmile", 0.35):
        return "laughing" if much("jawOpen", 0.25) else "smiling"
    if much("jawOpen", 0.3):
        return "surprised" if much("browInnerUp", 0.3) or much("eyeWide", 0.3) else "with an open mouth"
    if much("mouthFrown", 0.35):
        return "frowning" if much("browDown", 0.35) else "looking sad"
    if much("browDown", 0.5) or much("noseSneer", 0.4):
        return "looking angry"
    return "puckering the lips" if much("mouthPucker", 0.5) else None


def view(truth: FigureTruth) -> str | None:
    """Where the head points, as seen in the picture; None for slight turns."""
    yaw, pitch, _ = truth.head_angles
    side = "right" if yaw > 0 else "left"
    if abs(yaw) > 100:
        return "seen from behind"
    if abs(yaw) > 55:
        return f"in profile, facing {side}"
    if abs(yaw) > 22:
        return f"looking to the {side}"
    if abs(pitch) > 18:
        return "looking up" if pitch > 0 else "looking down"
    return "facing the camera" if abs(yaw) < 10 and abs(pitch) < 12 else None


def light(lighting: Lighting) -> str | None:
    """Like “warm light”; from the main light alone."""
    if not lighting.lights:
        return "soft light"
    main = lighting.lights[0]
    red, _, blue = main.colour
    side = abs((main.azimuth + 180) % 360 - 180)
    if side > 120:
        return "backlit"
    if red > 1.25 * blue:
        return "warm light"
    if blue > 1.15 * red:
        return "cold light"
    if 65 < side <= 120:
        return "light from the side"
    return "soft light" if main.softness > 12 else None


def framing(camera: Camera) -> tuple[str, ...]:
    """Ways to name what the picture shows of people."""
    return FRAMINGS[camera.frame]


def _named(name: str, table: Mapping[str, str], otherwise: str | None) -> str | None:
    return next((word for start, word in table.items() if name.startswith(start)), otherwise)


def _dye(garment: Garment) -> str | None:
    """The garment's colour, where it is known: cloth of its own pattern is left unnamed."""
    return None if garment.colour is None else colour_name(garment.colour)


def _article(words: str) -> str:
    return "an" if words[0] in "aeiou" else "a"
