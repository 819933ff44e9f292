"""The request inside the picture's file, and back.

A PNG carries everything needed to make it again but the photos: of those it holds hashes, never pixels or
embeddings, so a shared picture does not share a face.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin
from pydantic import BaseModel, ConfigDict, Field

from . import image_files, images
from .errors import InvalidMetadata, InvalidRequest
from .request import SCHEMA_VERSION, Face, Person, Photo, Request, Result

CHUNK = "instantid"  # the PNG text chunk's keyword
PICTURES = {"people", "pose_image", "style_image"}  # fields of a Request that hold photos
LIBRARIES = ("torch", "diffusers", "transformers")  # a picture repeats to the pixel on the same ones


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PersonRecord(_Strict):
    """The strengths of a person's own, and one print per reference."""

    references: list[dict[str, Any]] = Field(min_length=1)
    identity_strength: float | None
    adapter_strength: float | None


class Record(_Strict):
    """What a file of ours says about itself.

    Args:
        settings: the request's fields without its photos; `seed` is the picture's own, `images` is 1.
        pose_image, style_image: prints, or None.
        bundle: name of the bundle, whether it is untrained, device and precision.
        versions: of the libraries that made the picture.
    """

    settings: dict[str, Any]
    people: list[PersonRecord] = Field(min_length=1, max_length=1)
    pose_image: dict[str, Any] | None
    style_image: dict[str, Any] | None
    bundle: dict[str, Any]
    versions: dict[str, str]


def save(result: Result, paths: Sequence[Path]) -> None:
    """Write each of the result's pictures to its path as a PNG that carries the request.

    Raises:
        InvalidRequest: a file cannot be written: no space, no permission, no such folder.
    """
    prints = _prints(result.request)
    for i, (picture, path) in enumerate(zip(result.images, paths, strict=True)):
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(CHUNK, json.dumps(describe(result, i, prints), ensure_ascii=False))
        chunks.add_itxt("Software", "InstantID Studio")
        chunks.add_itxt("Description", caption(result, i))
        try:
            picture.save(path, format="PNG", pnginfo=chunks)
        except OSError as error:
            raise InvalidRequest(
                f"The picture cannot be written to {path}: {error.strerror or error}. Choose another place, or make "
                "room there."
            ) from error


def describe(result: Result, i: int, prints: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the file of the result's image `i` carries, ready for JSON."""
    return {
        "schema": SCHEMA_VERSION,
        "settings": result.request.model_dump(exclude=PICTURES) | {"seed": result.seeds[i], "images": 1},
        **(prints or _prints(result.request)),
        "bundle": result.bundle,
        "versions": _versions(),
    }


def caption(result: Result, i: int) -> str:
    """One line about image `i` for people: how it was made, and plainly when the weights are untrained."""
    request = result.request
    parts = [
        f"Made with InstantID Studio ({result.bundle.get('name', 'unknown bundle')})",
        f"seed {result.seeds[i]}",
        f"{request.width}×{request.height}",
    ]
    if result.bundle.get("untrained"):
        parts.append("untrained weights: shows nothing, resembles nobody")
    return ", ".join(parts)


def read(path: Path) -> Record:
    """Read what a picture of ours carries.

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
        if data.pop("schema") > SCHEMA_VERSION:
            raise InvalidMetadata(f"{path} was made by a newer version of InstantID Studio. Update this one.")
        return Record(**data)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise InvalidMetadata(
            f"{path} carries a request that cannot be read: it was damaged or edited. Use the original file."
        ) from error


def restore(
    record: Record,
    references: Sequence[Photo | Face],
    *,
    pose_image: Photo | None = None,
    style_image: Photo | None = None,
    **changes: Any,
) -> tuple[Request, list[str]]:
    """Build the request again from a record and the photos, which it does not hold.

    Args:
        references: of the one person.
        changes: settings that are to differ from the record's; a strength also replaces the person's own.

    Returns:
        The request, and one sentence for each photo that is not the one the picture was made from.

    Raises:
        InvalidRequest: the record needs a photo that was not given.
    """
    person = record.people[0]
    expected = [*person.references, record.pose_image, record.style_image]
    given = [*references, pose_image, style_image]
    count = len(person.references)
    names = [f"face photo {i + 1}" if count > 1 else "face photo" for i in range(count)]
    names += ["pose photo", "style picture"]
    if len(references) != count:
        photos = "1 face photo" if count == 1 else f"{count} face photos"
        raise InvalidRequest(
            f"The picture was made from {photos}; {len(references)} given. Give as many, in the same order."
        )
    differences = []
    for name, print_, photo in zip(names, expected, given, strict=True):
        if print_ is not None and photo is None:
            raise InvalidRequest(f"The picture was made with a {name}: give it as well.")
        if print_ is None and photo is not None:
            differences.append(f"The picture was made without a {name}.")
        elif print_ is not None and (now := _print(photo)) != print_:
            same_photo = "photo" in now and now["photo"] == print_.get("photo")
            differences.append(
                f"The {name} is the same, but the picture was made from its face {print_.get('number')}."
                if same_photo
                else f"The {name} is not the one that the picture was made from."
            )
    strengths = person.model_dump(exclude={"references"} | changes.keys())
    people = [Person(references=references, **strengths)]
    photos = {"people": people, "pose_image": pose_image, "style_image": style_image}
    return Request(**(record.settings | changes | photos)), differences


def made_otherwise(record: Record, bundle: Mapping[str, Any]) -> list[str]:
    """One sentence for each thing beside the request that makes a repeated picture differ.

    Args:
        bundle: `Result.bundle` of the repetition.
    """
    told = []
    if bundle != record.bundle:
        told.append(f"The picture was made with {_told(record.bundle)}; this one with {_told(bundle)}.")
    libraries = [
        f"{name} {was} (here: {now})"
        for name, now in _versions().items()
        if (was := record.versions.get(name)) != now
    ]
    if libraries:
        told.append(f"The picture was made with {', '.join(libraries)}.")
    return told


def _told(bundle: Mapping[str, Any]) -> str:
    return " ".join(str(bundle[key]) for key in ("name", "device", "dtype") if key in bundle)


def _versions() -> dict[str, str]:
    return {name: version(name) for name in LIBRARIES}


def _prints(request: Request) -> dict[str, Any]:
    people = [
        {
            "references": [_print(reference) for reference in person.references],
            "identity_strength": person.identity_strength,
            "adapter_strength": person.adapter_strength,
        }
        for person in request.people
    ]
    return {
        "people": people,
        "pose_image": _print(request.pose_image),
        "style_image": _print(request.style_image),
    }


def _print(photo: Photo | Face | None) -> dict[str, Any] | None:
    if photo is None:
        return None
    if isinstance(photo, Face):
        numbers = b"".join(array.tobytes() for array in (photo.embedding, photo.keypoints, photo.box))
        return {"face": f"sha256:{hashlib.sha256(numbers).hexdigest()}"}
    return {"photo": images.fingerprint(images.open_image(photo.image)), "number": photo.face}
