"""All textures in one file of RGBA bytes, each at several sizes, so that processes share one mapping of it.

A texture is square; its levels follow each other, each half as wide as the one before, down to 16.
"""

from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import numpy as np
from PIL import Image

SMALLEST = 16


class TexelWriter:
    """Writes texels.bin; `index` says of each texture where it starts (in texels), its width and its mean light."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._texels = 0
        self.index: dict[str, dict[str, float]] = {}

    def __enter__(self) -> "TexelWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        self._file.close()

    def add(self, name: str, picture: BinaryIO, width: int) -> None:
        """Append one texture at `width`, halved down to 16."""
        start = self._texels
        # “RGBa” weighs colour with alpha, so that what lies under clear texels does not bleed into hair.
        whole = Image.open(picture).convert("RGBA").convert("RGBa")
        level = width
        while level >= SMALLEST:
            pixels = np.asarray(whole.resize((level, level), Image.Resampling.BOX).convert("RGBA"))
            self._file.write(pixels.tobytes())
            self._texels += level * level
            level //= 2
        colour = (pixels[..., :3] / 255.0) ** 2.2
        alpha = pixels[..., 3:] / 255.0
        self.index[name] = {
            "start": start,
            "width": width,
            "light": float((colour * alpha).mean() / max(alpha.mean(), 1e-4)),
        }
