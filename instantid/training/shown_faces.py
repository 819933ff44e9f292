"""Which face a picture is learned with: its own embedding, or that of other views of the same person."""

from collections.abc import Iterable

import numpy as np
import torch

from .prepared import Prepared


class ShownFaces:
    """Draws the embeddings that stand for people.

    Args:
        other_view: how often it is that of other views of the person: none of this picture's light or hair.
        references: at most so many others, averaged.
    """

    def __init__(self, prepared: Prepared, other_view: float, references: int):
        self._prepared, self._other_view, self._references = prepared, other_view, references

    def embeddings(self, chosen: Iterable[int]) -> torch.Tensor:
        """(b, d), raw: of each picture, or the mean over a few others of the same person."""
        return torch.stack([self._embedding(i) for i in chosen])

    def others(self, index: int) -> np.ndarray:
        """Other views of a picture's person: looks of the same photo have its embedding, and are none."""
        same, embeddings = self._prepared.of_person(self._prepared.persons[index]), self._prepared.embeddings
        return same[(embeddings[same] != embeddings[index]).any(axis=1)]

    def photo_of(self, index: int) -> int:
        """The photo whose scene this picture shows in another look: it comes first of its scene's pictures. The
        picture itself, if no face was found in that."""
        scene, first = self._prepared.records[index].get("scene"), index
        while first > 0 and self._prepared.records[first - 1].get("scene", first) == scene:
            first -= 1
        return first if self._prepared.found[first] else index

    def _embedding(self, index: int) -> torch.Tensor:
        others, embeddings = self.others(index), self._prepared.embeddings
        if not len(others) or float(torch.rand(())) >= self._other_view:
            return torch.from_numpy(embeddings[index])
        count = int(torch.randint(min(len(others), self._references), ())) + 1
        drawn = others[torch.randperm(len(others))[:count].numpy()]
        return torch.from_numpy(embeddings[drawn].mean(axis=0))
