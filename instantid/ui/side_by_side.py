"""Two pictures under one slider, whose halves must have one shape."""

from pathlib import Path
from typing import Any

from PIL import Image, ImageOps

from ..images import open_image
from .photos import notice

FITTED = "They differ in shape: the right one is shown within the left one's."


def side_by_side(left: Path, right: Path) -> tuple[tuple[Any, Any], str]:
    """The value of a `gr.ImageSlider`, and HTML that says so where the right one had to be fitted, else ""."""
    one, other = open_image(left), open_image(right)
    if one.size == other.size:
        return (str(left), str(right)), ""
    return (one, ImageOps.pad(other, one.size, Image.Resampling.LANCZOS, color="white")), notice(FITTED)
