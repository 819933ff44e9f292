"""The request inside the picture's file, and back.

A PNG carries everything needed to make it again but the photos: of those it holds hashes, never pixels or
embeddings, so a shared picture does not share a face.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import Image, PngImagePlugin, UnidentifiedImageError

from . import images
from .errors import InvalidMetadata, InvalidRequest
from .request import SCHEMA_VERSION, Face, Person, Photo, Request, Result

CHUNK = "instantid"  # the PNG text chunk's keyword
PICTURES = {"people", "pose_image", "style_image"}  # fields of a Request that hold photos
LIBRARIES = ("torch", "diffusers", "transformers")  # a picture repeats to the pixel on the same ones


@dataclass(frozen=True)
class Record:
    """What a file of ours says about itself.

    Args:
        settings: the request's fields without its photos; `seed` is the picture's own, `images` is 1.
        people: per person, the strengths of its own and one print per reference.
        pose_image, style_image: prints, or None.
        bundle: name of the bundle, whether it is untrained, device and precision.
        versions: of the libraries that made the picture.
    """

    settings: dict[str, Any]
    people: list[dict[str, Any]]
    pose_image: dict[str, Any] | None
    style_image: dict[str, Any] | None
    bundle: dict[str, Any]
    versions: dict[str, str]


def save(result: Result, paths: Sequence[Path]) -> None:
    """Write each of the result's pictures to its path as a PNG that carries the request."""
    prints = _prints(result.request)
    for i, (picture, path) in enumerate(zip(result.images, paths, strict=True)):
        chunks = PngImagePlugin.PngInfo()
        chunks.add_itxt(CHUNK, json.dumps(describe(result, i, prints), ensure_ascii=False))
        chunks.add_itxt("Software", "InstantID Studio")
        chunks.add_itxt("Description", caption(result, i))
        picture.save(path, format="PNG", pnginfo=chunks)


def describe(result: Result, i: int, prints: dict[str, Any] | None = None) -> dict[str, Any]:
    """What the file of the result's image `i` carries, ready for JSON."""
    return {
        "schema": SCHEMA_VERSION,
        "settings": result.request.model_dump(exclude=PICTURES) | {"seed": result.seeds[i], "images": 1},
        **(prints or _prints(result.request)),
        "bundle": result.bundle,
        "versions": {name: version(name) for name in LIBRARIES},
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
        with Image.open(path) as picture:
            picture.load()  # text may stand behind the pixels
            text = picture.info.get(CHUNK)
    except FileNotFoundError as error:
        raise InvalidMetadata(f"There is no file {path}.") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise InvalidMetadata(f"{path} is not a picture that can be read: {error}.") from error
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
        return Record(**data)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidMetadata(
            f"{path} carries a request that cannot be read: it was damaged or edited."
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
        changes: settings that are to differ from the record's.

    Returns:
        The request, and one sentence for each photo that is not the one the picture was made from.

    Raises:
        InvalidRequest: the record needs a photo that was not given.
    """
    person = record.people[0]
    expected = [*person["references"], record.pose_image, record.style_image]
    given = [*references, pose_image, style_image]
    names = [f"face photo {i + 1}" for i in range(len(person["references"]))] + [
        "pose photo",
        "style picture",
    ]
    if len(references) != len(person["references"]):
        raise InvalidRequest(
            f"The picture was made from {len(person['references'])} face photos; {len(references)} were given."
        )
    differences = []
    for name, print_, photo in zip(names, expected, given, strict=True):
        if print_ is not None and photo is None:
            raise InvalidRequest(f"The picture was made with a {name}: give it as well.")
        if print_ is None and photo is not None:
            differences.append(f"The picture was made without a {name}.")
        elif print_ is not None and _print(photo) != print_:
            differences.append(f"The {name} is not the one that the picture was made from.")
    people = [Person(references=references, **{k: v for k, v in person.items() if k != "references"})]
    settings = record.settings | changes
    return Request(people=people, pose_image=pose_image, style_image=style_image, **settings), differences


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
