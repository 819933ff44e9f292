"""What is wrong with a photo of a face, and what helps: one friendly line each. It advises and never blocks.

It judges pixels and keypoints, so it works with any face models; only the age needs a model of its own. The limits
were set on two dozen faces in photos, blurred, shrunk, exposed, turned and covered by known amounts.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from PIL import Image

from .face_measures import align, find_covered, measure_blur, measure_cut, measure_light, measure_turn
from .faces import OPENCV_SAME, FaceFinder, likeness
from .people import Face

SMALLEST = 80  # pixels from chin to brow: at 80 SFace still sees 0.98 of a likeness, at 60 0.97, at 40 0.92
MOST_CUT = (
    0.12  # of the head; measured on crops with room around the face: up to 0.12, through an ear: 0.14 on
)
MOST_BLURRED = 0.6  # photos have up to 0.54; from here on a likeness of 0.85 and less is left
MOST_TURNED = 35  # degrees sideways
MOST_RAISED = 25  # degrees up or down, which shapes of faces feign by up to 13
MOST_TILTED = 20  # degrees, as the detector tells: YuNet sees half of a tilt, so that little ones pass
DARKEST = 70  # of 255: photos have from 140, four stops less light leaves 40 to 60
MOST_BURNT = 0.5  # of the face; photos have up to 0.17, two stops more light burns 0.5 to 1
ADULT = 18  # years
SAME_PERSON = OPENCV_SAME  # turned faces may fall below

Kind = Literal[
    "no face",
    "several faces",
    "cut off",
    "small",
    "blurred",
    "turned",
    "tilted",
    "covered",
    "dark",
    "burnt out",
    "age",
    "child",
    "odd one out",
]


@dataclass(frozen=True)
class Advice:
    """One line. `kind` is for programs."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


def likeness_scale(kind: str | None) -> str:
    """What a likeness by face models of that kind is to be held against, in words; "" where nobody says."""
    return f"the same person: from {OPENCV_SAME:.2f}" if kind == "opencv" else ""


def of(photo: Image.Image, finder: FaceFinder, *, number: int = 1) -> list[Advice]:
    """Everything there is to say about one photo: RGB, upright, as `images.open_image` gives it.

    Args:
        number: which face is meant, counted from 1, largest first.
    """
    faces = finder.find(photo)
    told = judge(photo, faces, number=number)
    if number <= len(faces) and (years := finder.age(photo, faces[number - 1])) is not None:
        told.append(judge_age(years))
    return told


def judge(photo: Image.Image, faces: Sequence[Face], *, number: int = 1) -> list[Advice]:
    """Judge an RGB photo and the faces found in it, largest first; nothing is said of an ideal one."""
    if number > len(faces):
        return [
            Advice(
                "no face",
                "No face is to be seen here. A sharp, well-lit photo of a face turned towards the camera works best, "
                "with some room around the head.",
            )
        ]
    told = []
    if len(faces) > 1:
        which = "the largest" if number == 1 else f"number {number}, counted from the largest,"
        told.append(
            Advice(
                "several faces", f"{len(faces)} faces are here: {which} is taken. Any other can be chosen."
            )
        )
    return [*told, *_problems(photo, faces[number - 1])]


def judge_age(years: int) -> Advice:
    """What to say about a guessed age; guesses are some five years off either way."""
    low, high = max(0, 5 * round((years - 5) / 5)), 5 * round((years + 5) / 5)
    if years < ADULT:
        return Advice(
            "child",
            f"This seems to be somebody under {ADULT}. Pictures of children need care: make them only with the "
            "consent of a parent, and keep them private.",
        )
    return Advice(
        "age",
        f"Looks about {low} to {high}. Say so in the prompt (“{years} years old”) if the pictures come out younger "
        "or older.",
    )


