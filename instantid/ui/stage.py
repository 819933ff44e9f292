"""What stands behind the keypoint editor and the region painter: the canvas' shape, the pose photo, its faces."""

import base64
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
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
        count: how many people there are; `faces` has at least as many.
        automatic: what is said of a face that nobody has moved.
    """

    width: int
    height: int
    picture: Image.Image | None = None
    faces: Sequence[np.ndarray] = ()
    count: int = 1
    automatic: str = "as in the photo"


def build_stage(name: str, value: Any, stage: Stage, **fixed: Any) -> gr.HTML:
    """An editor on the stage: the template, style and script called `name` beside this file.

    Gradio leaves the nodes that a script draws alone as long as the rendered template stays the same: so the
    templates mention no property, and scripts watch them.

    Args:
        fixed: what the script finds in its constant `fixed`, besides the people's colours. An update of one property
            drops all the others (Gradio 6.31), so what never changes is none.
    """
    folder = Path(__file__).parent
    constant = f"const fixed = {json.dumps({'colours': COLOURS} | fixed)};\n"
    template, style, script = (
        (folder / f"{name}.{kind}").read_text(encoding="utf-8") for kind in ("html", "css", "js")
    )
    return gr.HTML(
        value,
        html_template=template,
        css_template=(folder / "stage.css").read_text(encoding="utf-8") + style,
        js_on_load=constant + (folder / "stage.js").read_text(encoding="utf-8") + script,
        apply_default_css=False,
        elem_id=name.replace("_", "-"),
        **stage_props(stage),
    )


def stage_props(stage: Stage) -> dict[str, Any]:
    """The stage as properties of an editor's `gr.HTML`."""
    return {
        "canvas": [stage.width, stage.height],
        "picture": _data_url(stage.picture),
        "faces": [face.tolist() for face in stage.faces],
        "count": stage.count,
        "automatic": stage.automatic,
    }


def _data_url(picture: Image.Image | None) -> str:
    if picture is None:
        return ""
    small = picture.copy()
    small.thumbnail((PICTURE_SIDE, PICTURE_SIDE))
    file = io.BytesIO()
    small.save(file, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
