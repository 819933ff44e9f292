"""A picture of somebody, drawn at random: pose, look, light, camera, background and clothes, all from one seed.

Kinds of pictures are `FRAMINGS`; `sample_picture` draws one of given people. Knows no meshes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from . import expressions, poses, settings
from .colours import any_colour
from .description import Camera, Figure, Identity, Picture
from .draws import bell, between, weighted
from .poses import Head
from .wardrobe import has_skirt, sample_outfit

MOST_PEOPLE = 3


@dataclass(frozen=True, kw_only=True)
class Framing:
    """One kind of picture: how much of people it shows, and how freely head and camera turn.

    Turns are widths of bell curves in degrees, cut off at 2.5 times that.
    """

    frame: str
    fill: tuple[float, float]
    yaw: float
    pitch: float
    roll: float = 4.0
    shift: float = 0.03
    calm: bool = True
    turned_body: float = 12.0


FRAMINGS: dict[str, Framing] = {
    "close-up": Framing(frame="head", fill=(0.62, 0.95), yaw=17, pitch=7),
    "portrait": Framing(frame="bust", fill=(0.84, 1.0), yaw=20, pitch=7),
    "half": Framing(frame="half", fill=(0.85, 1.0), yaw=20, pitch=7, calm=False, turned_body=18),
    "full body": Framing(frame="body", fill=(0.72, 0.95), yaw=18, pitch=6, calm=False, turned_body=25),
    "cropped": Framing(frame="head", fill=(0.95, 1.25), yaw=16, pitch=7, shift=0.12),
    "turned": Framing(frame="bust", fill=(0.84, 1.0), yaw=38, pitch=13),
}
PORTRAITS = ("close-up", "portrait")
LIKELY = {"close-up": 0.3, "portrait": 0.3, "half": 0.15, "full body": 0.12, "cropped": 0.05, "turned": 0.08}
LIKELY_TOGETHER = {"portrait": 0.35, "half": 0.4, "full body": 0.25}


def sample_picture(
    identities: Sequence[Identity],
    *,
    seed: int,
    framing: str | None = None,
    width: int = 192,
    height: int = 192,
    look: str = "photo",
) -> Picture:
    """Draw a picture of one to three people.

    Args:
        seed: everything but who is in it; the same seed and people give the same picture.
        framing: one of `FRAMINGS`; any likely one when None.

    Raises:
        ValueError: nobody, or more than three people, were asked for.
    """
    if not 1 <= len(identities) <= MOST_PEOPLE:
        raise ValueError(f"A picture shows 1 to {MOST_PEOPLE} people, not {len(identities)}.")
    random = np.random.default_rng((seed, *(identity.number for identity in identities)))
    together = len(identities) > 1
    name = framing or weighted(random, LIKELY_TOGETHER if together else LIKELY)
    kind = replace(FRAMINGS[name], calm=True) if together else FRAMINGS[name]
    camera = _camera(random, kind)
    figures = [_figure(identity, kind, camera, random) for identity in identities]
    background, lighting = settings.sample_setting(random)
    return Picture(
        figures=_side_by_side(random, figures) if together else tuple(figures),
        camera=replace(camera, yaw=camera.yaw / 2) if together else camera,
        lighting=lighting,
        background=background,
        width=width,
        height=height,
        look=look,
        seed=int(random.integers(2**31)),
    )


def _camera(random: np.random.Generator, kind: Framing) -> Camera:
    return Camera(
        frame=kind.frame,
        fill=between(random, *kind.fill),
        shift=(bell(random, kind.shift, 0.25), bell(random, kind.shift, 0.25)),
        yaw=bell(random, 0.5 * kind.yaw, 1.25 * kind.yaw),
        pitch=bell(random, 5, 12),
        roll=bell(random, 2, 6),
        field_of_view=between(random, 14, 34),
    )


def _figure(identity: Identity, kind: Framing, camera: Camera, random: np.random.Generator) -> Figure:
    """One person who stands at the origin, the head turned `kind.yaw` or so from the camera."""
    yaw, heading = (
        bell(random, kind.yaw, 2.5 * kind.yaw),
        bell(random, kind.turned_body, 2.5 * kind.turned_body),
    )
    head = Head(
        yaw=float(np.clip(yaw + camera.yaw - heading, -60, 60)),
        pitch=bell(random, kind.pitch, 2.5 * kind.pitch) - 0.5 * camera.pitch,
        roll=bell(random, kind.roll, 2.5 * kind.roll),
    )
    outfit = sample_outfit(identity, random)
    at_camera = random.random() < 0.7
    gaze = (
        (-0.8 * yaw, 0.8 * (camera.pitch + head.pitch))
        if at_camera
        else (bell(random, 8, 20), bell(random, 4, 10))
    )
    stance = poses.sample_stance(random, calm=kind.calm, may_sit=not has_skirt(outfit))
    pose = {**stance.joints, **head.joints()}
    return Figure(
        identity=identity,
        expression=expressions.sample_expression(random),
        gaze=tuple(round(float(np.clip(angle, -limit, limit)), 1) for angle, limit in zip(gaze, (24, 12))),
        pose={joint: tuple(round(float(angle), 1) for angle in angles) for joint, angles in pose.items()},
        hands=stance.hands,
        seat=any_colour(random, dark=0.25) if stance.sits else None,
        clothes=outfit.clothes,
        glasses=outfit.glasses,
        hat=outfit.hat,
        hair=outfit.hair,
        hair_colour=outfit.hair_colour,
        heading=round(heading, 1),
    )


def _side_by_side(random: np.random.Generator, figures: Sequence[Figure]) -> tuple[Figure, ...]:
    """Put people next to each other, now and then partly behind one another, all somewhat turned to the middle."""
    gap = between(random, 0.42, 0.62)
    placed = []
    for i, figure in enumerate(figures):
        side = i - (len(figures) - 1) / 2
        x, z = side * gap + bell(random, 0.04, 0.1), bell(random, 0.14, 0.3)
        placed.append(
            replace(figure, place=(round(x, 3), z), heading=round(0.5 * figure.heading - 10 * side, 1))
        )
    return tuple(placed)
