"""What may be foretold of a picture from the embedding of one that it is to be like, as latents."""

from collections.abc import Callable

import numpy as np
import torch

from .face_regression import regress
from .prepared import Prepared, some_of

LEARNED = 12000  # pictures, at most, that tell it


class LookForetelling:
    """Foretells pictures in latents, by ridge regression on what the image encoder says of a picture.

    Args:
        chosen: which pictures of `prepared`, whose embeddings are there, to learn from.
        alike: a picture → another one in its look, drawn by torch's generator.
    """

    def __init__(self, prepared: Prepared, chosen: np.ndarray, alike: Callable[[int], int]):
        some = some_of(chosen, LEARNED)
        read = prepared.picture_embeddings[some]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            others = np.array([alike(i) for i in some])
        self._shape = prepared.latents(some[:1]).shape[1:]
        self._regressions = {
            own: regress(read, prepared.latents(which).reshape(len(which), -1).astype(np.float32))
            for own, which in ((False, others), (True, some))
        }

    def latents(self, embeddings: torch.Tensor, *, own: bool) -> torch.Tensor:
        """(b, w) embeddings of pictures → (b, c, h, w) of these very pictures, or of others in their looks."""
        told = self._regressions[own].draw(embeddings.cpu().numpy())
        return torch.from_numpy(told).reshape(-1, *self._shape).to(embeddings)
