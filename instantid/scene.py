"""Photos → who is in the picture, where their face goes, and how large the picture is."""

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from . import faces, images
from .errors import BundleError, InvalidRequest
from .request import Face, Photo, Request


@dataclass(frozen=True)
class Scene:
    """What a request's photos come to.

    Args:
        face: embedding of the person, the mean over the references; keypoints and box in canvas pixels.
        width, height: of the canvas, in pixels.
        photo: RGB, where the extra control maps are read off: the pose photo, else the first reference. None
            where all references are ready Faces.
        fit: how `photo` lies on the canvas.
    """

    face: Face
    width: int
    height: int
    photo: Image.Image | None
    fit: images.Fit | None

    @property
    def keypoint_map(self) -> Image.Image:
        """What IdentityNet sees."""
        return faces.draw_keypoints(self.face.keypoints, self.width, self.height)

    def map(self, name: str, draw: Callable[[str, Image.Image], Image.Image]) -> Image.Image:
        """The control map `name` on the canvas, read by `draw` off the photo as it lies there.

        Around the photo the map is black: nothing to follow, and no edge where the photo ends.
        """
        if self.photo is None:
            raise InvalidRequest(f"The {name} control needs a photo to follow: give a pose photo.")
        placed = self.photo.resize(self.fit.placed, Image.Resampling.LANCZOS)
        return self.fit.image(draw(name, placed))


def read(request: Request, finder: faces.FaceFinder | None, area: tuple[int, int]) -> Scene:
    """Find the faces, average the person's references, and lay the leading photo on the canvas.

    Args:
        finder: the bundle's face model, or None where only ready Faces can be used.
        area: (width, height) of the bundle's default picture: the pixel budget where no size is chosen.

    Raises:
        InvalidImage: a photo cannot be opened.
        NoFaceFound: a photo shows no face.
    """
    references = request.people[0].references
    photos = [_open(reference) for reference in references]
    found = [_face(reference, photo, finder) for reference, photo in zip(references, photos)]
    person = faces.average(found)
    # The pose comes from the pose photo, else from the first reference.
    pose, photo = found[0], photos[0]
    if request.pose_image is not None:
        photo = _open(request.pose_image)
        pose = _face(request.pose_image, photo, finder, name="the pose photo")
    width, height = images.canvas_size(
        photo.size if photo else None, area=area, width=request.width, height=request.height
    )
    fit = images.fit(photo.size, (width, height)) if photo else None
    on_canvas = Face(
        embedding=person.embedding,
        keypoints=fit.keypoints(pose.keypoints) if fit else pose.keypoints,
        box=fit.box(pose.box) if fit else pose.box,
    )
    return Scene(on_canvas, width, height, photo, fit)


def _open(reference: Photo | Face) -> Image.Image | None:
    return None if isinstance(reference, Face) else images.open_image(reference.image)


def _face(
    reference: Photo | Face, photo: Image.Image | None, finder: faces.FaceFinder | None, name: str = ""
) -> Face:
    if isinstance(reference, Face):
        return reference
    if finder is None:
        raise BundleError(
            "This bundle has no face model, so photos cannot be read: give ready Faces, or add a "
            '"faces" entry to its bundle.json.'
        )
    if not name:
        name = "the face photo" if isinstance(reference.image, Image.Image) else f"“{reference.image.name}”"
    return faces.find_face(finder, photo, number=reference.face, name=name)
