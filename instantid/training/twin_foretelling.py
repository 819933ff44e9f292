"""How twins may be foretold to differ, as latents, from what their captions say of hair, place and the like.

Two twins differ by chance, too: by folds of cloth, lights behind, where locks fall. A small UNet that learns from
single pairs hears little else. A regression over all of them tells within seconds what each word does to pictures.
"""

from collections.abc import Sequence

import numpy as np
import torch

from .face_regression import ridge
from .prepared import Prepared
from .things import Things

PRIOR = 5.0  # of things, which are there or not


class TwinForetelling:
    """Foretells by how much two pictures of a scene differ.

    Args:
        twins: (n, 2) pictures of `prepared` to learn from.
    """

    def __init__(self, prepared: Prepared, twins: np.ndarray):
        self._things = Things(prepared.records, twins.ravel())
        shown = np.stack([self._things.shown(i) for i in twins.ravel()]).reshape(*twins.shape, -1)
        self._usual = shown.mean(axis=(0, 1))
        one, other = (prepared.latents(some).astype(np.float32) for some in twins.T)
        self._shape = one.shape[1:]
        known, apart = shown[:, 0] - shown[:, 1], (one - other).reshape(len(twins), -1)
        self._weights = ridge(known, apart, PRIOR)

    def apart(self, twins: np.ndarray, captions: Sequence[tuple[str, str]]) -> torch.Tensor:
        """(n, c, h, w): how the first of (n, 2) twins differs from the second, as far as captions tell."""
        told = [
            self._told(one, says_one) - self._told(other, says_other)
            for (one, other), (says_one, says_other) in zip(twins, captions, strict=True)
        ]
        return torch.from_numpy(np.stack(told) @ self._weights).reshape(-1, *self._shape)

    def _told(self, index: int, caption: str) -> np.ndarray:
        """What is shown, with as much of everything as there is usually where a caption says nothing of it."""
        return np.where(self._things.told(index, caption), self._things.shown(index), self._usual)
