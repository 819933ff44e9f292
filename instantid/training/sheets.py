"""Sample sheets: pictures side by side on one page."""

from collections.abc import Sequence

import numpy as np
from PIL import Image


def lay_out(pictures: Sequence[np.ndarray], *, columns: int, gap: int = 2) -> Image.Image:
    """Pictures (h, w, 3) uint8 of one size in rows, left to right."""
    height, width = pictures[0].shape[:2]
    rows = -(-len(pictures) // columns)
    page = Image.new("RGB", (columns * (width + gap) - gap, rows * (height + gap) - gap), "white")
    for i, picture in enumerate(pictures):
        page.paste(Image.fromarray(picture), (i % columns * (width + gap), i // columns * (height + gap)))
    return page
