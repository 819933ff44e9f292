"""How faces look, straight from their embeddings: ridge regression from what SFace or the like says to aligned faces.

The relation is nearly linear. Known in closed form, within seconds, it draws the faces of people whom it has not met
so that they are told apart almost like photos: `benchmarks/embedding_faces.py` has the figures.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image

from .. import face_measures
from .people.looks import PHOTO
from .prepared import Prepared

SIDE = 56  # of aligned faces, pixels: half of what recognition models see
PRIOR = 3.0  # of embeddings with length one


@dataclass(frozen=True, eq=False)
class Regression:
    """Faces as a linear function of embeddings.

    Args:
        middle: (d,) mean of embeddings that were brought to length one.
        mean: (SIDE * SIDE * 3,) the mean face, RGB, -1 to 1.
        weights: (d, SIDE * SIDE * 3).
    """

    middle: np.ndarray
    mean: np.ndarray
    weights: np.ndarray

    def draw(self, embeddings: np.ndarray) -> np.ndarray:
        """(n, d) raw → (n, SIDE * SIDE * 3)."""
        return self.mean + (unit(embeddings) - self.middle) @ self.weights


def regress(embeddings: np.ndarray, faces: np.ndarray) -> Regression:
    """Fit (n, d) raw embeddings to (n, SIDE * SIDE * 3) faces; better those of other photos than of the same."""
    directions = unit(embeddings)
    middle, mean = directions.mean(axis=0), faces.mean(axis=0)
    known = directions - middle
    return Regression(middle, mean, ridge(known, faces - mean))


def ridge(known: np.ndarray, wanted: np.ndarray, prior: float = PRIOR) -> np.ndarray:
    """(f, p) weights from (n, f) to (n, p), both around zero."""
    within = known.T @ known + prior * np.eye(known.shape[1], dtype=known.dtype)
    return np.linalg.solve(within, known.T @ wanted)


def photos(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """Those of the chosen pictures that are photos in which a face was found."""
    looks = [prepared.records[i].get("look", PHOTO) for i in chosen]
    return chosen[prepared.found[chosen] & (np.array(looks) == PHOTO)]


def other_views(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """(n, d) embeddings, each of the next one of the chosen pictures that shows the same person."""
    by_person: dict[int, list[int]] = {}
    for i in chosen:
        by_person.setdefault(int(prepared.persons[i]), []).append(int(i))
    following = {i: same[(at + 1) % len(same)] for same in by_person.values() for at, i in enumerate(same)}
    return prepared.embeddings[[following[int(i)] for i in chosen]]


def aligned_faces(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """(n, SIDE * SIDE * 3) float32, RGB, -1 to 1."""
    faces = np.empty((len(chosen), SIDE * SIDE * 3), np.float32)
    for row, i in enumerate(chosen):
        [picture] = prepared.images([i])
        aligned = face_measures.align(Image.fromarray(picture), prepared.keypoints[i])
        faces[row] = cv2.resize(aligned, (SIDE, SIDE), interpolation=cv2.INTER_AREA).ravel() / 127.5 - 1
    return faces


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows brought to length one."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
