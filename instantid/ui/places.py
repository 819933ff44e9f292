"""Where everyone goes: the two editors that place them, and what stands behind them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import gradio as gr
from gradio.components import Component
from PIL import Image

from .. import images, placing, views
from ..errors import InstantIDError
from ..people import MAX_PEOPLE, Face, Portrait
from .keypoint_editor import keypoint_editor
from .people import People, connect_removals, photos_name
from .photos import paths_of
from .region_painter import region_painter
from .stage import Stage, stage_props
from .studio import Studio
from .words import CHOSEN_SIZE

PLACES_HINT = (
    "Drag a face, or one of its five points. Dashed: nobody has moved it, it goes where the photo has it; several "
    "people without a pose photo stand side by side. With the keyboard: Tab to a face or point, then arrows, + and "
    "−, [ and ]."
)
REGIONS_HINT = (
    "Paint where each person may appear. Who has nothing painted keeps to their face, or to what lies nearest "
    "to it."
)


class _Shown(NamedTuple):
    path: Path
    picture: Image.Image


def build_places(studio: Studio, people: People) -> dict[str, Component]:
    """Lay out the editors: "places" and "regions". They are connected by `connect_places`."""
    empty = stage_of(studio, {"people_count": 1, "faces": {}})
    with (
        gr.Accordion("Place the faces", open=False, elem_id="places-group"),
        gr.Tabs(),
    ):
        with gr.Tab("Move and turn"):
            places = keypoint_editor(empty)
            gr.Markdown(PLACES_HINT, elem_classes="hint")
        with gr.Tab("Paint regions"):
            regions = region_painter(empty)
            gr.Markdown(REGIONS_HINT, elem_classes="hint")
    parts = {"places": places, "regions": regions}
    connect_removals(people, parts)
    return parts


def connect_places(studio: Studio, parts: Mapping[str, Component]) -> None:
    """Let the editors follow the photos, the people and the picture's shape.

    Args:
        parts: the whole form by name; of it are read "pose_image", "start_image", "size", "width", "height" and the
            people's.
    """
    boxes = [photos_name(number) for number in range(1, MAX_PEOPLE + 1)]
    portraits = [f"portrait_{number}" for number in range(1, MAX_PEOPLE + 1)]
    names = (
        "people_count",
        "faces",
        "pose_image",
        "start_image",
        "size",
        "width",
        "height",
        *boxes,
        *portraits,
    )
    watched = {name: parts[name] for name in names if name in parts}

    def follow(*entered):
        props = stage_props(stage_of(studio, dict(zip(watched, entered))))
        return gr.update(**props), gr.update(**props)

    gr.on(
        [part.change for part in watched.values()],
        follow,
        list(watched.values()),
        [parts["places"], parts["regions"]],
        api_visibility="private",
        show_progress="hidden",
        trigger_mode="always_last",
        concurrency_id="faces",
        concurrency_limit=1,
    )


def stage_of(studio: Studio, values: Mapping[str, Any]) -> Stage:
    """What the engine will make of these photos, as far as places go (see `scene.read`)."""
    count = values["people_count"]
    start, pose = (_open(paths_of(values.get(name))[-1:]) for name in ("start_image", "pose_image"))
    portrait: Portrait | None = values.get("portrait_1")
    first = None if portrait else _open(paths_of(values.get("people"))[:1])
    leading = pose or start or (first if count == 1 else None)
    shaping = start or pose or first
    shape = shaping.picture.size if shaping else (portrait.width, portrait.height) if portrait else None
    size = images.canvas_size(
        shape,
        area=(studio.defaults["width"], studio.defaults["height"]),
        grid=studio.defaults["grid"],
        **_chosen_size(values),
    )
    faces, picture = [], None
    if leading:
        found = _found(studio, leading.path, values["faces"], count)
        if found and leading is first:
            fit = placing.own_fit(leading.picture.size, found[0], size, studio.defaults["least_face"])
        else:
            fit = images.fit(leading.picture.size, size, cover=leading is start)
        picture = fit.image(leading.picture)
        faces = [fit.keypoints(face.keypoints) for face in found]
    elif portrait and count == 1:
        fit = placing.own_fit(shape, portrait.face, size, studio.defaults["least_face"])
        faces = [fit.keypoints(portrait.face.keypoints)]
    beside = [views.on_canvas("front", place, *size)[0] for place in views.side_by_side(count, *size)]
    name = "pose photo" if pose else "start picture" if start else "face photo"
    return Stage(
        *size,
        picture=picture,
        faces=[points / size for points in [*faces, *beside[len(faces) :]]],
        count=count,
        automatic=f"as in the {name}",
    )


def _open(paths: list[Path]) -> _Shown | None:
    """The photo, if there is one; what cannot be read is told by the face check."""
    try:
        return _Shown(paths[0], images.open_image(paths[0])) if paths else None
    except InstantIDError:
        return None


def _found(studio: Studio, path: Path, chosen: Mapping[str, int], count: int) -> list[Face]:
    """The faces that people take the places of: the chosen one, or the largest ones from left to right."""
    found = studio.find_faces(path) if studio.find_faces else []
    if count == 1:
        return found[chosen.get(str(path), 1) - 1 :][:1]
    return sorted(found[:count], key=lambda face: face.centre[0])


def _chosen_size(values: Mapping[str, Any]) -> dict[str, int | None]:
    """Width and height where they were chosen, and can be: what cannot is told when Generate is pressed."""
    chosen = values.get("size") == CHOSEN_SIZE
    low, high = images.CANVAS_SIDES
    return {
        side: values[side] if chosen and low <= (values[side] or 0) <= high else None
        for side in ("width", "height")
    }
