"""Photos → who is in the picture, where each face goes, and how large the picture is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from . import faces, images
from .bundles import Defaults
from .errors import BundleError, InvalidRequest
from .people import Face, Photo, Portrait
from .placing import apart, own_fit, own_place, photo_size, place, poses_itself
from .regions import ellipses, regions
from .request import Control, Request

SDXL = Defaults()


@dataclass(frozen=True, eq=False)
class Scene:
    """What a request's photos come to.

    Args:
        faces: one per person: the embedding is the mean over the references; keypoints and box in canvas pixels.
        painted: one per person: the painted region, or None.
        width, height: of the canvas, in pixels.
        face_only: people without a painted region act in their face's box; else everywhere near it.
        free_pose: nobody's place is set: there are no keypoints to follow, and no box to keep to.
        photo: RGB, where the extra control maps are read off: the pose photo, else the start picture, else the
            first reference. None where all references are ready faces.
        fit: how `photo` lies on the canvas.
        start: RGB, the canvas' size: the start picture. None: the picture starts from noise.
        repaint: (height, width), 0 to 1: which part of `start` is painted anew. None: all of it.
        map_pixel: side of the pixels that maps are drawn in.
    """

    faces: tuple[Face, ...]
    painted: tuple[Image.Image | None, ...]
    width: int
    height: int
    face_only: bool
    free_pose: bool = False
    photo: Image.Image | None = None
    fit: images.Fit | None = None
    start: Image.Image | None = None
    repaint: np.ndarray | None = None
    map_pixel: int = 1

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) of the canvas."""
        return self.width, self.height

    @property
    def keypoint_map(self) -> Image.Image:
        """Everyone's keypoints in one picture; where they lie over each other, the brighter shows."""
        drawn = np.max([np.asarray(self.keypoints_of(i)) for i in range(len(self.faces))], axis=0)
        return Image.fromarray(drawn)

    def keypoints_of(self, i: int) -> Image.Image:
        """What IdentityNet sees of person `i`."""
        return faces.draw_keypoints(self.faces[i].keypoints, self.width, self.height, self.map_pixel)

    def masks(self) -> list[np.ndarray | None]:
        """Where each person acts, (height, width) from 0 to 1; None: everywhere."""
        face_only = self.face_only and not self.free_pose
        return regions(self.faces, self.painted, self.width, self.height, face_only=face_only)

    def map(self, name: str, control: Control, draw: Callable[[str, Image.Image, Control], Image.Image]):
        """The control map `name` on the canvas: the ready one, else read by `draw` off the photo as it lies there.

        Around a photo the map is black: nothing to follow, and no edge where the photo ends.
        """
        if control.map is not None:
            ready = images.open_image(control.map.image)
            return images.in_blocks(images.fit(ready.size, self.size).image(ready), self.map_pixel)
        if self.photo is None:
            raise InvalidRequest(
                f"The {name} control needs a photo to follow: give a pose photo, or a ready map."
            )
        return self.fit.reading(self.photo, lambda placed: draw(name, placed, control), self.map_pixel)

    def scaled(self, width: int, height: int) -> "Scene":
        """The same people on a canvas of another size, without photos."""
        whole = np.array([0, 0, self.width, self.height], np.float32)
        larger = self._seen_through(whole, width, height, self.faces, self.painted)
        if self.repaint is None:
            return larger
        mask = Image.fromarray(self.repaint).resize((width, height))
        return replace(larger, repaint=(np.asarray(mask) > 0.5).astype(np.float32))

    def closeup(self, i: int, face: Face, window: np.ndarray, width: int, height: int) -> "Scene":
        """Person `i` alone, on a canvas that shows a window of this one.

        Args:
            face: where the face is on this canvas; its embedding is not looked at.
            window: (4,) x1 y1 x2 y2 in pixels of this canvas.
        """
        alone = replace(face, embedding=self.faces[i].embedding)
        return self._seen_through(window, width, height, (alone,), (None,))

    def _seen_through(
        self,
        window: np.ndarray,
        width: int,
        height: int,
        people: tuple[Face, ...],
        painted: tuple[Image.Image | None, ...],
    ) -> "Scene":
        (x1, y1, x2, y2) = (float(value) for value in window)
        scale = np.array([width / (x2 - x1), height / (y2 - y1)])
        moved = tuple(
            Face(
                face.embedding,
                (face.keypoints - (x1, y1)) * scale,
                ((face.box.reshape(2, 2) - (x1, y1)) * scale).reshape(4),
            )
            for face in people
        )
        return Scene(moved, painted, width, height, self.face_only, self.free_pose, map_pixel=self.map_pixel)


