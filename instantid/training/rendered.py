"""Rendered people made ready for training: their shards, read into `prepared` pieces."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..faces.finder import Attempt, FaceFinder
from ..people import Face
from .people import words
from .people.looks import PHOTO
from .people.shards import Sample, read_shard
from .people.twins import is_second
from .prepared import FAR, RECORDS, Example, write_piece

# Rendered faces are large in small pictures: a fourth of the time that the usual order takes.
ATTEMPTS = tuple(Attempt(size) for size in (256, 192, 384, 128))
IN_PIXELS = ("face_keypoints", "face_box", "body_keypoints")  # of what records say of figures


@dataclass(frozen=True)
class Cut:
    """A square of a picture, in its pixels."""

    left: int
    top: int
    side: int

    @classmethod
    def about(cls, middle: np.ndarray, side: int, of: int) -> "Cut":
        """With its middle there, (x, y), as far as a square picture that is `of` wide goes."""
        left, top = (int(at) for at in np.clip(np.round(middle - side / 2), 0, of - side))
        return cls(left, top, side)

    def picture(self, image: np.ndarray, size: int) -> np.ndarray:
        """(h, w, …) → (size, size, …)."""
        square = image[self.top : self.top + self.side, self.left : self.left + self.side]
        if self.side == size:
            return square
        way = (
            cv2.INTER_NEAREST if image.ndim == 2 else cv2.INTER_AREA if self.side > size else cv2.INTER_CUBIC
        )
        return cv2.resize(square, (size, size), interpolation=way)

    def points(self, points: np.ndarray, size: int) -> np.ndarray:
        """(n, 2) of the picture → of the square at that size."""
        return (np.asarray(points, np.float32) - (self.left, self.top)) * (size / self.side)

    def face(self, face: Face, size: int) -> Face:
        """The same face in the square."""
        box = self.points(face.box.reshape(2, 2), size).ravel()
        return Face(face.embedding, self.points(face.keypoints, size), box)


def prepare_shard(shard: Path, folder: Path, finder: FaceFinder, *, size: int, fill: float = 0) -> None:
    """Make a shard's piece in `folder`, unless it is there.

    Looks are drawn over the photo of their scene: they get the face that was found in that, as somebody does who
    asks for a watercolour of a photo.

    Args:
        size: of the prepared pictures, which are scaled to it.
        fill: how much of a picture's width the face is to fill, more or less; it is cut out so. 0: as it was drawn.
    """
    piece = folder / shard.stem
    if not (piece / RECORDS).exists():
        write_piece(piece, _examples(shard, finder, size, fill), width=finder.dimension)


def _examples(shard: Path, finder: FaceFinder, size: int, fill: float) -> Iterator[Example]:
    face: Face | None = None
    for sample in read_shard(shard):
        side = len(sample.image)
        # Of twins the second lies after the first: it is cut alike, and has that one's face.
        if sample.record["look"] == PHOTO and not is_second(sample.record):
            whole = cut = Cut(0, 0, side)
            face = _face(finder, whole.picture(sample.image, size), sample, size)
            if face is not None:
                scale = side / size
                face = Face(face.embedding, face.keypoints * scale, face.box * scale)
                cut = _around(face, side, fill, sample.record["scene"]) if fill else whole
                face = cut.face(face, size)
        yield Example(
            image=cut.picture(sample.image, size),
            face=face,
            person=sample.record["person"],
            depth=cut.picture(_nearness(sample), size),
            record=_kept(sample.record, cut, size),
        )


def _around(face: Face, side: int, fill: float, scene: str) -> Cut:
    """About the face, neither always as large nor always in the middle; the same for all looks of a scene."""
    random = np.random.default_rng(zlib.crc32(scene.encode()))
    width = float(face.box[2] - face.box[0])
    wanted = min(side, max(1, round(width / fill * random.uniform(0.88, 1.18))))
    middle = (face.box[:2] + face.box[2:]) / 2 + random.uniform(-0.06, 0.06, 2) * wanted
    return Cut.about(middle, wanted, side)


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


def _nearness(sample: Sample) -> np.ndarray:
    """(h, w) uint8 as depth estimators draw it, turned round: the nearest 0, FAR nothing."""
    if sample.depth is None:
        return np.zeros(sample.image.shape[:2], np.uint8)
    depth, near = sample.depth, np.isfinite(sample.depth)
    if not near.any():
        return np.full(sample.image.shape[:2], FAR, np.uint8)
    low, high = depth[near].min(), depth[near].max()
    return np.where(near, 200 * (depth - low) / max(high - low, 1e-3), FAR).astype(np.uint8)


def _kept(record: dict, cut: Cut, size: int) -> dict:
    """What trainers and judges ask for: words and what is seen, in prepared pixels, without meshes and lamps."""
    names = ("key", "scene", "person", "look", "caption", "captions", "twin")
    kept = {name: record[name] for name in names if name in record}
    kept["figures"] = [
        {name: value for name, value in figure.items() if name != "description"}
        | {"clothes": words.clothes_of(figure)}
        | {name: _moved(figure[name], cut, size) for name in IN_PIXELS}
        for figure in record["figures"]
    ]
    kept["background"] = record["scenery"].get("background")
    return kept


def _moved(values: list, cut: Cut, size: int) -> list:
    """Points, (n, 2) or (n, 3) with what is known of each beside, or a box (4,), in the square."""
    values = np.array(values, dtype=np.float64)
    pairs = values.reshape(-1, 2) if values.ndim == 1 else values[:, :2]
    moved = cut.points(pairs, size)
    return (moved.ravel() if values.ndim == 1 else np.hstack([moved, values[:, 2:]])).round(2).tolist()
