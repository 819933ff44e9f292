"""The pictures of a run: painted, several at once where there is room, made larger, their faces painted again."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import ceil

import torch
from PIL import Image

from . import acceleration
from .errors import InvalidRequest
from .faces import FaceFinder
from .faces import likeness as alike
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


@dataclass(frozen=True, eq=False)
class Made:
    """A picture, RGB, that is done.

    Args:
        notes: what did not go as one might expect, in sentences.
        seconds: that it took, with its share of what was painted at once.
        at_once: how many were.
    """

    image: Image.Image
    notes: list[str]
    seconds: float
    at_once: int


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
    seeds: Sequence[int],
    report: Reporter,
    finder: FaceFinder | None,
    side: int,
) -> Iterator[Made]:
    """A picture of each seed, as soon as it is there.

    As many are painted at once as the plan allows; where memory runs out, half as many from there on, which is noted.
    The passes after that are each picture's own.

    Args:
        report: counts over all passes of all pictures.
        finder: None: no face is found.
        side: of the square that faces are painted on again, in pixels.
    """
    request = painter.request
    (name, first), *later = passes(request)
    done, steps, room = 0, 0, []
    at_once = painter.at_once(there.size)
    while done < len(seeds):
        now = seeds[done : done + at_once]
        begun = time.perf_counter()
        on_pass = _telling(report, steps, first * len(now), name + _which(done, len(now), len(seeds)))
        painted = _paint(painter, there, guides, now, on_pass)
        if painted is None:
            acceleration.give_back()
            at_once = len(now) // 2
            rest = "one at a time" if at_once == 1 else f"{at_once} at a time"
            room = [f"There was no room to paint {len(now)} pictures at once: it went on {rest}."]
            continue
        steps += first * len(now)
        share = (time.perf_counter() - begun) / len(now)
        for seed, picture in zip(now, painted, strict=True):
            begun = time.perf_counter()
            number = done % request.images + 1  # in its own request
            reports = _reports(report, steps, later, _which(done, 1, len(seeds)))
            image, notes = _finish(painter, there, guides, picture, seed, number, reports, finder, side)
            yield Made(image, [*room, *notes], share + time.perf_counter() - begun, len(now))
            steps += sum(each for _, each in later)
            done += 1


def faces_in(found: Sequence[Face], there: Scene) -> list[Face | None]:
    """Everyone's face among those found in a picture, largest first; None where there is none in their place."""
    if there.free_pose:
        return [found[0] if found else None]
    return assigned(found, there.faces)


def _paint(
    painter: Painter, there: Scene, guides: Sequence[Guide], seeds: Sequence[int], on_pass: OnPass
) -> list[Image.Image] | list[torch.Tensor] | None:
    """The first pass; None where there is no memory for several at once."""
    request, start = painter.request, None
    if there.start is not None:
        start = Start(picture=there.start, strength=request.start_strength, mask=there.repaint)
    as_latents = request.upscale > 1 and request.upscale_by == "latents"
    try:
        return painter.paint(
            there, request.people, guides, seeds, on_pass, start=start, as_latents=as_latents
        )
    except (RuntimeError, MemoryError) as error:
        if len(seeds) == 1 or not acceleration.ran_out(error):
            raise
        return None  # the error is let go of, and with it what it holds on to


def _finish(
    painter: Painter,
    there: Scene,
    guides: Sequence[Guide],
    picture: Image.Image | torch.Tensor,
    seed: int,
    number: int,
    reports: Iterator[OnPass],
    finder: FaceFinder | None,
    side: int,
) -> tuple[Image.Image, list[str]]:
    """The passes after the first, and what did not go as one might expect, in sentences."""
    request = painter.request
    if request.upscale > 1:
        picture, there = enlarge(painter, there, guides, picture, seed, next(reports))
    notes = []
    if request.face_detail:
        for person, face in enumerate(faces_in(finder.find(picture) if finder else [], there)):
            on_pass = next(reports)
            if face is None:
                nowhere = there.free_pose or not shows(there.faces[person].box, *picture.size)
                instead = "it was left as it is" if nowhere else "the planned place was painted again"
                notes.append(
                    f"Face detail: no face was found in picture {number} for person {person + 1}; {instead}."
                )
                if nowhere:
                    continue
            place = face or there.faces[person]
            picture = detail_face(painter, there, person, place, picture, side, seed, on_pass)
    return picture, notes


def likeness(made: Sequence[Made], there: Scene, finder: FaceFinder | None) -> list[float | None] | None:
    """As in `Result`."""
    if finder is None:
        return None
    told = []
    for image in (each.image for each in made):
        shown = there.scaled(*image.size)  # larger than planned, maybe
        pairs = list(zip(faces_in(finder.find(image), shown), there.faces, strict=True))
        whole = all(face is not None for face, _ in pairs)
        told.append(min(alike(face, person) for face, person in pairs) if whole else None)
    return told


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


def _reports(report: Reporter, done: int, passes: Sequence[tuple[str, int]], which: str) -> Iterator[OnPass]:
    """For each pass, what to call after its steps; `done` steps were before them."""
    for name, steps in passes:
        yield _telling(report, done, steps, name + which)
        done += steps


def _telling(report: Reporter, done: int, steps: int, note: str) -> OnPass:
    return lambda part, preview: report(done + round(part * steps), preview, note=note)


def _which(done: int, count: int, total: int) -> str:
    if total == 1:
        return ""
    return (
        f" picture {done + 1} of {total}"
        if count == 1
        else f" pictures {done + 1} to {done + count} of {total}"
    )
