"""Prepared data of a few pictures, for trainers: people are colours, and their faces lie where a disc is."""

from pathlib import Path

import numpy as np

from instantid import bundles
from instantid.people import Face
from instantid.training import latents
from instantid.training.prepared import Example, Prepared, write_piece

COLOURS = {"red": (200, 30, 30), "green": (40, 160, 60), "blue": (40, 60, 200), "yellow": (220, 200, 40)}
SIDE = 64


def example(number: int, people: int, *, faceless: int | None = None) -> Example:
    """Picture `number` of a data set of so many people; each is a colour, and `faceless` has no face."""
    random, person = np.random.default_rng(number), number % people
    colour = list(COLOURS)[person]
    y, x = np.mgrid[:SIDE, :SIDE]
    centre = random.integers(24, 40, 2)
    image = random.integers(90, 130, (SIDE, SIDE, 3)).astype(np.uint8)
    image[np.hypot(x - centre[0], y - centre[1]) < 14] = COLOURS[colour]
    embedding = np.random.default_rng(person).normal(size=512).astype(np.float32)
    keypoints = centre + np.array([[-5, -4], [5, -4], [0, 0], [-4, 5], [4, 5]])
    face = Face(embedding=embedding, keypoints=keypoints, box=np.array([*(centre - 14), *(centre + 14)]))
    record = {
        "caption": f"a {colour} disc",
        "captions": {"full": f"a {colour} disc before grey noise", "terse": f"a {colour} disc"},
        "look": "Watercolor" if number % 5 == 4 else "photo",
    }
    return Example(
        image=image,
        face=None if person == faceless else face,
        person=person,
        depth=np.zeros((SIDE, SIDE), np.uint8),
        record=record,
    )


def prepare(
    folder: Path, bundle: Path, count: int = 20, *, people: int = 4, faceless: int | None = None
) -> Prepared:
    """Pictures and their latents by the bundle's own autoencoder."""
    pictures = [example(number, people, faceless=faceless) for number in range(count)]
    write_piece(folder / "discs", pictures, width=512)
    prepared = Prepared(folder)
    latents.encode(prepared, bundles.open_bundle(bundle))
    return prepared
