"""What is seen on the pictures: faces, embeddings, features, attributes, maps. Each picture is opened once."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np
from PIL import Image

from .. import bundles, images
from ..controls import Annotators
from ..engine import Engine
from ..faces import FaceFinder, load_finder
from ..people import Face
from ..request import Control, ControlName
from ..training.people.judges import Dlib, Judge, dlib_is_here
from . import maps, pose
from .attribute_judge import AttributeJudge
from .clip import Clip
from .likeness import People
from .pictures import Made
from .protocols import DEFAULT, NO_NET, POSE_ALONE, control_name, controls_of
from .sets import Subject

THUMB = 128  # pixels
SFACE = "SFace"


class OwnEncoder:
    """The encoder whose embeddings the generator was given: it flatters."""

    def __init__(self, finder: FaceFinder):
        self.name = f"{_short(finder)} (the generator’s own)"

    def embed(self, image: np.ndarray, face: Face) -> np.ndarray:
        """The embedding that came with the face."""
        return face.embedding


class SecondEncoder:
    """Another face model, which finds the face again for itself; NaN where it does not."""

    def __init__(self, finder: FaceFinder):
        self._finder = finder
        self.name = f"{_short(finder)} (independent)"

    def embed(self, image: np.ndarray, face: Face) -> np.ndarray:
        """(d,) of the face that lies nearest."""
        near = nearest(self._finder.find(Image.fromarray(image)), face.keypoints)
        return np.full(self._finder.dimension, np.nan) if near is None else near.embedding


class IndependentDlib(Dlib):
    """dlib's network, which saw none of our pictures."""

    name = "dlib (independent)"


@dataclass(frozen=True, eq=False)
class Observed:
    """What was seen of n pictures, in their order. Arrays have n rows, NaN where nothing was found.

    Args:
        embeddings: (n, d) by judge.
        keypoint_error: (n,) parts of the face's box; turn_error: (n, 3) degrees of yaw, pitch, roll.
        clip, words: (n, d) of pictures and their prompts; None without a CLIP.
        verdicts: by attribute; None without a judge.
        map_error: by control, (n,).
        thumbs: (128, 128, 3) uint8.
    """

    made: Sequence[Made]
    found: np.ndarray
    embeddings: dict[str, np.ndarray]
    keypoint_error: np.ndarray
    turn_error: np.ndarray
    clip: np.ndarray | None
    words: np.ndarray | None
    verdicts: list[dict[str, str]] | None
    map_error: dict[str, np.ndarray]
    thumbs: list[np.ndarray] = field(repr=False)

    def of(self, condition: str) -> np.ndarray:
        """Numbers of a condition's pictures."""
        return np.flatnonzero([each.trial.condition == condition for each in self.made])

    def subjects(self, rows: np.ndarray) -> np.ndarray:
        """Whom those pictures are to be like."""
        return np.array([self.made[row].trial.subject for row in rows], np.int64)


def judges_for(finder: FaceFinder) -> list[Judge]:
    """The generator's own encoder, and independent ones as far as they are installed."""
    told: list[Judge] = [OwnEncoder(finder)]
    folder = bundles.face_files_folder()
    if _short(finder) != SFACE and folder.is_dir():
        told.append(SecondEncoder(load_finder("opencv", folder)))
    return [*told, IndependentDlib()] if dlib_is_here() else told


def observe(
    made: Sequence[Made],
    engine: Engine,
    annotators: Annotators,
    judges: Sequence[Judge],
    clip: Clip | None,
    attributes: AttributeJudge | None,
    widths: Sequence[int],
    on_picture: Callable[[int, int], None] = lambda done, total: None,
) -> Observed:
    """Look at every picture.

    Args:
        widths: of the judges' embeddings.
    """
    seen = [_look(each, engine.face_finder, judges, i, len(made), on_picture) for i, each in enumerate(made)]
    names, pixel = controls_of(engine.bundle), engine.bundle.defaults.map_pixel
    return Observed(
        made=made,
        found=np.array([face is not None for face, *_ in seen]),
        embeddings={
            judge.name: _rows([each[1][j] for each in seen], width)
            for j, (judge, width) in enumerate(zip(judges, widths, strict=True))
        },
        keypoint_error=np.array([each[2] for each in seen]),
        turn_error=np.array([each[3] for each in seen]).reshape(-1, 3),
        clip=clip and _in_turn(made, clip.embed_pictures),
        words=clip and clip.embed_words([each.trial.prompt for each in made]),
        verdicts=attributes and attributes.judge([Image.fromarray(thumb) for *_, thumb in seen]),
        map_error={name: _map_errors(name, made, annotators, pixel) for name in names},
        thumbs=[thumb for *_, thumb in seen],
    )


