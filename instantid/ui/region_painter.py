"""Painting where each person goes: a colour per person over the pose photo, and the masks that come of it."""

from collections.abc import Mapping, Sequence
from typing import Any

import gradio as gr
from PIL import Image, ImageDraw

from .stage import Stage, build_stage

MASK_SIDE = 512  # pixels of a mask's long side: edges are softened afterwards, so more would not show


def region_painter(stage: Stage) -> gr.HTML:
    """The painter, for `stage.count` people.

    Its value is None where nothing is painted, else {"canvas": [width, height], "people": one list per person of
    strokes, as `paint_mask` takes them}.
    """
    return build_stage("region_painter", None, stage)


def read_region(value: Mapping[str, Any] | None, number: int) -> Image.Image | None:
    """The mask that the painter's value holds for person `number`: L, white where they go; None: not painted."""
    if not value or number > len(value["people"]):
        return None
    return paint_mask(value["people"][number - 1], *value["canvas"])


def paint_mask(strokes: Sequence[Mapping[str, Any]], width: int, height: int) -> Image.Image | None:
    """Draw one person's strokes, white on black, in the shape of a `width`×`height` canvas.

    Args:
        strokes: in the order painted: {"points": [[x, y], …] in parts of the canvas, "radius": in parts of its
            shorter side, "erase": whether it takes away}.

    Returns:
        An L picture, or None where nothing is left of what was painted: the place is then chosen by itself.
    """
    scale = MASK_SIDE / max(width, height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    mask = Image.new("L", size)
    draw = ImageDraw.Draw(mask)
    for stroke in strokes:
        radius = max(1.0, stroke["radius"] * min(size))
        colour = 0 if stroke["erase"] else 255
        points = [(x * size[0], y * size[1]) for x, y in stroke["points"]]
        draw.line(points, fill=colour, width=round(2 * radius), joint="curve")
        for x, y in points:  # round ends and corners; a stroke of one point is a dot
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return mask if mask.getbbox() else None
