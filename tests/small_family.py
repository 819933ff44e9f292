"""A few prepared pictures and a bundle to train on them, for tests of training."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from instantid import bundles, mini
from instantid.people import Face
from instantid.training import latents
from instantid.training.prepared import Example, Prepared, encode_latents, write_piece

SCALE = 8  # pixels to a latent
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


def make_linear(folder: Path, *, people: int = 6, views: int = 40, width: int = 8) -> Prepared:
    """As `make_prepared`, with `linear` latents."""
    return linear(make_prepared(folder, people=people, views=views, width=width))


def linear(prepared: Prepared) -> Prepared:
    """Give pictures latents that are linear in pixels: the mean colour of each square, and how it changes.

    A small VAE that nobody trained would tell hardly anything of a picture.
    """

    def encode(images: np.ndarray) -> np.ndarray:
        squares = F.pixel_unshuffle(torch.from_numpy(images.copy()).permute(0, 3, 1, 2) / 127.5 - 1, SCALE)
        squares = squares.unflatten(1, (3, SCALE * SCALE))
        change = squares[:, 0, -1] - squares[:, 0, 0]
        return torch.cat([squares.mean(dim=2), change[:, None]], dim=1).numpy()

    encode_latents(prepared, encode, mark="linear")
    return prepared


def make_velocity_bundle(folder: Path, prepared: Prepared, *, velocity: bool = True) -> Path:
    """A bundle for `make_linear`'s pictures, whose latents stay as they are, that predicts v."""
    mini.build(folder, dataclasses.replace(SIZES, embedding=prepared.embeddings.shape[1]))
    if velocity:
        schedule = folder / "base" / "scheduler" / "scheduler_config.json"
        settings = json.loads(schedule.read_text())
        schedule.write_text(json.dumps(settings | {"prediction_type": "v_prediction"}))
    return folder


def face_in_disc(centre: np.ndarray, side: int, embedding: np.ndarray) -> Face:
    """The face of a disc that is half as wide as its picture."""
    points = np.array([(-0.1, -0.1), (0.1, -0.1), (0, 0), (-0.1, 0.12), (0.1, 0.12)]) * side + centre
    box = np.array([*(centre - side / 4), *(centre + side / 4)])
    return Face(embedding=embedding.astype(np.float32), keypoints=points, box=box)


def _example(random: np.random.Generator, person: int, colour, embedding, view: int, side: int) -> Example:
    image = np.full((side, side, 3), 40 * (view % 3) + 20, np.uint8)
    centre = random.uniform(0.4, 0.6, 2) * side
    y, x = np.mgrid[:side, :side]
    disc = np.hypot(x - centre[0], y - centre[1]) < side / 4
    image[disc] = colour
    face = face_in_disc(centre, side, embedding + 0.1 * random.normal(size=len(embedding)))
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
