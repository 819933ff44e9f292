"""What stands for pictures and weights in a record: hashes, by which another one is noticed and nothing learnt."""

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from . import dotted, images
from .dotted import Source
from .request import Photo, Portrait, Request

ENDS = (
    2**20
)  # bytes hashed at either end of a weights file: all of a checkpoint would take longer than a picture

Print = dict[str, Any]


@dataclass(frozen=True)
class Prints:
    """A request without its pictures and without folders of this machine.

    Args:
        settings: dicts, lists and plain values; None for each picture, the name alone for a weights file.
        pictures, weights: prints by dotted name; of weights, of those given by the path of a file.
    """

    settings: dict[str, Any]
    pictures: dict[str, Print]
    weights: dict[str, str]


def describe(request: Request, known: dict[int, Print] | None = None) -> Prints:
    """Take the request apart; its photos are opened.

    Args:
        known: prints by the `id()` of their pictures; new ones are added.
    """
    known = {} if known is None else known
    settings, pictures = dotted.take_apart(request)
    for picture in pictures.values():
        if id(picture) not in known:
            known[id(picture)] = of_picture(picture)
    weights = dict(dotted.weights(settings))
    local = {name: source for name, source in weights.items() if os.path.exists(source)}
    names = {
        name: PureWindowsPath(os.path.abspath(source)).name
        for name, source in weights.items()
        if name in local or reaches_out(source)
    }
    return Prints(
        settings=dotted.put_in(settings, names),
        pictures={name: known[id(picture)] for name, picture in pictures.items()},
        weights={name: _of_weights(Path(source)) for name, source in local.items() if os.path.isfile(source)},
    )


def reaches_out(source: str) -> bool:
    """Whether weights are named by a path that leaves the model folders, on any system."""
    windows = PureWindowsPath(source)
    absolute = PurePosixPath(source).is_absolute() or bool(windows.drive or windows.root)
    relative = source.startswith(("~/", "./")) or ".." in windows.parts
    return absolute or relative or "\\" in source or source == "~"


def of_picture(picture: Source) -> Print:
    """A photo's print is of its pixels, a face's of its numbers; photos are opened."""
    if isinstance(picture, Photo):
        return {"photo": images.fingerprint(images.open_image(picture.image)), "number": picture.face}
    face, size = picture, b""
    if isinstance(picture, Portrait):
        face, size = picture.face, f"{picture.width}x{picture.height}".encode()
    numbers = b"".join(array.tobytes() for array in (face.embedding, face.keypoints, face.box))
    return {"face": f"sha256:{hashlib.sha256(numbers + size).hexdigest()}"}


def _of_weights(file: Path) -> str:
    """Of the file's length and both its ends: safetensors begin with their table of contents."""
    with file.open("rb") as content:
        digest = hashlib.sha256(content.read(ENDS))
        length = content.seek(0, os.SEEK_END)
        content.seek(max(0, length - ENDS))
        digest.update(content.read())
    return f"sha256-of-ends:{length}:{digest.hexdigest()}"
