"""A few prepared pictures and a bundle to train on them, for tests of training."""

import dataclasses
from pathlib import Path

import numpy as np

from instantid import bundles, mini
from instantid.people import Face
from instantid.training import latents
from instantid.training.prepared import Example, Prepared, write_piece

SIZES = dataclasses.replace(mini.TINY, embedding=8, controlnets=())


def make_prepared(
    folder: Path, *, people: int = 4, views: int = 3, side: int = 64, width: int = 8
) -> Prepared:
    """Everybody a disc of a colour of their own, wherever they stand; embeddings differ by person."""
    random = np.random.default_rng(0)
    for person in range(people):
        colour, embedding = random.integers(60, 255, 3), random.normal(size=width)
        examples = [_example(random, person, colour, embedding, view, side) for view in range(views)]
        write_piece(folder / f"piece-{person:02d}", examples, width=width)
    return Prepared(folder)


def make_bundle(folder: Path, prepared: Prepared) -> Path:
    """A bundle that fits them, and their latents by its VAE."""
    mini.build(folder, dataclasses.replace(SIZES, embedding=prepared.embeddings.shape[1]))
    latents.encode(prepared, bundles.open_bundle(folder))
    return folder


def _example(random: np.random.Generator, person: int, colour, embedding, view: int, side: int) -> Example:
    image = np.full((side, side, 3), 40 * (view % 3) + 20, np.uint8)
    centre = random.uniform(0.4, 0.6, 2) * side
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(x - centre[0], y - centre[1]) < side / 4
    image[disc] = colour
    points = np.array([(-0.1, -0.1), (0.1, -0.1), (0, 0), (-0.1, 0.12), (0.1, 0.12)]) * side + centre
    box = np.array([*(centre - side / 4), *(centre + side / 4)])
    face = Face(
        embedding=(embedding + 0.1 * random.normal(size=len(embedding))).astype(np.float32),
        keypoints=points,
        box=box,
    )
    look = "photo" if view % 2 == 0 else "Watercolor"
    captions = {
        "full": f"a photo of person {person}, smiling",
        "short": f"person {person}",
        "terse": "person",
    }
    return Example(
        image=image,
        face=None if view == 2 and person == 0 else face,
        person=person,
        depth=np.where(disc, 0, 255).astype(np.uint8),
        record={"key": f"{person}-{view}", "look": look, "caption": captions["short"], "captions": captions},
    )