def judge_together(faces: Sequence[Face], names: Sequence[str] = ()) -> list[Advice]:
    """Name the references of one person that do not look like the others.

    Args:
        faces: one per photo, found by the same face models.
        names: what messages call the photos; left out: "photo 1", "photo 2"…
    """
    names = list(names) or [f"photo {i}" for i in range(1, len(faces) + 1)]
    alike = [[likeness(face, other) >= SAME_PERSON for other in faces] for face in faces]
    crowd = max(alike, key=sum, default=[])  # the photo that most others look like, and those others
    if all(crowd):
        return []
    if 2 * sum(crowd) <= len(faces):
        return [
            Advice(
                "odd one out",
                f"{_listed(names)} do not look like one person. Mixed faces give a face that is nobody's: keep "
                "those of one.",
            )
        ]
    members = [face for face, belongs in zip(faces, crowd) if belongs]
    return [
        Advice(
            "odd one out",
            f"{name[:1].upper() + name[1:]} does not look like the others (likeness {best:.2f} at best). Is it the "
            "same person? If so, one in better light, from the front, helps; if not, leave it out.",
        )
        for name, face, belongs in zip(names, faces, crowd)
        if not belongs and (best := max(likeness(face, member) for member in members)) < SAME_PERSON
    ]


def _problems(photo: Image.Image, face: Face) -> Iterator[Advice]:
    height = round(float(face.box[3] - face.box[1]))
    turn, aligned = measure_turn(face.keypoints), align(photo, face.keypoints)
    blur, (bright, burnt) = measure_blur(aligned), measure_light(aligned)
    is_cut = measure_cut(face, photo.width, photo.height) > MOST_CUT
    if is_cut:
        yield Advice("cut off", "The face is cut by the photo's edge. One with the whole head in it helps.")
    if height < SMALLEST:
        yield Advice(
            "small",
            f"The face is small: {height} pixels from chin to brow, and below {SMALLEST} its details are lost. A "
            "larger photo, or one taken from nearer, helps.",
        )
    elif blur > MOST_BLURRED:  # a small face is blurred in any case
        yield Advice(
            "blurred",
            "The face is blurred. A sharper photo helps: more light, a still hand, focus on the eyes.",
        )
    if abs(turn.right) > MOST_TURNED:
        side = "right" if turn.right > 0 else "left"
        yield Advice(
            "turned",
            f"The face is turned to the {side}, by about {_tens(turn.right)}°. A photo from the front says "
            "more; both together say most.",
        )
    elif abs(turn.up) > MOST_RAISED:
        way = "up" if turn.up > 0 else "down"
        yield Advice(
            "turned",
            f"The face looks {way}, by about {_tens(turn.up)}°. A photo taken at eye level says more.",
        )
    if abs(turn.tilt) > MOST_TILTED:
        yield Advice(
            "tilted",
            f"The head is tilted by about {_tens(turn.tilt)}°, and so will the new one be without a pose photo. Turn "
            "the photo upright, or give a pose photo.",
        )
    if bright < DARKEST:
        yield Advice("dark", "The face is very dark. Light from the front, such as a window, helps.")
    elif burnt > MOST_BURNT:
        yield Advice(
            "burnt out", "Much of the face is burnt out to white. Softer light, or a shorter exposure, helps."
        )
    elif not is_cut and abs(turn.right) <= MOST_TURNED and (zones := find_covered(aligned)):
        yield Advice("covered", _covered_by(zones))


def _covered_by(zones: Sequence[str]) -> str:
    if {"left eye", "right eye"} <= set(zones):
        what = "The eyes seem covered: dark glasses, perhaps, or hair"
    elif "left eye" in zones or "right eye" in zones:
        what = "An eye seems covered: by hair, a hand or dark glasses, perhaps"
    elif "mouth" in zones:
        what = "The mouth seems covered: by a mask, a hand or a thick beard, perhaps"
    else:
        what = "A part of the face seems covered, or lit in another colour"
    return f"{what}. What is hidden has to be made up: a photo with all of the face helps."


def _tens(degrees: float) -> int:
    return 10 * round(abs(degrees) / 10)


def _listed(names: Sequence[str]) -> str:
    joined = ", ".join(names[:-1]) + f" and {names[-1]}"
    return joined[:1].upper() + joined[1:]
