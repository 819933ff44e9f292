"""What a rendered picture is made of, in words and numbers: a person, how they stand, the camera, the light.

The sampler writes these, the renderer reads them, the shards keep them as JSON. Nothing here knows about meshes or
torch. Metres and degrees; colours are sRGB 0..1 unless a line says otherwise. The floor is y = 0, y points up and, at
heading 0, a figure looks along +z, its left hand towards +x.
"""

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field

Colour = tuple[float, float, float]
Angles = tuple[float, float, float]
Kind = typing.TypeVar("Kind")

# The joints a pose may name. “left” is the person's own left.
JOINTS = (
    "waist", "chest", "neck", "head",
    "left_collar", "left_shoulder", "left_elbow", "left_wrist",
    "right_collar", "right_shoulder", "right_elbow", "right_wrist",
    "left_hip", "left_knee", "left_ankle",
    "right_hip", "right_knee", "right_ankle",
)  # fmt: skip
BODY_KEYPOINTS = (
    "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist",
    "right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle",
)  # fmt: skip
FACE_KEYPOINTS = ("right_eye", "left_eye", "nose", "mouth_right", "mouth_left")
"""insightface's order: seen from the front the eye on the picture's left comes first, the person's right one."""

HANDS = ("flat", "open", "relaxed", "fist", "pointing")
FRAMES = ("head", "bust", "half", "body")
BACKGROUNDS = (
    "plain", "gradient", "studio", "room", "street", "landscape", "bokeh",
    "beach", "snow", "sunset", "forest", "garden", "night",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Garment:
    """One thing worn: its name as `assets.Assets.garments`, and what its texture is multiplied by."""

    name: str
    tint: Colour = (1.0, 1.0, 1.0)
    colour: Colour | None = None
    """When given, the texture keeps only its pattern of light and dark and takes this colour."""
    lower: Colour | None = None
    """When given, the trousers of a suit take this colour."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who somebody is: everything that stays the same from picture to picture."""

    number: int
    seed: int
    sex: float = 0.5
    """0 is fully female, 1 fully male."""
    age: float = 30.0
    """Years, 18 to 85."""
    ancestry: tuple[float, float, float] = (1 / 3, 1 / 3, 1 / 3)
    """Weights of the African, Asian and Caucasian shapes of the mesh; they sum to 1."""
    muscle: float = 0.0
    weight: float = 0.0
    height: float = 0.0
    """-1 is the smallest of that age and sex, 1 the tallest. So too with muscle, weight and proportions."""
    proportions: float = 0.0
    shape: Mapping[str, float] = field(default_factory=dict)
    """Weight -1..1 of each shape in `assets.Assets.shapes`; a shape goes both ways, left and right move together."""
    skin: str = ""
    skin_other: str = ""
    skin_mix: float = 0.0
    """How much of `skin_other` is mixed into `skin`, 0..1."""
    skin_tint: Colour = (1.0, 1.0, 1.0)
    """What linear skin colour is multiplied by."""
    complexion: Mapping[str, float] = field(default_factory=dict)
    """freckles, moles, redness, stubble, lips: 0..1 each; where the moles are comes from `seed`."""
    eyes: str = "brown"
    brows: str = "eyebrow001"
    brow_colour: Colour | None = None
    """None: a darker shade of the hair."""
    lashes: str = "Eyelashes01"
    hair: str | None = None
    """A name of `assets.Assets.hair`, or None for a bald head."""
    hair_colour: Colour = (0.2, 0.14, 0.1)
    beard: str | None = None
    """A name of `assets.Assets.beards`."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One person in one picture: how they look, stand and are dressed here."""

    identity: Identity
    expression: Mapping[str, float] = field(default_factory=dict)
    """Weight 0..1 of each name in `assets.Assets.expressions` (Apple's ARKit names: mouthSmileLeft, jawOpen, …)."""
    gaze: tuple[float, float] = (0.0, 0.0)
    """Where the eyes turn, against the head: degrees to the person's left, degrees up."""
    pose: Mapping[str, Angles] = field(default_factory=dict)
    """Per joint (forward, outward, twist), degrees from standing straight, arms hanging down, palms inwards.

    forward: the limb's far end swings to the front (a knee or an ankle bent back is negative; for waist, chest, neck
    and head the top bows forward). outward: away from the body's middle (waist … head: towards the person's left).
    twist: turns about the limb's own axis so that its front looks outward (waist … head: towards the person's left).
    A joint turns in the frame of the one above it, twist first, then outward, then forward.
    """
    hands: tuple[str, str] = ("flat", "flat")
    """What the person's left and right hand do: each one of `HANDS`."""
    seat: Colour | None = None
    """The colour of a stool under somebody whose pose sits; None for no stool."""
    clothes: tuple[Garment, ...] = ()
    glasses: Garment | None = None
    hat: Garment | None = None
    hair: str | None = None
    """Hair in this picture instead of the identity's own; “” for none; None keeps the identity's."""
    hair_colour: Colour | None = None
    place: tuple[float, float] = (0.0, 0.0)
    """(x, z) on the floor, metres."""
    heading: float = 0.0
    """Degrees the figure turns to its own left (towards +x) about the vertical."""


@dataclass(frozen=True, kw_only=True)
class Camera:
    """Where the picture is taken from, told by what it frames; the truth has the resulting matrices.

    `frame` says which box round `subjects` (all figures when empty) counts: the head (chin to crown), the bust
    (head and shoulders), half (hips up) or the whole body. That box takes `fill` of the picture's height (or of its
    width, if that is what it would overflow), and its middle lands at the picture's middle plus `shift`.
    """

    frame: str = "bust"
    subjects: tuple[int, ...] = ()
    fill: float = 0.8
    shift: tuple[float, float] = (0.0, 0.0)
    """Of the picture's width and height; (+, +) moves the subject right and down."""
    yaw: float = 0.0
    """Degrees the camera goes round towards +x; the figure at heading 0 is then seen from its left."""
    pitch: float = 0.0
    """Degrees the camera rises; positive looks down on the subject."""
    roll: float = 0.0
    field_of_view: float = 25.0
    """Vertical, degrees: small is a long lens."""


@dataclass(frozen=True, kw_only=True)
class Light:
    """A distant light; directions are told from the camera."""

    azimuth: float = 40.0
    """0 is from behind the camera, 90 from the picture's right, 180 from behind the subject."""
    elevation: float = 35.0
    colour: Colour = (1.0, 1.0, 1.0)
    """Linear; white is (1, 1, 1)."""
    strength: float = 1.0
    softness: float = 4.0
    """Degrees the light is wide: how soft its shadow's edge is."""


@dataclass(frozen=True, kw_only=True)
class Lighting:
    """All light of a picture: the first of `lights` throws a shadow, the others do not."""

    lights: tuple[Light, ...] = (Light(),)
    sky: Colour = (0.32, 0.34, 0.38)
    """Linear light from above; `ground` from below."""
    ground: Colour = (0.16, 0.14, 0.12)
    exposure: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Background:
    """What is behind the figures: one of `BACKGROUNDS`, painted from `colours` and `seed`."""

    kind: str = "gradient"
    colours: tuple[Colour, ...] = ((0.75, 0.78, 0.82), (0.5, 0.55, 0.62))
    seed: int = 0
    blur: float = 0.5
    """0 is sharp, 1 far out of focus."""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Everything a picture is made from; the same Picture gives the same bytes on the same device."""

    figures: tuple[Figure, ...]
    camera: Camera = Camera()
    lighting: Lighting = Lighting()
    background: Background = Background()
    width: int = 192
    height: int = 192
    look: str = "photo"
    """“photo” or a style preset's name; the renderer always gives the photo, `looks` makes the rest of it."""
    seed: int = 0


def to_json(thing: object) -> object:
    """Turn any description into dicts, lists and plain values that `json.dumps` takes."""
    if dataclasses.is_dataclass(thing):
        return {f.name: to_json(getattr(thing, f.name)) for f in dataclasses.fields(thing)}
    if isinstance(thing, Mapping):
        return {str(key): to_json(value) for key, value in thing.items()}
    if isinstance(thing, tuple | list):
        return [to_json(value) for value in thing]
    return thing


def from_json(kind: type[Kind], value: object) -> Kind:
    """Rebuild what `to_json` wrote: `from_json(Picture, json.loads(text))`."""
    return _read(kind, value)


def _read(kind: object, value: object) -> object:
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(kind)
        return kind(**{name: _read(hints[name], part) for name, part in value.items()})
    origin, inner = typing.get_origin(kind), typing.get_args(kind)
    if origin is types.UnionType:
        return None if value is None else _read(next(part for part in inner if part is not type(None)), value)
    if origin is tuple:
        each = [inner[0]] * len(value) if inner[-1] is ... else inner
        return tuple(_read(part, item) for part, item in zip(each, value, strict=True))
    if origin is Mapping:  # collections.abc.Mapping[str, X]
        return {key: _read(inner[1], item) for key, item in value.items()}
    return float(value) if kind is float else value
