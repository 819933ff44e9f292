"""Rendered people made ready for training: their shards, read into `prepared` pieces."""

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..faces.finder import Attempt, FaceFinder
from ..people import Face
from .people.looks import PHOTO
from .people.shards import Sample, read_shard
from .prepared import FAR, RECORDS, Example, write_piece

# Rendered faces are large in small pictures: a fourth of the time that the usual order takes.
ATTEMPTS = tuple(Attempt(size) for size in (256, 192, 384, 128))
IN_PIXELS = ("face_keypoints", "face_box", "body_keypoints")  # of what records say of figures


def prepare_shard(shard: Path, folder: Path, finder: FaceFinder, *, size: int) -> None:
    """Make a shard's piece in `folder`, unless it is there.

    Looks are drawn over the photo of their scene: they get the face that was found in that, as somebody does who
    asks for a watercolour of a photo.

    Args:
        size: of the prepared pictures, which are scaled to it.
    """
    piece = folder / shard.stem
    if not (piece / RECORDS).exists():
        write_piece(piece, _examples(shard, finder, size), width=finder.dimension)


def _examples(shard: Path, finder: FaceFinder, size: int) -> Iterator[Example]:
    face: Face | None = None
    for sample in read_shard(shard):
        image = _scaled(sample.image, size)
        if sample.record["look"] == PHOTO:
            face = _face(finder, image, sample, size)
        yield Example(
            image=image,
            face=face,
            person=sample.record["person"],
            depth=_nearness(sample, size),
            record=_kept(sample.record, size / len(sample.image)),
        )


def _face(finder: FaceFinder, image: np.ndarray, sample: Sample, size: int) -> Face | None:
    """The face that was found where the picture's person has theirs; None if none is there."""
    truth = np.array(sample.record["figures"][0]["face_keypoints"]) * (size / len(sample.image))
    eyes = max(float(np.linalg.norm(truth[1] - truth[0])), 1.0)
    near = [
        (float(np.abs(face.keypoints - truth).mean()), i, face)
        for i, face in enumerate(finder.find(Image.fromarray(image), attempts=ATTEMPTS))
    ]
    distance, _, face = min(near, default=(np.inf, 0, None), key=lambda found: found[:2])
    return face if distance < 0.5 * eyes else None


def _scaled(image: np.ndarray, size: int) -> np.ndarray:
    return image if len(image) == size else cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def _nearness(sample: Sample, size: int) -> np.ndarray:
    """(size, size) uint8 as depth estimators draw it, turned round: the nearest 0, FAR nothing."""
    if sample.depth is None:
        return np.zeros((size, size), np.uint8)
    depth, near = sample.depth, np.isfinite(sample.depth)
    if not near.any():
        return np.full((size, size), FAR, np.uint8)
    low, high = depth[near].min(), depth[near].max()
    scaled = np.where(near, 200 * (depth - low) / max(high - low, 1e-3), FAR)
    return cv2.resize(scaled.astype(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST)


def _kept(record: dict, scale: float) -> dict:
    """What trainers and judges ask for: words and what is seen, in prepared pixels, without meshes and lamps."""
    kept = {name: record[name] for name in ("key", "scene", "person", "look", "caption", "captions")}
    kept["figures"] = [
        {name: value for name, value in figure.items() if name != "description"}
        | {name: (np.array(figure[name]) * scale).round(2).tolist() for name in IN_PIXELS}
        for figure in record["figures"]
    ]
    kept["background"] = record["scenery"].get("background")
    return kept
