"""The form's values → Request. Knows no components."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..request import Person, Photo, Request
from ..styles import NO_STYLE
from .words import CHOSEN_SIZE

# Fields whose component holds exactly what Request wants.
PLAIN = (
    "prompt",
    "negative_prompt",
    "steps",
    "guidance_scale",
    "scheduler",
    "identity_strength",
    "adapter_strength",
    "face_region",
    "style_strength",
    "images",
)


def read_request(values: Mapping[str, Any]) -> Request:
    """Build the request.

    Args:
        values: by field of Request, and the page's own: "randomise", "size", "faces" (path → which face)
            and one "…_strength" per extra ControlNet.

    Raises:
        InvalidRequest: no face photo, or a value that Request refuses.
    """
    photos = _photos(values["people"], values["faces"])
    if not photos:
        raise InvalidRequest("There is no face photo yet. Add at least one, then press Generate.")
    pose = _photos(values["pose_image"], values["faces"])
    style_picture = _photos(values["style_image"], {})
    chosen_size = values["size"] == CHOSEN_SIZE
    return Request(
        people=(Person(references=photos),),
        pose_image=pose[-1] if pose else None,
        style_image=style_picture[-1] if style_picture else None,
        style=None if values["style"] in (None, NO_STYLE) else values["style"],
        seed=None if values["randomise"] else values["seed"],
        controls={name: values[f"{name}_strength"] for name in values["controls"]},
        width=values["width"] if chosen_size else None,
        height=values["height"] if chosen_size else None,
        **{name: values[name] for name in PLAIN},
    )


def paths_of(gallery: list[tuple[str, str | None]] | None) -> list[Path]:
    """The files of a `gr.Gallery` of type "filepath"."""
    return [Path(path) for path, _ in gallery or []]


def _photos(gallery: list[tuple[str, str | None]] | None, faces: Mapping[str, int]) -> tuple[Photo, ...]:
    return tuple(Photo(image=path, face=faces.get(str(path), 1)) for path in paths_of(gallery))
