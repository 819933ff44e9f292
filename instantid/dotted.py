"""A request's settings by dotted name: `prompt`, `people.0.view`, `controls.pose.map`.

A request is taken apart into plain values and pictures, and changed or put together by such names: what the file
of a picture and the command line have in common.
"""

import json
from collections.abc import Hashable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .people import Face, Frozen, Photo, Portrait

Source = Photo | Portrait | Face
PICTURES = {  # the request's own; people and controls have further ones
    "pose_image": "pose photo",
    "style_image": "style picture",
    "layout_image": "layout picture",
    "start_image": "start picture",
    "repaint_mask": "repaint mask",
}


def take_apart(value: Any, name: str = "") -> tuple[Any, dict[str, Source]]:
    """The settings of a request as dicts, lists and plain values, with None for each picture, and the pictures."""
    pictures: dict[str, Source] = {}

    def walk(value: Any, name: str) -> Any:
        if isinstance(value, Source):
            pictures[name] = value
            return None
        if isinstance(value, Frozen):
            value = {field: getattr(value, field) for field in type(value).model_fields}
        if isinstance(value, Mapping):
            return {key: walk(each, f"{name}.{key}".lstrip(".")) for key, each in value.items()}
        if isinstance(value, (list, tuple)):
            return [walk(each, f"{name}.{i}") for i, each in enumerate(value)]
        return value

    return walk(value, name), pictures


def but_for_seed(request: Frozen) -> Hashable:
    """What requests have in common that differ in their seeds alone.

    Pictures in memory are told apart as objects, not by what they show: the key is good for as long as they live.
    """
    settings, pictures = take_apart(request)
    told = {
        name: (picture.image if isinstance(picture.image, Path) else id(picture.image), picture.face)
        if isinstance(picture, Photo)
        else id(picture)
        for name, picture in pictures.items()
    }
    return json.dumps(settings | {"seed": None}, sort_keys=True), tuple(told.items())


def put_in(settings: Any, values: Mapping[str, Any]) -> Any:
    """`settings` with `values`, by dotted name, in their places; dicts and lists on the way are made."""
    for name, value in values.items():
        settings = _with(settings, name.split("."), value)
    return settings


def _with(settings: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    first, *rest = path
    if not first.isdigit():
        settings = settings or {}
        return settings | {first: _with(settings.get(first), rest, value)}
    items, index = list(settings or ()), int(first)
    items += [None] * (index + 1 - len(items))
    items[index] = _with(items[index], rest, value)
    return items


def look_up(settings: Any, name: str) -> Any:
    """The value of that dotted name. Raises LookupError or TypeError where there is no such place."""
    for part in name.split("."):
        settings = settings[int(part) if isinstance(settings, list) else part]
    return settings


def weights(settings: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Dotted name and source of all weights that settings name."""
    found = [(name, settings.get(name)) for name in ("base", "vae")]
    for i, lora in enumerate(settings.get("loras") or ()):
        found.append((f"loras.{i}.source", lora.get("source")))
    for i, source in enumerate(settings.get("textual_inversions") or ()):
        found.append((f"textual_inversions.{i}", source))
    return ((name, source) for name, source in found if isinstance(source, str))


def in_words(name: str, settings: Mapping[str, Any]) -> str:
    """What people call the place: “face photo 2 of person 1”. Numbers are left out where there is only one."""
    match name.split("."):
        case ["people", i, *rest]:
            people = settings["people"]
            owner = f" of person {int(i) + 1}" if len(people) > 1 else ""
            if rest == ["region"]:
                return f"region{owner}"
            several = len(people[int(i)]["references"]) > 1 if int(i) < len(people) else True
            return "face photo" + (f" {int(rest[1]) + 1}" if several else "") + owner
        case ["controls", control, "map"]:
            return f"ready {control} map"
        case ["loras", i, "source"]:
            return f"LoRA {int(i) + 1}"
        case ["textual_inversions", i]:
            return f"embedding {int(i) + 1}"
        case ["base"]:
            return "base model"
        case ["vae"]:
            return "VAE"
        case _:
            return PICTURES[name]
