"""Real photos made ready for training: opened safely, faces found, cut square around them, into `prepared` pieces."""

import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..errors import InvalidImage, InvalidRequest
from ..faces.finder import Attempt, FaceFinder
from ..images import Fit, open_image
from ..people import Face
from .photo_sources import Photo
from .prepared import RECORDS, Example, write_piece

REPORTS = "reports"
PIECE = 2**28  # bytes of pictures in a piece, about
FEWEST, MOST = 16, 512  # pictures looked at for a piece
# Most photos show their face at the first look; eight looks at every landscape would take days.
ATTEMPTS = (Attempt(640), Attempt(320), Attempt(160))


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What of a source is kept, and how.

    Args:
        size: of the prepared pictures.
        min_side: pixels that the shorter side of a photo must have.
        min_face: pixels that the shorter side of its largest face must have, as it is in the photo: recognition looks
            at faces of 112 pixels, and guesses what smaller ones lack.
        faceless: also keep photos without any such face.
        alone: leave photos out that show more than one such face, as InstantID's data did.
        fill: of rendered people alone: how much of a picture's width the face is to fill; 0: as it was drawn.
    """

    size: int
    min_side: int
    min_face: int = 64
    faceless: bool = False
    alone: bool = False
    fill: float = 0.0

    @property
    def at_once(self) -> int:
        """Photos looked at for one piece."""
        return min(max(PIECE // (3 * self.size**2), FEWEST), MOST)


@dataclass(kw_only=True)
class Report:
    """What became of some photos. `left_out`: how many by reason; `damaged`: names with what is wrong."""

    read: int = 0
    kept: int = 0
    silent: int = 0
    """Kept without a caption."""
    known: int = 0
    """Kept with a known person."""
    left_out: Counter[str] = field(default_factory=Counter)
    damaged: list[str] = field(default_factory=list)

    def __add__(self, other: "Report") -> "Report":
        names = ("read", "kept", "silent", "known", "left_out", "damaged")
        return Report(**{name: getattr(self, name) + getattr(other, name) for name in names})


class _LeftOut(Exception):
    """A photo that is not wanted, and why."""


def prepare_piece(
    name: str, photos: Iterable[Photo], out: Path, finder: FaceFinder, wishes: Wishes
) -> Report:
    """Make the piece `name` of these photos in the folder `out`, unless that has been done; damaged ones are told.

    Where none of them is kept there is no piece, only a report.
    """
    told = out / REPORTS / f"{name}.json"
    if told.exists():
        content = json.loads(told.read_text(encoding="utf-8"))
        return Report(**content | {"left_out": Counter(content["left_out"])})
    report, examples = Report(), []
    for photo in photos:
        report.read += 1
        try:
            examples.append(prepare_photo(photo, finder, wishes))
        except _LeftOut as reason:
            report.left_out[str(reason)] += 1
        except (InvalidImage, InvalidRequest, OSError) as error:
            report.damaged.append(f"{photo.name}: {error}")
    report.kept = len(examples)
    report.silent = sum(not example.record["caption"] for example in examples)
    report.known = sum(example.person >= 0 for example in examples)
    if examples and not (out / name / RECORDS).exists():
        write_piece(out / name, examples, width=finder.dimension)
    write_json(told, vars(report))
    return report


def prepare_photo(photo: Photo, finder: FaceFinder, wishes: Wishes) -> Example:
    """Open, look for faces, cut square.

    Raises:
        InvalidImage, InvalidRequest: the picture, or what is told of it, is damaged.
    """
    told = photo.told()
    picture = open_image(photo.picture)
    if min(picture.size) < wishes.min_side:
        raise _LeftOut(f"smaller than {wishes.min_side} pixels")
    found = finder.find(picture, attempts=ATTEMPTS)  # the largest first
    large = [face for face in found if min(face.box[2:] - face.box[:2]) >= wishes.min_face]
    face = large[0] if large else None
    if face is None and not wishes.faceless:
        raise _LeftOut(f"faces smaller than {wishes.min_face} pixels" if found else "no face")
    if wishes.alone and len(large) > 1:
        raise _LeftOut("several faces")
    square = cut(picture.size, wishes.size, face)
    left, top = square.offset
    return Example(
        image=np.asarray(square.image(picture)),
        face=face and Face(face.embedding, square.keypoints(face.keypoints), square.box(face.box)),
        person=told.pop("person"),
        depth=np.zeros((wishes.size, wishes.size), np.uint8),
        record=told
        | {
            "key": photo.name,
            # What SDXL is told of a picture's past (2307.01952, section 2.2): height and width, top and left.
            "original": [picture.height, picture.width],
            "crop": [-top, -left],
        },
    )


def cut(photo: tuple[int, int], size: int, face: Face | None) -> Fit:
    """Where a photo, (width, height), lies on a square that it fills: its face as near the middle as can be."""
    scale = size / min(photo)
    placed = tuple(max(size, round(side * scale)) for side in photo)
    middle = np.array(photo) / 2 if face is None else (face.box[:2] + face.box[2:]) / 2
    middle = middle * np.divide(placed, photo)
    left, top = (
        int(min(max(round(float(at) - size / 2), 0), side - size))
        for at, side in zip(middle, placed, strict=True)
    )
    return Fit(photo, (size, size), (-left, -top), placed)


def write_json(file: Path, content: dict) -> None:
    """Write it whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(part, file)
