"""The pictures of a run, one after the other: each painted, made larger, its faces painted again."""

from collections.abc import Callable, Iterator, Sequence
from math import ceil

from PIL import Image

from .errors import InvalidRequest
from .images import shows
from .nets import Guide
from .painting import OnPass, Painter, Start
from .people import Face
from .placing import assigned
from .progress import Reporter
from .request import Request
from .scene import Scene
from .second_passes import detail_face, enlarge

FACE_DETAIL = "Face detail"


def passes(request: Request) -> list[tuple[str, int]]:
    """What each pass of one picture is called, and how many steps it takes.

    Raises:
        InvalidRequest: a strength leaves a pass nothing to do.
    """
    told = [("Painting", request.steps if request.start_image is None else _steps(request, "start_strength"))]
    if request.upscale > 1:
        told.append(("Making it larger", _steps(request, "upscale_strength")))
    if request.face_detail:
        told += [(FACE_DETAIL, _steps(request, "face_detail_strength"))] * len(request.people)
    return told


def steps_in_all(request: Request) -> int:
    """Over all passes of all images."""
    return request.images * sum(steps for _, steps in passes(request))


def idle(guides: Sequence[Guide], request: Request) -> list[str]:
    """The guides whose window holds no whole step of any pass that follows them, in sentences."""
    lengths = [steps for name, steps in passes(request) if name != FACE_DETAIL]
    if request.scheduler == "Heun":  # looks twice at each step but the last, and windows count the looks
        lengths = [2 * steps - 1 for steps in lengths]
    return [
        f"The {guide.name} control never acts: no whole step of {' or '.join(map(str, lengths))} lies in its window."
        for guide in guides
        if not any(map(guide.acts_in, lengths))
    ]


def make(
    painter: Painter,
    there: Scene,
    guides: Sequence[Guide],
    i: int,
    report: Reporter,
    find: Callable[[Image.Image], list[Face]],
    side: int,
) -> tuple[Image.Image, list[str]]:
    """Image `i` of a run, and what did not go as one might expect, in sentences.

    Args:
        report: counts over all passes of all images.
        find: the faces of a picture, largest first.
        side: of the square that faces are painted on again, in pixels.
    """
    request, seed = painter.request, painter.request.seed + i
    reports = _reports(request, i, report)
    start = None
    if there.start is not None:
        start = Start(picture=there.start, strength=request.start_strength, mask=there.repaint)
    as_latents = request.upscale > 1 and request.upscale_by == "latents"
    picture = painter.paint(
        there, request.people, guides, seed, next(reports), start=start, as_latents=as_latents
    )
    if request.upscale > 1:
        picture, there = enlarge(painter, there, guides, picture, seed, next(reports))
    notes = []
    if request.face_detail:
        for person, face in enumerate(faces_in(find(picture), there)):
            on_pass = next(reports)
            if face is None:
                nowhere = there.free_pose or not shows(there.faces[person].box, *picture.size)
                instead = "it was left as it is" if nowhere else "the planned place was painted again"
                notes.append(
                    f"Face detail: no face was found in picture {i + 1} for person {person + 1}; {instead}."
                )
                if nowhere:
                    continue
            place = face or there.faces[person]
            picture = detail_face(painter, there, person, place, picture, side, seed, on_pass)
    return picture, notes


def faces_in(found: Sequence[Face], there: Scene) -> list[Face | None]:
    """Everyone's face among those found in a picture, largest first; None where there is none in their place."""
    if there.free_pose:
        return [found[0] if found else None]
    return assigned(found, there.faces)


def _steps(request: Request, field: str) -> int:
    """The steps of a pass of the strength in `field`, as diffusers counts them."""
    strength = getattr(request, field)
    steps = min(int(request.steps * strength), request.steps)
    if steps < 1:
        raise InvalidRequest(
            f"The {field} of {strength:g} leaves nothing to do in {request.steps} steps. Raise it to "
            f"{ceil(100 / request.steps) / 100:.2f} at least, or take more steps."
        )
    return steps


def _reports(request: Request, i: int, report: Reporter) -> Iterator[OnPass]:
    """For each pass of image `i`, what to call after its steps."""
    several = f" picture {i + 1} of {request.images}" if request.images > 1 else ""
    done = i * steps_in_all(request) // request.images
    for name, steps in passes(request):

        def on_pass(part, preview, *, done=done, steps=steps, note=f"{name}{several}") -> None:
            report(done + round(part * steps), preview, note=note)

        yield on_pass
        done += steps
