"""The form's values → Request. Knows no components.

Whatever a bundle cannot do has no component, and so no value here: Request's own default holds.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image

from ..errors import InvalidRequest
from ..request import Control, Lora, Photo, Request
from ..styles import NO_STYLE
from .people import read_people
from .photos import paths_of
from .studio import Studio
from .words import CHOSEN_SIZE, NO_RECIPE

# Fields whose component holds exactly what Request wants; the first are in every picture's story.
BASICS = (
    "prompt",
    "negative_prompt",
    "steps",
    "guidance_scale",
    "scheduler",
    "identity_strength",
    "adapter_strength",
)
PLAIN = (
    *BASICS,
    "faceid_strength",
    "face_region",
    "free_pose",
    "style_mode",
    "style_strength",
    "style_content",
    "style_content_strength",
    "start_strength",
    "repaint",
    "upscale",
    "upscale_strength",
    "upscale_by",
    "face_detail",
    "face_detail_strength",
    "cfg_rescale",
    "negative_noise",
    "perturbed_negative",
    "off_size",
    "images",
)
PICTURES = ("pose_image", "style_image", "layout_image", "start_image")
KINDS = {"textual_inversions": "embeddings", "base": "checkpoints", "vae": "vaes", "loras": "loras"}


def read_request(values: Mapping[str, Any], studio: Studio) -> Request:
    """Build the request from everything that was entered.

    Raises:
        InvalidRequest: no face photo, weights that are not offered, or a value that Request refuses.
    """
    return build_request(values, studio, read_people(values))


def build_request(values: Mapping[str, Any], studio: Studio, people: tuple) -> Request:
    """The same, for people that are known already."""
    _check_pictures(values)
    chosen_size = values["size"] == CHOSEN_SIZE
    mask = read_mask(values["repaint_mask"]) if values["repaint"] == "mask" else None
    if values["repaint"] == "mask" and mask is None:
        raise InvalidRequest("Nothing is painted in the mask yet. Paint over what is to be made anew.")
    return Request(
        people=people,
        style=None if values["style"] in (None, NO_STYLE) else values["style"],
        recipe=None if values.get("recipe") in (None, NO_RECIPE) else values["recipe"],
        seed=None if values["randomise"] else values["seed"],
        width=values["width"] if chosen_size else None,
        height=values["height"] if chosen_size else None,
        controls={name: _control(name, values, studio) for name in values.get("controls") or ()},
        repaint_mask=mask,
        **{name: _picture(values.get(name), values.get("faces") or {}) for name in PICTURES},
        **{name: values[name] for name in PLAIN if name in values},
        **_weights(values, studio),
    )


def _check_pictures(values: Mapping[str, Any]) -> None:
    """What Request would refuse as well, in the page's words."""
    if values["repaint"] != "everything" and not values.get("start_image"):
        raise InvalidRequest(
            f"There is no start picture yet of which to paint the {values['repaint']} anew. Add one, or choose "
            "“everything”."
        )
    if values.get("layout_image") and not values.get("style_image"):
        raise InvalidRequest(
            "The layout picture wants a style picture beside it. Add one, or put this picture in the style picture's "
            "place and choose “layout”."
        )


def uploaded(files: Iterable[str] | None) -> dict[str, Path]:
    """Uploaded files by the names that people gave them."""
    return {Path(file).name: Path(file) for file in files or ()}


def read_mask(painted: Mapping[str, Any] | Path | None) -> Image.Image | Path | None:
    """What was painted in a `gr.ImageEditor` (type "pil") as black and white, white where it was; a file stays.

    None where nothing was painted.
    """
    if not isinstance(painted, Mapping):
        return painted
    mask = None
    for layer in painted["layers"]:
        strokes = layer.convert("RGBA").getchannel("A").point(lambda alpha: 255 if alpha > 127 else 0)
        mask = strokes if mask is None else Image.composite(strokes, mask, strokes)
    return mask if mask is not None and mask.getbbox() else None


def _picture(gallery: list[tuple[str, str | None]] | None, faces: Mapping[str, int]) -> Photo | None:
    paths = paths_of(gallery)
    return Photo(image=paths[-1], face=faces.get(str(paths[-1]), 1)) if paths else None


def _control(name: str, values: Mapping[str, Any], studio: Studio) -> Control:
    ready = _picture(values.get(f"{name}_map"), {})
    if ready is None and not studio.reads(name):
        raise InvalidRequest(
            f"The {name} control needs a ready map here: nothing on this machine reads one off a photo. "
            f"Upload one under “{name.capitalize()}: ready map”, or leave this control off."
        )
    sides = {side: values[f"{name}_{side}"] for side in ("low", "high") if f"{name}_{side}" in values}
    return Control(
        strength=values[f"{name}_strength"],
        start=values[f"{name}_start"],
        end=values[f"{name}_end"],
        map=ready,
        **sides,
    )


def weights_source(field: str, name: str, studio: Studio, files: Iterable[str] | None) -> str:
    """What Request names weights by that somebody has named: those that this machine offers, or an uploaded file.

    Args:
        field: of Request: "loras", "textual_inversions", "base" or "vae".
        files: that this visitor has uploaded.

    Raises:
        InvalidRequest: they are not offered, or can carry programs.
    """
    name, own = name.strip(), uploaded(files)
    if name in own and own[name].suffix.lower() != ".safetensors":
        raise InvalidRequest(f"“{name}” is no .safetensors file: other formats can carry programs.")
    if name in own:
        return str(own[name])
    offered = {} if studio.weights is None else studio.weights()
    if studio.open_weights or name in offered.get(KINDS[field], ()):
        return name
    raise InvalidRequest(
        f"There are no {KINDS[field]} called “{name}” here. Choose one from the list, or upload a "
        ".safetensors file."
    )


def _weights(values: Mapping[str, Any], studio: Studio) -> dict[str, Any]:
    """Request's fields for weights: only what this machine offers, unless its owner is the one who asks."""
    if studio.weights is None:
        return {}
    files = values.get("weight_files")

    def source(field: str, name: str) -> str:
        return weights_source(field, name, studio, files)

    loras = []
    number = 1
    while f"lora_{number}" in values:
        if name := values[f"lora_{number}"]:
            loras.append(Lora(source=source("loras", name), strength=values[f"lora_{number}_strength"]))
        number += 1
    return {
        "loras": tuple(loras),
        "textual_inversions": tuple(
            source("textual_inversions", name) for name in values.get("textual_inversions") or ()
        ),
        **{field: source(field, values[field]) if values.get(field) else None for field in ("base", "vae")},
    }
