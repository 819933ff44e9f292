"""The request inside the picture's file. The way back is `repeating`.

A PNG carries everything needed to make it again but the pictures it was made from, and weights. Of those pictures
it holds hashes, never pixels or embeddings, so a shared picture does not share a face. Of weights given by a path
it holds the file's name alone, so a shared picture does not tell where its maker keeps things, with a hash by
which another file of that name is noticed; names from the model folders and places on the hub stay as given.
"""

import json
import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, model_validator

from . import dotted, image_files, prints
from .errors import InvalidMetadata, InvalidRequest
from .prints import Print, Prints
from .request import SCHEMA_VERSION, Result

CHUNK = "instantid"  # the PNG text chunk's keyword
LIBRARIES = ("torch", "diffusers", "transformers")  # a picture repeats to the pixel on the same ones


class Record(BaseModel):
    """What a file of ours says about itself.

    Args:
        settings: the request, None in the place of each picture; `seed` is the picture's own, `images` is 1.
        pictures: a print of each picture, by dotted name: "people.0.references.0", "controls.pose.map".
        weights: by dotted name, a print of each weights file that was given by its path.
        bundle: name of the bundle, whether it is untrained, device and precision; where it was painted together with
            others, how many they were.
        versions: of the libraries that made the picture.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    settings: dict[str, Any]
    pictures: dict[str, Print]
    weights: dict[str, str]
    bundle: dict[str, Any]
    versions: dict[str, str]

    @model_validator(mode="after")
    def _holds_together(self) -> "Record":
        """Every picture has its place, every face its print, and nothing reaches into the reader's folders."""
        people, controls = self.settings["people"], self.settings["controls"]
        counts = [len(person["references"]) for person in people]
        faces = {f"people.{i}.references.{j}" for i, count in enumerate(counts) for j in range(count)}
        if not counts or 0 in counts or not faces <= self.pictures.keys():
            raise ValueError("a person without a print of their face")
        if not all(isinstance(control, dict) for control in controls.values()):
            raise ValueError("a control that is no record")
        if any(dotted.look_up(self.settings, name) is not None for name in self.pictures):
            raise ValueError("a picture in a place that is taken")
        if any(prints.reaches_out(source) for _, source in dotted.weights(self.settings)):
            raise ValueError("weights by their path: we never write that")
        return self


def save(result: Result, paths: Sequence[Path]) -> None:
    """Write each of the result's pictures to its path as a PNG that carries the request.

    A file is there whole or not at all, whenever the writing is interrupted.

    Raises:
        InvalidRequest: a file cannot be written: no space, no permission, no such folder.
    """
    described = prints.describe(result.request)
    for i, (picture, path) in enumerate(zip(result.images, paths, strict=True)):
        chunks = PngImagePlugin.PngInfo()
        record = _record(result, i, described)
        chunks.add_itxt(CHUNK, json.dumps(record, ensure_ascii=False))
        chunks.add_itxt("Software", "InstantID Studio")
        chunks.add_itxt("Description", caption(result, i))
        beside = path.with_name(f".{path.name}.part")
        try:
            picture.save(beside, format="PNG", pnginfo=chunks)
            os.replace(beside, path)
        except OSError as error:
            beside.unlink(missing_ok=True)
            raise InvalidRequest(
                f"The picture cannot be written to {path}: {error.strerror or error}. Choose another place, or make "
                "room there."
            ) from error


def describe(result: Result, i: int) -> dict[str, Any]:
    """What the file of the result's image `i` carries, ready for JSON."""
    return _record(result, i, prints.describe(result.request))


def caption(result: Result, i: int) -> str:
    """One line about image `i` for people: how it was made, and plainly when the weights are untrained."""
    width, height = result.images[i].size
    parts = [
        f"Made with InstantID Studio ({result.bundle.get('name', 'unknown bundle')})",
        f"seed {result.seeds[i]}",
        f"{width}×{height}",
    ]
    if result.bundle.get("untrained"):
        parts.append("untrained weights: shows nothing, resembles nobody")
    return ", ".join(parts)


def read(path: Path) -> Record:
    """Read what a picture of ours carries, also one of an earlier version.

    Raises:
        InvalidMetadata: not such a file, or one written by a newer version.
    """
    try:
        with Image.open(path, formats=image_files.FORMATS) as picture:
            picture.load()  # text may stand behind the pixels
            text = picture.info.get(CHUNK)
    except FileNotFoundError as error:
        raise InvalidMetadata(f"There is no file {path}. Check the path and its spelling.") from error
    except (*image_files.DAMAGED, Image.DecompressionBombError) as error:
        raise InvalidMetadata(
            f"{path} is not a picture that can be read ({error}). Give a PNG that InstantID Studio saved."
        ) from error
    if text is None:
        raise InvalidMetadata(
            f"{path} carries no request. Only PNGs saved by InstantID Studio do, and most websites and chat "
            "programs strip it: use the original file."
        )
    try:
        data = json.loads(text)
        schema = data.pop("schema")
        if schema > SCHEMA_VERSION:
            raise InvalidMetadata(f"{path} was made by a newer version of InstantID Studio. Update this one.")
        return Record(**(_from_version_1(data) if schema == 1 else data))
    except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        raise InvalidMetadata(
            f"{path} carries a request that cannot be read: it was damaged or edited. Use the original file."
        ) from error


def _record(result: Result, i: int, described: Prints) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "settings": described.settings | {"seed": result.seeds[i], "images": 1},
        "pictures": described.pictures,
        "weights": described.weights,
        "bundle": result.bundle,
        "versions": versions(),
    }


def _from_version_1(data: dict[str, Any]) -> dict[str, Any]:
    """One person, a pose photo and a style picture, each with a field of its own; controls were bare strengths."""
    settings = data.pop("settings")
    settings["controls"] = {
        name: {"strength": strength} for name, strength in settings.get("controls", {}).items()
    }
    pictures = {name: print_ for name in ("pose_image", "style_image") if (print_ := data.pop(name))}
    settings |= dict.fromkeys(("pose_image", "style_image"))
    settings["people"] = data.pop("people")
    for i, person in enumerate(settings["people"]):
        for j, print_ in enumerate(person["references"]):
            pictures[f"people.{i}.references.{j}"] = print_
        person["references"] = [None] * len(person["references"])
    return data | {"settings": settings, "pictures": pictures, "weights": {}}


def versions() -> dict[str, str]:
    """Of the libraries here, by which a picture repeats to the pixel."""
    return {name: version(name) for name in LIBRARIES}
