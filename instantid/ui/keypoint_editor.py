"""Placing faces by hand: five points per person over the pose photo, dragged one by one or as a whole."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from ..errors import InvalidRequest
from ..people import Place, View
from ..views import MEAN_FACE, view_keypoints
from .stage import COLOURS, Stage, stage_props

FOLDER = Path(__file__).parent
POINTS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")


def keypoint_editor(stage: Stage) -> gr.HTML:
    """The editor, for `stage.count` people.

    Its value is a list with one entry per person: None (as the photos have it), or
    {"view": a View's name, "place": {"x", "y", "size"}}, or {"points": five [x, y]}, in parts of the canvas.
    """
    return gr.HTML(
        [],
        html_template=(FOLDER / "keypoint_editor.html").read_text(encoding="utf-8"),
        css_template=(FOLDER / "keypoint_editor.css").read_text(encoding="utf-8"),
        js_on_load=(FOLDER / "keypoint_editor.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        elem_id="keypoint-editor",
        views=_views(),
        names=list(POINTS),
        colours=list(COLOURS),
        **stage_props(stage),
    )


def read_place(entry: Mapping[str, Any] | None) -> dict[str, Any]:
    """One entry of the editor's value as fields of Person: keypoints, or view and place, or none of them."""
    if not entry:
        return {}
    if entry.get("points"):
        return {"keypoints": tuple((float(x), float(y)) for x, y in entry["points"])}
    if entry.get("view") not in (None, *get_args(View)):
        raise InvalidRequest(f"There is no view “{entry['view']}”. Choose from {', '.join(get_args(View))}.")
    place = entry.get("place")
    return {"view": entry.get("view"), "place": Place(**place) if place else None}


def _views() -> dict[str, dict[str, list]]:
    return {
        view: {"points": points.tolist(), "box": box.tolist()}
        for view, (points, box) in ((view, view_keypoints(view)) for view in get_args(View))
    }
