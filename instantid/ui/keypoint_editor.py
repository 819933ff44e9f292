"""Placing faces by hand: five points per person over the pose photo, dragged one by one or as a whole."""

from collections.abc import Mapping, Sequence
from typing import Any, get_args

import gradio as gr

from ..people import Place, View
from ..views import view_keypoints
from .stage import Stage, build_stage

POINTS = ("left eye", "right eye", "nose", "left corner of the mouth", "right corner of the mouth")


def keypoint_editor(stage: Stage) -> gr.HTML:
    """The editor, for `stage.count` people.

    Its value is a list with one entry per person: None (as the photos have it), or
    {"view": a View's name, "place": {"x", "y", "size"}}, or {"points": five [x, y]}, in parts of the canvas,
    beside whose "shape", width by height, that is known while it changes.
    """
    return build_stage("keypoint_editor", [], stage, views=_views(), names=list(POINTS))


def read_place(value: Sequence[Mapping[str, Any] | None] | None, number: int) -> dict[str, Any]:
    """What the editor's value says of person `number`, as fields of Person: keypoints, or view and place, or none."""
    entry = value[number - 1] if value and number <= len(value) else None
    if not entry:
        return {}
    if "points" in entry:
        return {"keypoints": entry["points"]}
    return {"view": entry["view"], "place": Place(**entry["place"])}


def _views() -> dict[str, dict[str, list]]:
    return {
        view: {"points": points.tolist(), "box": box.tolist()}
        for view, (points, box) in ((view, view_keypoints(view)) for view in get_args(View))
    }