def read(
    request: Request,
    finder: faces.FaceFinder | None,
    area: tuple[int, int],
    usual: Defaults = SDXL,
) -> Scene:
    """Find the faces, average each person's references, and lay the leading photo on the canvas.

    Args:
        finder: the bundle's face model, or None where only ready faces can be used.
        area: (width, height) of the bundle's default picture: the pixel budget where no size is chosen.
        usual: the bundle's; of it count `grid`, `map_pixel` and `least_face`, which one person's own photo keeps to
            where it alone poses; control maps are read off the photo as close.

    Raises:
        InvalidImage: a photo cannot be opened.
        NoFaceFound: a photo shows no face.
        InvalidRequest: there are fewer faces to pose than people.
    """
    photos = [[_open(reference) for reference in person.references] for person in request.people]
    found = [
        [_face(reference, photo, finder) for reference, photo in zip(person.references, opened)]
        for person, opened in zip(request.people, photos)
    ]
    everyone = [faces.average(references) for references in found]
    start = request.start_image and images.open_image(request.start_image.image)
    pose = request.pose_image and images.open_image(request.pose_image.image)
    photo = pose or start or photos[0][0]
    shape = start.size if start else pose.size if pose else photo_size(request.people[0].references[0], photo)
    width, height = images.canvas_size(
        shape, area=area, width=request.width, height=request.height, grid=usual.grid
    )
    size = (width, height)
    posed = _pose(request, finder, pose, start, size)
    least = usual.least_face if len(request.people) == 1 else 0.0
    on_canvas = [
        place(
            person, embedding, posed[i] if posed else own_place(person, first, opened[0], size, least), size
        )
        for i, (person, embedding, first, opened) in enumerate(
            zip(request.people, everyone, (references[0] for references in found), photos)
        )
    ]
    if len(on_canvas) > 1 and posed is None:
        on_canvas = apart(request.people, on_canvas, size)
    fit = photo and images.fit(photo.size, size, cover=photo is start)
    if photo and posed is None and pose is None and start is None:
        fit = own_fit(photo.size, found[0][0], size, least)
    scene = Scene(
        faces=tuple(on_canvas),
        painted=tuple(
            images.open_image(person.region.image) if person.region else None for person in request.people
        ),
        width=width,
        height=height,
        face_only=request.face_region,
        free_pose=request.free_pose,
        photo=photo,
        fit=fit,
        map_pixel=usual.map_pixel,
    )
    return (
        scene
        if start is None
        else replace(scene, start=_on_canvas(start, size), repaint=_part(request, scene))
    )


def _pose(
    request: Request,
    finder: faces.FaceFinder | None,
    pose: Image.Image | None,
    start: Image.Image | None,
    size: tuple[int, int],
) -> list[Face] | None:
    """Faces of the photo that poses, on the canvas, one per person from left to right; None: nothing poses."""
    if request.free_pose:
        pose = None  # nobody is posed; but which face of the start picture is painted anew is to be known
        start = start if request.repaint == "face" else None
    leading = pose or start
    if leading is None:
        return None
    # A start picture is asked for a pose only where nothing else says where somebody goes.
    if all(poses_itself(person) or (pose is None and person.place) for person in request.people):
        return None
    name = "the pose photo" if pose else "the start picture"
    chosen = request.pose_image if pose else request.start_image
    fit = images.fit(leading.size, size, cover=pose is None)
    if len(request.people) == 1:
        found = [_face(chosen, leading, finder, name=name)]
    else:
        found = _needed(finder).recall(leading)
        if len(found) < len(request.people):
            raise InvalidRequest(
                f"There are {len(request.people)} people, but {_count(found)} in {name}. Choose one with a face for "
                "each, or say where each person goes: a view, a place, or keypoints."
            )
        found = sorted(found[: len(request.people)], key=lambda face: face.centre[0])
    return [Face(face.embedding, fit.keypoints(face.keypoints), fit.box(face.box)) for face in found]


def _on_canvas(picture: Image.Image, size: tuple[int, int]) -> Image.Image:
    """The start picture fills the canvas: what would stay black around it is cut off instead."""
    return images.fit(picture.size, size, cover=True).image(picture)


def _part(request: Request, scene: Scene) -> np.ndarray | None:
    """Which part of the start picture is painted anew."""
    if request.repaint == "everything":
        return None
    if request.repaint == "face":
        mask = ellipses([face.box for face in scene.faces], *scene.size)
        if not mask.any():
            raise InvalidRequest(
                "The face to be painted anew lies outside the picture. Move it onto the picture, or choose another "
                "part to repaint."
            )
        return mask
    mask = _on_canvas(images.open_image(request.repaint_mask.image), scene.size).convert("L")
    mask = (np.asarray(mask) > 127).astype(np.float32)
    if not mask.any():
        raise InvalidRequest(
            "The mask is black everywhere, so there is nothing to paint anew. Paint white what is to change."
        )
    return mask


def _open(reference: Photo | Portrait | Face) -> Image.Image | None:
    return images.open_image(reference.image) if isinstance(reference, Photo) else None


def _needed(finder: faces.FaceFinder | None) -> faces.FaceFinder:
    if finder is None:
        raise BundleError(
            "This bundle has no face model, so photos cannot be read: give ready Faces, or add a "
            '"faces" entry to its bundle.json.'
        )
    return finder


def _face(
    reference: Photo | Portrait | Face,
    photo: Image.Image | None,
    finder: faces.FaceFinder | None,
    name: str = "",
) -> Face:
    if isinstance(reference, Face):
        return reference
    if isinstance(reference, Portrait):
        return reference.face
    finder = _needed(finder)
    if not name:
        name = "the face photo" if isinstance(reference.image, Image.Image) else f"“{reference.image.name}”"
    return faces.find_face(finder, photo, number=reference.face, name=name)


def _count(found: Sequence[Face]) -> str:
    return {0: "no faces", 1: "one face"}.get(len(found), f"{len(found)} faces")
