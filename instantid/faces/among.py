"""Faces among themselves: the mean of several, and how alike two are."""

from collections.abc import Sequence

import numpy as np

from ..errors import InvalidRequest
from ..people import Face


def average(faces: Sequence[Face]) -> Face:
    """Return the mean of the raw embeddings (InstantID#27), with keypoints and box of the first face.

    Raises:
        InvalidRequest: no faces, or of different recognition models.
    """
    dimensions = {len(face.embedding) for face in faces}
    if len(dimensions) != 1:
        raise InvalidRequest(
            f"Faces to average need embeddings of one length, got {sorted(dimensions) or 'no faces'}. "
            "Find all of them with the same face models."
        )
    embedding = np.mean([face.embedding for face in faces], axis=0, dtype=np.float64)
    return Face(embedding, faces[0].keypoints, faces[0].box)


def likeness(a: Face, b: Face) -> float:
    """Return the cosine of two embeddings, in [-1, 1]; 0 where one is all zeros, which is nobody.

    Raises:
        InvalidRequest: they are of different recognition models.
    """
    if len(a.embedding) != len(b.embedding):
        raise InvalidRequest(
            f"Embeddings of {len(a.embedding)} and {len(b.embedding)} numbers cannot be compared. "
            "Find both faces with the same face models."
        )
    first, second = a.embedding.astype(np.float64), b.embedding.astype(np.float64)
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.clip(first @ second / norms, -1, 1)) if norms else 0.0
