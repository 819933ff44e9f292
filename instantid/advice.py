"""What is wrong with a photo of a face, and what helps: one friendly line each. It advises and never blocks.

It judges pixels and keypoints, so it works with any face models; only the age needs a model of its own.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image

from .faces import FaceFinder
from .people import Face


@dataclass(frozen=True)
class Advice:
    """One line. `kind` is for programs: "no face", "several faces", "cut off", "small", "blurred", "turned", "tilted",
    "covered", "dark", "burnt out", "age", "child" or "odd one out"."""

    kind: str
    text: str

    def __str__(self) -> str:
        return self.text


def of(photo: Image.Image, finder: FaceFinder, *, number: int = 1) -> list[Advice]:
    """Everything there is to say about one photo: RGB, upright, as `images.open_image` gives it.

    Args:
        number: which face is meant, counted from 1, largest first.
    """
    raise NotImplementedError


def judge(photo: Image.Image, faces: Sequence[Face], *, number: int = 1) -> list[Advice]:
    """Judge an RGB photo and the faces found in it, largest first; nothing is said of an ideal one."""
    raise NotImplementedError


def judge_together(faces: Sequence[Face], names: Sequence[str] = ()) -> list[Advice]:
    """Name the references of one person that do not look like the others.

    Args:
        faces: one per photo, found by the same face models.
        names: what messages call the photos; left out: "photo 1", "photo 2"…
    """
    raise NotImplementedError
