"""Of whom pictures are made: a folder of photos, people rendered on the spot, or photos that come in packages."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..batch import find_subjects
from ..errors import InvalidRequest, NoFaceFound
from ..faces import FaceFinder, find_face
from ..images import open_image
from ..people import Face, Photo
from ..training.people.identities import group_of, sample_identity
from ..training.people.looks import apply_look
from ..training.people.making import OpenRenderer, open_renderer
from ..training.people.orders import NAME, present_shards, read_order
from ..training.people.scenes import sample_picture
from ..training.people.shards import photos_only, read_shards
from ..training.people.words import age, noun

MOST_REFERENCES = 4
VIEWS = ("portrait", "close-up", "portrait", "close-up", "close-up", "portrait")
"""How a rendered person's photos are framed; the last one poses."""
SIZES = (128, 512)  # pixels: rendered photos are as large as the bundle's pictures, between these
APART = 1_000_003  # added to the seed: nobody that training has met (`data make` counts up from 0)
FACTS = "facts.json"
PACKAGED = (  # package, file in it, how many people
    ("skimage", "data/astronaut.png", 1),
    ("matplotlib", "mpl-data/sample_data/grace_hopper.jpg", 1),
    ("insightface", "data/images/t1.jpg", 6),
)
OnPeople = Callable[[int, int], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Subject:
    """One person, with the photos in which the bundle's face model finds them: one at least.

    Args:
        photos, faces: in the same order; the last poses, the first are references.
        sizes: (width, height) of each photo.
        group: what impostors share: sex and ancestry of rendered people; None: unknown.
        sex, age: in the words of captions, None where unknown or in between.
    """

    name: str
    photos: tuple[Photo, ...]
    faces: tuple[Face, ...]
    sizes: tuple[tuple[int, int], ...]
    group: str | None = None
    sex: str | None = None
    age: str | None = None

    @property
    def references(self) -> tuple[Photo, ...]:
        """Up to four; never the one that poses, unless there is no other."""
        return self.photos[: max(1, min(MOST_REFERENCES, len(self.photos) - 1))]

    def picture(self, i: int) -> Image.Image:
        """Photo `i`, RGB."""
        return open_image(self.photos[i].image)


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """A set: its name for the report, who is in it, and what was left out and why."""

    name: str
    subjects: tuple[Subject, ...]
    notes: tuple[str, ...]


def open_set(
    source: str,
    folder: Path,
    finder: FaceFinder,
    *,
    people: int,
    seed: int,
    side: int,
    open_renderer: OpenRenderer = open_renderer,
    on_people: OnPeople = lambda done, total: None,
) -> People:
    """Open a set.

    Args:
        source: “synthetic”, “packages”, a folder of photos (one person per file or sub-folder), or a folder of
            rendered people as `data make` leaves it.
        folder: where rendered photos are kept, so that the next run has the same.
        people: at most so many.
        side: of the bundle's pictures, pixels.

    Raises:
        InvalidRequest: there is no such set, or nobody in it whose face is found.
    """
    if source == "synthetic":
        name = f"{people} rendered people, seed {seed}"
        found = _rendered(folder, people, seed, side, open_renderer, on_people)
    elif source == "packages":
        name, found = "photos in packages", _packaged()
    elif (Path(source) / NAME).exists():
        name, found = f"rendered people of {source}", _of_shards(Path(source), folder, people)
    else:
        name = f"photos of {Path(source).name}"
        found = ((each.name, each.references, {}) for each in find_subjects(Path(source)))
    subjects, notes = [], []
    for who, photos, facts in found:
        if len(subjects) == people:
            break
        subject, missed = _seen(who, photos, facts, finder)
        notes += missed
        if subject:
            subjects.append(subject)
    if not subjects:
        raise InvalidRequest(
            f"In the set {source} there is nobody whose face is found. {' '.join(notes[:3])}"
        )
    return People(name=name, subjects=tuple(subjects), notes=tuple(notes))


def style_picture(subject: Subject, look: str, folder: Path) -> Path:
    """The subject's last photo in a preset's look, as a style reference. Written once."""
    file = folder / f"{subject.name}-{look.lower().replace(' ', '-')}.png"
    if not file.exists():
        folder.mkdir(parents=True, exist_ok=True)
        plain = np.asarray(subject.picture(-1))
        painted = apply_look(plain, np.zeros(plain.shape[:2], np.uint8), look, seed=0)
        part = file.with_suffix(".part")
        Image.fromarray(painted).save(part, format="PNG")
        part.replace(file)
    return file


_Found = tuple[str, tuple[Photo, ...], dict[str, str]]


def _seen(
    who: str, photos: tuple[Photo, ...], facts: dict, finder: FaceFinder
) -> tuple[Subject | None, list[str]]:
    kept, faces, sizes, notes = [], [], [], []
    for i, photo in enumerate(photos, start=1):
        image = open_image(photo.image)
        try:
            faces.append(find_face(finder, image, number=photo.face, name=f"photo {i} of {who}"))
        except (NoFaceFound, InvalidRequest):
            notes.append(f"No face was found in photo {i} of {who}: it was left out.")
        else:
            kept.append(photo)
            sizes.append(image.size)
    if not kept:
        return None, notes
    return Subject(name=who, photos=tuple(kept), faces=tuple(faces), sizes=tuple(sizes), **facts), notes


def _rendered(
    folder: Path, people: int, seed: int, side: int, open_renderer: OpenRenderer, on_people: OnPeople
) -> Iterator[_Found]:
    size = int(np.clip(side, *SIZES))
    render = None
    for number in range(people):
        place = folder / f"{number:03d}-{seed}-{size}"
        if not (place / FACTS).exists():
            render = render or open_renderer("cpu", None)
            who = sample_identity(number, seed=seed + APART)
            pictures = [
                sample_picture([who], seed=seed * 1000 + i, framing=framing, width=size, height=size)
                for i, framing in enumerate(VIEWS)
            ]
            said = noun(who)
            facts = {
                "group": group_of(who),
                "sex": None if said == "person" else said,
                "age": _age(who.age, age(who)),
            }
            _keep(place, [each.image for each in render(pictures)], facts)
        on_people(number + 1, people)
        yield _kept(f"{number:03d}", place)


def _of_shards(source: Path, folder: Path, people: int) -> Iterator[_Found]:
    """Rendered people with at least two photos of them alone, of a data set."""
    images: dict[int, list[np.ndarray]] = {}
    facts: dict[int, dict] = {}

    def wanted(record: dict) -> bool:
        alone = len(record["figures"]) == 1 and all(record["figures"][0]["face_visible"])
        return alone and photos_only(record)

    for sample in read_shards(list(present_shards(source, read_order(source))), wanted):
        number, told = sample.record["person"], sample.record["figures"][0]["attributes"]
        if number not in images and len(images) > people and all(len(each) > 1 for each in images.values()):
            break
        images.setdefault(number, []).append(sample.image)
        sex = None if told["noun"] == "person" else told["noun"]
        facts[number] = {"group": told["group"], "sex": sex, "age": _age(told["age"])}
    for number, pictures in images.items():
        if len(pictures) > 1:
            place = folder / f"{source.name}-{number:05d}"
            if not (place / FACTS).exists():
                _keep(place, pictures, facts[number])
            yield _kept(f"{number:05d}", place)


def _packaged() -> Iterator[_Found]:
    for package, path, count in PACKAGED:
        spec = find_spec(package)
        file = Path(spec.submodule_search_locations[0]) / path if spec else None
        if file and file.exists():
            for number in range(1, count + 1):
                name = file.stem if count == 1 else f"{file.stem}-{number}"
                yield name, (Photo(image=file, face=number),), {}


def _keep(place: Path, pictures: list[np.ndarray], facts: dict) -> None:
    """The facts come last: with them the person is whole."""
    place.mkdir(parents=True, exist_ok=True)
    for i, picture in enumerate(pictures):
        cv2.imwrite(str(place / f"{i}.png"), picture[:, :, ::-1])
    (place / FACTS).write_text(json.dumps({"photos": len(pictures), **facts}), encoding="utf-8")


def _kept(who: str, place: Path) -> _Found:
    facts = json.loads((place / FACTS).read_text(encoding="utf-8"))
    photos = tuple(Photo(image=place / f"{i}.png") for i in range(facts.pop("photos")))
    return who, photos, facts


def _age(years: float, said: str | None = "") -> str | None:
    """As captions say it; from 30 to 45 nothing is said."""
    if said != "":
        return said
    return "young" if years < 30 else None if years < 45 else "middle-aged" if years < 62 else "old"
