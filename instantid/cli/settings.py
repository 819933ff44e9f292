"""Options → settings of a request, by dotted name; the same for `generate` and `batch`."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, get_args

from ..dotted import PICTURES
from ..errors import InvalidRequest
from ..people import Photo, Portrait
from ..request import MAX_LORA, ControlName, Lora, RecipeName
from . import people_options
from .options import Option, of_field

PANELS = {  # heading → fields of the request, each an option of its own
    people_options.PANEL: "identity_strength adapter_strength faceid_strength face_region",
    "Prompt and style": "prompt negative_prompt style style_image style_strength style_mode layout_image "
    "style_content style_content_strength",
    "Pose and control": "pose_image free_pose",
    "Start picture": "start_image start_strength repaint repaint_mask",
    "Quality": "seed images steps guidance_scale scheduler recipe "
    "width height upscale upscale_strength upscale_by face_detail face_detail_strength",
    "Weights": "base vae",
    "Against burn and watermarks": "cfg_rescale negative_noise perturbed_negative off_size",
}
FIELDS = [name for names in PANELS.values() for name in names.split()]
RECIPES = {name.lower().replace(", ", "-").removesuffix(" steps"): name for name in get_args(RecipeName)}
SPECIAL = (  # what sets more than one field, or one in a way of its own; they stand at the end of their panels
    Option("pose_face_number", int, "Which face of the pose photo; 1 is the largest.", "Pose and control"),
    Option(
        "control",
        list[str],
        "An extra ControlNet and its strength, such as canny=0.4; pose=0.5:0-0.6 acts in the first six tenths of the "
        f"run. One of: {'; '.join(get_args(ControlName))}. Again for more.",
        "Pose and control",
    ),
    Option(
        "map",
        list[str],
        "A ready map for a control instead of one read off the pose photo: pose=skeleton.png.",
        "Pose and control",
    ),
    Option(
        "canny",
        str,
        "The canny control with these thresholds: edges weaker than the first are dropped, those stronger than the "
        "second always kept: 100,200.",
        "Pose and control",
    ),
    Option(
        "lora",
        list[str],
        f"A LoRA and its strength (-{MAX_LORA:g} to {MAX_LORA:g}, 1 if left out), such as film=0.8: a name from "
        "--models, a file, or owner/repo/file on the hub. Again for more.",
        "Weights",
    ),
    Option(
        "embedding",
        list[str],
        "A textual inversion, named like a LoRA; write its name in a prompt to use it. Again for more.",
        "Weights",
    ),
)


def setting_options(*, without: Iterable[str] = (), faces: bool = True) -> list[Option]:
    """All options that set something of a request, in the order of the panels."""
    options = people_options.people_options(faces=faces)
    for panel, names in PANELS.items():
        options += [_short_names(of_field(name, panel)) for name in names.split()]
        options += [option for option in SPECIAL if option.panel == panel]
    return [option for option in options if option.name not in set(without)]


def read_settings(given: Mapping[str, Any], saved: Callable[[str], Portrait]) -> dict[str, Any]:
    """The options' values by the request's dotted names; `saved` as in `read_people`."""
    values = people_options.read_people(given, saved)
    for name in FIELDS:
        if name in given:
            values[name] = Photo(image=given[name]) if name in PICTURES else given[name]
    if "pose_face_number" in given:
        if "pose_image" not in given:
            raise InvalidRequest("--pose-face-number goes with --pose photo.jpg.")
        values["pose_image"] = Photo(image=given["pose_image"], face=given["pose_face_number"])
    if "recipe" in given:
        values["recipe"] = RECIPES.get(given["recipe"].lower(), given["recipe"])
    for text in given.get("control", ()):
        values |= _control(text)
    for text in given.get("map", ()):
        name, file = _named(text, "--map wants a control and a picture, such as pose=skeleton.png")
        values[f"controls.{name}.map"] = Photo(image=Path(file))
    if "canny" in given:
        values |= _thresholds(given["canny"])
    if "lora" in given:
        values["loras"] = [Lora.read(text) for text in given["lora"]]
    if "embedding" in given:
        values["textual_inversions"] = given["embedding"]
    return values


def _short_names(option: Option) -> Option:
    if option.name != "recipe":
        return option
    about = f"{option.help.split(' One of')[0]} One of: {'; '.join(RECIPES)}."
    return Option(option.name, option.kind, about, option.panel)


def _control(text: str) -> dict[str, Any]:
    wanted = "--control wants a name and a strength, such as canny=0.4 or pose=0.5:0-0.6"
    name, numbers = _named(text, wanted)
    strength, colon, window = numbers.partition(":")
    start, _, end = window.partition("-")
    try:
        values = {"strength": float(strength)} | ({"start": float(start), "end": float(end)} if colon else {})
    except ValueError:
        raise InvalidRequest(f"{wanted}; got {text!r}.") from None
    return {f"controls.{name}.{key}": value for key, value in values.items()}


def _thresholds(text: str) -> dict[str, Any]:
    low, _, high = text.partition(",")
    try:
        return {"controls.canny.low": int(low), "controls.canny.high": int(high)}
    except ValueError:
        raise InvalidRequest(f"--canny wants two whole numbers, such as 100,200; got {text!r}.") from None


def _named(text: str, wanted: str) -> tuple[str, str]:
    """Both sides of `control=…`."""
    name, equals, value = text.partition("=")
    if not equals or not value:
        raise InvalidRequest(f"{wanted}; got {text!r}.")
    if name not in get_args(ControlName):
        raise InvalidRequest(f"There is no control “{name}”: take one of {', '.join(get_args(ControlName))}.")
    return name, value
