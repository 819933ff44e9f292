"""A picture while it is being painted, and what a step of a look is."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import cv2
import numpy as np

Array = np.ndarray
Random = np.random.Generator
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Sheet:
    """A picture while it is being painted.

    Args:
        image: (h, w, 3) float32 sRGB in 0…1.
        person: (h, w) float32, 1 where somebody is.
        random: draws of this picture's own seed.
    """

    image: Array
    person: Array
    random: np.random.Generator

    @property
    def size(self) -> tuple[int, int]:
        """(h, w)."""
        return self.image.shape[:2]

    @property
    def grey(self) -> Array:
        """(h, w) float32 in 0…1."""
        return cv2.cvtColor(self.image, cv2.COLOR_RGB2GRAY)

    def with_image(self, image: Array) -> "Sheet":
        """The same with another picture, kept within 0…1."""
        return replace(self, image=np.clip(image, 0, 1).astype(np.float32))


Step = Callable[[Sheet], Sheet]


def rgb(code: str) -> Colour:
    """“ff8000” as shares of 1."""
    return tuple(int(code[i : i + 2], 16) / 255 for i in (0, 2, 4))


def do(step: Callable[..., Sheet], *values: object, **settings: object) -> Step:
    """The step with its settings."""
    return lambda sheet: step(sheet, *values, **settings)
