"""What stands behind the keypoint editor and the region painter: the canvas' shape, the pose photo, its faces."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

COLOURS = ("#0d9488", "#d97706", "#7c3aed", "#db2777")  # of persons 1 to 4, seen on light and on dark
PICTURE_SIDE = 640  # pixels: what the editors show, not what is made


@dataclass(frozen=True, eq=False)
class Stage:
    """What the editors show.

    Args:
        width, height: of the canvas; only their shape counts.
        picture: RGB, the pose photo as it lies on the canvas, or None.
        faces: (5, 2) each, in parts of the canvas: where people go by themselves, left to right.
        count: how many people there are.
    """

    width: int
    height: int
    picture: Image.Image | None = None
    faces: Sequence[np.ndarray] = ()
    count: int = 1


def stage_props(stage: Stage) -> dict[str, Any]:
    """The stage as properties of an editor's `gr.HTML`."""
    return {
        "canvas": [stage.width, stage.height],
        "picture": _data_url(stage.picture),
        "faces": [face.tolist() for face in stage.faces],
        "count": stage.count,
    }


def _data_url(picture: Image.Image | None) -> str:
    if picture is None:
        return ""
    small = picture.copy()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
