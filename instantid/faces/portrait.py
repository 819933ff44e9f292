"""Photos of one person → what can be kept of them instead."""

from collections.abc import Sequence
from pathlib import Path

from ..errors import InvalidRequest
from ..images import open_image
from ..people import Photo, Portrait
from .among import average
from .finder import FaceFinder, find_face


def take_portrait(finder: FaceFinder, photos: Sequence[Photo]) -> Portrait:
    """Return one portrait of the person in `photos`: the mean embedding, at the place it has in the first photo.

    Raises:
        InvalidImage: a photo cannot be opened.
        NoFaceFound: a photo shows no face.
        InvalidRequest: there are no photos, or one has fewer faces than the number asked for.
    """
    if not photos:
        raise InvalidRequest("There is no photo to take a portrait from. Give at least one.")
    images = [open_image(photo.image) for photo in photos]
    faces = [
        find_face(finder, image, number=photo.face, name=_name(photo, i))
        for i, (photo, image) in enumerate(zip(photos, images), start=1)
    ]
    return Portrait(average(faces), images[0].width, images[0].height)


def _name(photo: Photo, i: int) -> str:
    return f"“{photo.image.name}”" if isinstance(photo.image, Path) else f"photo {i}"
