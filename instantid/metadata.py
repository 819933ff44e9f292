"""The request inside the picture's file, and back.

A PNG carries everything needed to make it again but the pictures it was made from, and weights. Of those pictures
it holds hashes, never pixels or embeddings, so a shared picture does not share a face. Of weights given by a path
it holds the file's name alone, so a shared picture does not tell where its maker keeps things, with a hash by
which another file of that name is noticed; names from the model folders and places on the hub stay as given.
"""

import json
import os
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, model_validator

from . import dotted, image_files, prints
from .dotted import Source
from .errors import InvalidMetadata, InvalidRequest
from .prints import Print, Prints
from .request import SCHEMA_VERSION, Photo, Request, Result

CHUNK = "instantid"  # the PNG text chunk's keyword
LIBRARIES = ("torch", "diffusers", "transformers")  # a picture repeats to the pixel on the same ones
LEFT_OPEN = ("width", "height", "steps", "guidance_scale", "scheduler", "seed")  # the engine fills them in
STRENGTHS = ("identity_strength", "adapter_strength")  # a person's own go before the request's


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


def restore(
    record: Record,
    values: Mapping[str, Any] | None = None,
    /,
    *,
    references: Sequence[Source] = (),
    **changes: Any,
) -> tuple[Request, list[str]]:
    """Build the request again from a record and the pictures, which it does not hold.

    Args:
        values: pictures, and settings that are to differ from the record's, by dotted name:
            `{"people.1.references.0": photo, "controls.pose.map": skeleton, "people.1.view": "front"}`.
        references: of the first person, for short.
        changes: the same by the names of `Request`'s fields: `pose_image=photo, prompt="a king"`. A picture
            that is None counts as not given; a strength also replaces the people's own.

    Returns:
        The request, and one sentence for each picture that is not the one the picture was made from.

    Raises:
        InvalidRequest: the record needs a picture that was not given; all such are named.
    """
    given = dict(values or {})
    given |= {f"people.0.references.{i}": reference for i, reference in enumerate(references)}
    given |= {
        name: value for name, value in changes.items() if value is not None or name not in dotted.PICTURES
    }
    _all_given(record, given)
    count = len(record.settings["people"])
    owned = {f"people.{i}.{name}": None for i in range(count) for name in STRENGTHS if name in given}
    request = Request(**dotted.put_in(record.settings, owned | given))
    return request, _differences(record, request)


def recorded(record: Record) -> Request:
    """The request as it was, with a photo that does not exist in the place of each picture.

    Raises:
        InvalidRequest: the record holds what no request can: it was edited.
    """
    return Request(**dotted.put_in(record.settings, dict.fromkeys(record.pictures, Photo(image=Path("any")))))


def made_from(record: Record, request: Request, known: dict[int, Print] | None = None) -> bool:
    """Whether `request`, of one image, asks for the picture that carries `record`.

    What a request leaves open (size, steps, …) matches anything: the engine filled it in.

    Args:
        known: prints by the `id()` of their pictures; new ones are added. For many requests of the same photos.
    """
    try:
        was, _ = dotted.take_apart(recorded(record))  # with defaults for what is newer than the record
    except InvalidRequest:
        return False
    now = prints.describe(request, known)
    open_ = {name for name in LEFT_OPEN if now.settings[name] is None}
    same = all(was[name] == value for name, value in now.settings.items() if name not in open_)
    return same and (now.pictures, now.weights) == (record.pictures, record.weights)


def made_otherwise(record: Record, bundle: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing beside the request that makes a repeated picture differ.

    Args:
        bundle: `Result.bundle` of the repetition.
    """
    told = []
    if any(bundle.get(name) != value for name, value in record.bundle.items()):
        told.append(f"The picture was made with {_told(record.bundle)}; this one with {_told(bundle)}.")
    libraries = [
        f"{name} {was} (here: {now})"
        for name, now in _versions().items()
        if (was := record.versions.get(name)) != now
    ]
    if libraries:
        told.append(f"The picture was made with {', '.join(libraries)}.")
    return told


def _record(result: Result, i: int, described: Prints) -> dict[str, Any]:
    return {
        "schema": SCHEMA_VERSION,
        "settings": described.settings | {"seed": result.seeds[i], "images": 1},
        "pictures": described.pictures,
        "weights": described.weights,
        "bundle": result.bundle,
        "versions": _versions(),
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


def _all_given(record: Record, given: Mapping[str, Any]) -> None:
    """Refuse what is too little, and faces that have no place."""
    missing = [
        dotted.in_words(name, record.settings)
        for name in record.pictures
        if not any(f"{name}.".startswith(f"{each}.") for each in given)
    ]
    if missing:
        it = "it" if len(missing) == 1 else "them, in the same order,"
        raise InvalidRequest(
            f"The picture was made with more than was given: {', '.join(missing)}. Give {it} as well."
        )
    people = record.settings["people"]
    for name in given:
        match name.split("."):
            case ["people", i, *_] if int(i) >= len(people):
                shown = "1 person" if len(people) == 1 else f"{len(people)} people"
                raise InvalidRequest(f"The picture shows {shown}: there is no person {int(i) + 1} in it.")
            case ["people", i, "references", j] if int(j) >= (count := len(people[int(i)]["references"])):
                photos = "1 face photo" if count == 1 else f"{count} face photos"
                owner = f" of person {int(i) + 1}" if len(people) > 1 else ""
                raise InvalidRequest(f"The picture was made from {photos}{owner}; more were given.")


def _differences(record: Record, request: Request) -> list[str]:
    described = prints.describe(request)
    told = []
    for place in described.pictures | record.pictures:
        was, now = record.pictures.get(place), described.pictures.get(place)
        if was == now:
            continue
        name = dotted.in_words(place, record.settings if now is None else described.settings)
        if was is None:
            told.append(f"The picture was made without a {name}.")
        elif now is None:
            told.append(f"The picture was made with a {name}.")
        elif was.get("photo", 0) == now.get("photo"):
            told.append(
                f"The {name} is the same, but the picture was made from its face {was.get('number')}."
            )
        else:
            told.append(f"The {name} is not the one that the picture was made from.")
    for place, print_ in described.weights.items():
        if place in record.weights and record.weights[place] != print_:
            name = dotted.in_words(place, described.settings)
            told.append(f"The {name} is another file than the one that the picture was made with.")
    return told


def _told(bundle: Mapping[str, Any]) -> str:
    told = " ".join(str(bundle[key]) for key in ("name", "device", "dtype") if key in bundle)
    return told + (f", {bundle['at_once']} pictures at once" if "at_once" in bundle else "")


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}
