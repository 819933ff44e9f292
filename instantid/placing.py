"""Where each person's face goes on the canvas, and who is who in a finished picture."""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from . import images, views
from .errors import InvalidRequest
from .people import Face, Person, Photo, Place, Portrait


def photo_size(reference: Photo | Portrait | Face, photo: Image.Image | None) -> tuple[int, int] | None:
    """(width, height) of the photo that a face was found in; None: a ready `Face` is on the canvas already."""
    if isinstance(reference, Portrait):
        return reference.width, reference.height
    return photo.size if photo else None


def poses_itself(person: Person) -> bool:
    """Whether a person's face needs no photo to be posed."""
    return person.keypoints is not None or person.view is not None


def own_fit(of: tuple[int, int], face: Face, canvas: tuple[int, int], least: float) -> images.Fit:
    """Where somebody's own photo, of that size, lies on the canvas.

    Args:
        face: in the photo's pixels.
        least: how high the face is at least, as a part of the canvas's shorter side: the photo comes closer where it
            is not, with the face where `Place` has it.
    """
    fit, wanted, there = images.fit(of, canvas), least * min(canvas), Place()
    left, top, right, bottom = (float(side) for side in fit.box(face.box))
    if not 0 < bottom - top < wanted:
        return fit
    middle, to = ((left + right) / 2, (top + bottom) / 2), (there.x * canvas[0], there.y * canvas[1])
    to = to[0], max(to[1], wanted / 2)
    return images.closer(fit, wanted / (bottom - top), middle, to)


def own_place(
    person: Person, face: Face, photo: Image.Image | None, canvas: tuple[int, int], least: float = 0.0
) -> Face:
    """A person's own face where it lies in their first reference, on the canvas. `least`: of `own_fit`."""
    of = photo_size(person.references[0], photo)
    if of is None:
        return face
    fit = own_fit(of, face, canvas, least)
    return Face(face.embedding, fit.keypoints(face.keypoints), fit.box(face.box))


def place(person: Person, identity: Face, posed: Face, canvas: tuple[int, int]) -> Face:
    """Where a face goes: explicit keypoints, else a view, else as posed; then moved to the place asked for.

    Args:
        identity: whose embedding it is.
        posed: on the canvas.
    """
    keypoints, box = posed.keypoints, posed.box
    if person.keypoints is not None:
        keypoints = np.multiply(person.keypoints, canvas).astype(np.float32)
        box = views.box_around(keypoints)
    elif person.view is not None:
        keypoints, box = views.on_canvas(person.view, person.place or _place_of(posed.box, canvas), *canvas)
    elif person.place is not None:
        if not posed.area:
            raise InvalidRequest("A face whose box has no size cannot be given a place: its size is unknown.")
        keypoints, box = views.placed(keypoints, box, person.place, *canvas)
    return Face(identity.embedding, keypoints, box)


def apart(people: Sequence[Person], placed: Sequence[Face], canvas: tuple[int, int]) -> list[Face]:
    """Several people whom no photo poses: side by side, but for those whose place is given.

    A ready `Face` gives one: it is in pixels of the canvas.
    """
    told = []
    for person, face, beside in zip(people, placed, views.side_by_side(len(people), *canvas), strict=True):
        ready = isinstance(person.references[0], Face)
        if person.keypoints is None and person.place is None and not ready:
            face = place(person.replace(place=beside), face, face, canvas)
        told.append(face)
    return told


def assigned(found: Sequence[Face], planned: Sequence[Face]) -> list[Face | None]:
    """Who of the faces found in a picture is who: the nearest to each planned one, nearest pairs first.

    A face further from a planned one than that is large is nobody's. By place, not by likeness, which is what is
    to be judged.
    """
    pairs = sorted(
        (float(np.hypot(*np.subtract(face.centre, plan.centre))), i, j)
        for i, plan in enumerate(planned)
        for j, face in enumerate(found)
    )
    told: list[Face | None] = [None] * len(planned)
    taken = set()
    for distance, i, j in pairs:
        x1, y1, x2, y2 = planned[i].box
        if told[i] is None and j not in taken and distance <= max(x2 - x1, y2 - y1):
            told[i] = found[j]
            taken.add(j)
    return told


def _place_of(box: np.ndarray, canvas: tuple[int, int]) -> Place:
    """Where a box lies, as a place that a view can take."""
    (width, height), (x1, y1, x2, y2) = canvas, (float(value) for value in box)
    part = (y2 - y1) / min(width, height)
    x, y = (x1 + x2) / 2 / width, (y1 + y2) / 2 / height
    return Place(x=min(max(x, 0), 1), y=min(max(y, 0), 1), size=min(max(part, 0.05), 1))