def embed_photos(subjects: Sequence[Subject], judge: Judge) -> np.ndarray:
    """(m, d) of all true photos, in the order of subjects."""
    pairs = ((who.picture(i), face) for who in subjects for i, face in enumerate(who.faces))
    return np.stack([judge.embed(np.asarray(photo), face) for photo, face in pairs])


def people_of(subjects: Sequence[Subject], photos: np.ndarray, *, held_out: bool = False) -> People:
    """The set's true photos, as a judge sees them.

    Args:
        photos: as `embed_photos` gives them.
        held_out: the reference is each person's last photo, which is never given where there are others.
    """
    ends = np.cumsum([len(who.photos) for who in subjects])
    first = ends - 1 if held_out else ends - [len(who.photos) for who in subjects]
    whose = np.repeat(np.arange(len(subjects)), [len(who.photos) for who in subjects])
    groups = [who.group for who in subjects]
    return People(
        references=photos[first],
        groups=None if None in groups else groups,
        others=np.delete(photos, first, axis=0),
        whose=np.delete(whose, first),
    )


def nearest(found: Sequence[Face], keypoints: np.ndarray) -> Face | None:
    """The face whose middle is nearest to that of the keypoints; None of none."""
    middle = keypoints.mean(axis=0)
    return min(
        found, key=lambda face: float(np.linalg.norm(face.keypoints.mean(axis=0) - middle)), default=None
    )


def _short(finder: FaceFinder) -> str:
    """Like “SFace”, or “glintr100”."""
    model = finder.model.split(",")[0]
    return SFACE if "sface" in model else model


def _look(
    made: Made,
    finder: FaceFinder,
    judges: Sequence[Judge],
    i: int,
    total: int,
    on_picture: Callable[[int, int], None],
) -> tuple:
    image = images.open_image(made.file)
    pixels = np.asarray(image)
    wanted = made.trial.keypoints
    face = nearest(finder.find(image), wanted)
    on_picture(i + 1, total)
    thumb = cv2.resize(pixels, (THUMB, THUMB), interpolation=cv2.INTER_AREA)
    if face is None:
        return None, [None] * len(judges), math.nan, (math.nan,) * 3, thumb
    embeddings = [judge.embed(pixels, face) for judge in judges]
    errors = pose.keypoint_error(face.keypoints, wanted), pose.turn_error(face.keypoints, wanted)
    return face, embeddings, *errors, thumb


def _rows(embeddings: list[np.ndarray | None], width: int) -> np.ndarray:
    """(n, width); NaN for None."""
    return np.stack([np.full(width, np.nan) if each is None else each for each in embeddings])


def _in_turn(made: Sequence[Made], embed: Callable[[list[Image.Image]], np.ndarray]) -> np.ndarray:
    """Some at a time: all pictures of a large run do not fit into memory."""
    parts = [
        embed([images.open_image(each.file) for each in made[i : i + 32]]) for i in range(0, len(made), 32)
    ]
    return np.concatenate(parts)


def _map_errors(name: ControlName, made: Sequence[Made], annotators: Annotators, pixel: int) -> np.ndarray:
    """Of pictures with that control and of those without any, against the map that was given; of poses also
    without IdentityNet. Both are read in pixels of that side."""
    measure = maps.depth_error if name == "depth" else maps.line_error
    given = {
        each.trial.subject: images.open_image(each.trial.request.controls[name].map.image)
        for each in made
        if each.trial.condition == control_name(name)
    }
    looked_at = {DEFAULT, control_name(name)} | ({NO_NET, POSE_ALONE} if name == "pose" else set())
    told = np.full(len(made), math.nan)
    for i, each in enumerate(made):
        condition, subject = each.trial.condition, each.trial.subject
        if condition in looked_at and subject in given:
            picture = images.open_image(each.file)
            wanted = images.fit(given[subject].size, picture.size).image(given[subject])
            found = images.in_blocks(picture, pixel, lambda seen: annotators.draw(name, seen, Control()))
            told[i] = measure(np.asarray(found), np.asarray(wanted))
    return told
