"""Do rendered faces carry identity, are they found, and are the keypoints where detectors see them?

Pictures and their truth in, a `Report` out. Similarities are told against other rendered people only: rendered faces
share a direction in every encoder trained on photos, so that thresholds for photos mean nothing here.
"""

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from ...faces.finder import FaceFinder
from ...people import Face
from .judges import Judge
from .separation import Separation, separate

FRONTAL_YAW, FRONTAL_PITCH = 30, 20  # degrees; a face turned less is near-frontal
SMALL = 10  # pixels between the eyes, or from them to the mouth: an encoder that enlarges less sees a smudge
NEAR = 0.5  # of the eyes' true distance: a face found further off than that is not this face


@dataclass(frozen=True, kw_only=True)
class View:
    """One picture of one person, as the report wants it."""

    person: int
    group: str
    """What impostors share: `identities.group_of`."""
    image: np.ndarray
    """RGB uint8 (h, w, 3)."""
    keypoints: np.ndarray
    """(5, 2), true, pixels."""
    head_angles: tuple[float, float, float]
    """(yaw, pitch, roll), degrees."""

    @property
    def frontal(self) -> bool:
        """Whether the face looks roughly into the camera."""
        return abs(self.head_angles[0]) <= FRONTAL_YAW and abs(self.head_angles[1]) <= FRONTAL_PITCH


@dataclass(frozen=True, kw_only=True)
class Detection:
    """How the face finder does: shares found, and its keypoints' distance from the true ones.

    Distances are means of five points as shares of the eyes' true distance, over near-frontal faces found.
    """

    frontal: int
    frontal_found: float
    turned: int
    turned_found: float | None
    """None when no face is turned further."""
    middle_error: float
    high_error: float
    """95th percentile."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """What `report` measured; `as_text` for people, `to_json` for the data card."""

    detection: Detection
    small: int
    """Faces found that are smaller than `SMALL`: too small to recognise anybody, so they are not compared."""
    separations: tuple[Separation, ...]

    def to_json(self) -> dict[str, object]:
        """Give plain dicts, lists and numbers."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Write tables in Markdown."""
        found = self.detection
        first = self.separations[0]
        turned = (
            "" if found.turned_found is None else f", {found.turned_found:.1%} of {found.turned} turned ones"
        )
        lines = [
            f"{first.people} people, {first.pictures} pictures with a face found and compared; {self.small} more "
            f"faces, with less than {SMALL} pixels from eye to eye or to the mouth, were found but not compared. "
            f"Found: {found.frontal_found:.1%} of {found.frontal} near-frontal faces{turned}. "
            f"Keypoints differ from the true ones by {found.middle_error:.1%} of the eyes' distance "
            f"(95th percentile {found.high_error:.1%}).",
            "",
            "| encoder | same person | different | same sex and ancestry | AUC | AUC, same sex and ancestry |",
            "|---|---|---|---|---|---|",
        ]
        lines += [
            f"| {s.encoder} | {s.same} | {s.different} | {s.impostors} | {s.auc} | {s.auc_impostors} |"
            for s in self.separations
        ]
        lines += ["", "Cosines: mean (5th–95th percentile). AUC: value (95 % interval, people resampled)."]
        return "\n".join(lines)


def report(views: Iterable[View], finder: FaceFinder, judges: Sequence[Judge]) -> Report:
    """Look at every picture once and measure.

    Raises:
        ValueError: too few people or pictures to compare, or no near-frontal face was found.
    """
    people, groups, found, errors, small = [], [], [], [], 0
    embeddings: list[list[np.ndarray]] = [[] for _ in judges]
    for view in views:
        face = find(finder, view)
        found.append((view.frontal, face is not None))
        if face is None:
            continue
        if view.frontal:
            errors.append(np.linalg.norm(face.keypoints - view.keypoints, axis=1).mean() / _eyes(view))
        if _size(view) < SMALL:
            small += 1
            continue
        people.append(view.person)
        groups.append(view.group)
        for judge, theirs in zip(judges, embeddings):
            theirs.append(judge.embed(view.image, face))
    if not errors:
        raise ValueError("No near-frontal face was found, so there is nothing to measure.")
    frontal = [seen for is_frontal, seen in found if is_frontal]
    turned = [seen for is_frontal, seen in found if not is_frontal]
    detection = Detection(
        frontal=len(frontal),
        frontal_found=float(np.mean(frontal)),
        turned=len(turned),
        turned_found=float(np.mean(turned)) if turned else None,
        middle_error=float(np.median(errors)),
        high_error=float(np.percentile(errors, 95)),
    )
    separations = (
        separate(judge.name, np.stack(theirs), people, groups) for judge, theirs in zip(judges, embeddings)
    )
    return Report(detection=detection, small=small, separations=tuple(separations))


def find(finder: FaceFinder, view: View) -> Face | None:
    """Find the face that lies where the truth says; None when the finder sees none there."""
    faces = finder.find(Image.fromarray(view.image))
    middle = view.keypoints.mean(axis=0)
    off = [np.linalg.norm(face.keypoints.mean(axis=0) - middle) for face in faces]
    return faces[int(np.argmin(off))] if off and min(off) <= NEAR * _size(view) else None


def _eyes(view: View) -> float:
    return float(np.linalg.norm(view.keypoints[1] - view.keypoints[0]))


def _size(view: View) -> float:
    """Seen from the side the eyes are close together; the mouth's distance does not shrink."""
    mouth = float(np.linalg.norm(view.keypoints[:2].mean(0) - view.keypoints[3:].mean(0)))
    return max(_eyes(view), mouth)
