"""What may be foretold of a picture from its caption and where its face is, as latents.

As `foretelling` does for faces: a small base that learns from pictures alone hardly listens to words, for in each
picture most is by chance. Of all pictures together a regression on words tells within a minute what a word does to
them: dark where the hair is, green behind, flat colours everywhere.
"""

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch

from .prepared import Prepared

LEAST_OFTEN = 0.005  # of all pictures have captions that say a word, or two in a row, before it counts
PRIOR = 30.0  # of words, which are 0 or 1
AT_ONCE = 2000  # pictures read together


class CaptionForetelling:
    """Foretells pictures in latents.

    Args:
        chosen: which pictures of `prepared` to learn from, with all of their captions.
    """

    def __init__(self, prepared: Prepared, chosen: np.ndarray):
        self._prepared = prepared
        captions = [_captions(prepared.records[i]) for i in chosen]
        often = Counter(
            word for told in captions for word in {word for text in told for word in _words(text)}
        )
        usual = [word for word, times in often.items() if times >= LEAST_OFTEN * len(chosen)]
        self._at = {word: at for at, word in enumerate(usual)}
        places = _places(prepared, chosen[prepared.found[chosen]])
        self._usual, self._spread = places.mean(axis=0), places.std(axis=0) + 1e-6
        self._shape = prepared.latents(chosen[:1]).shape[1:]
        width, outputs = len(self._at) + 4, int(np.prod(self._shape))
        within, across = np.zeros((width, width), np.float32), np.zeros((width, outputs), np.float32)
        for start in range(0, len(chosen), AT_ONCE):
            now = chosen[start : start + AT_ONCE]
            latents = prepared.latents(now).reshape(len(now), -1).astype(np.float32)
            told, place = captions[start : start + AT_ONCE], self._placed(now)
            for nth in range(max(map(len, told))):  # those with fewer captions say one again
                known = self._features([each[nth % len(each)] for each in told], place)
                within += known.T @ known
                across += known.T @ latents
        within[np.diag_indices(width)] += PRIOR
        self._weights = np.linalg.solve(within, across)

    def latents(self, captions: Sequence[str], chosen: np.ndarray | None = None) -> torch.Tensor:
        """(b, c, h, w): what is foretold of pictures with these captions.

        Args:
            chosen: (b,) pictures whose faces say where; None: faces are where most are.
        """
        place = np.zeros((len(captions), 3), np.float32) if chosen is None else self._placed(chosen)
        told = self._features(captions, place) @ self._weights
        return torch.from_numpy(told).reshape(-1, *self._shape)

    def _placed(self, chosen: np.ndarray) -> np.ndarray:
        """(n, 3) around zero: where faces are and how large; where none was found, as in most pictures."""
        found = self._prepared.found[chosen]
        placed = np.zeros((len(chosen), 3), np.float32)
        placed[found] = (_places(self._prepared, chosen[found]) - self._usual) / self._spread
        return placed

    def _features(self, captions: Sequence[str], place: np.ndarray) -> np.ndarray:
        """(n, f): which words are there, 1, and the place."""
        said = np.zeros((len(captions), len(self._at)), np.float32)
        for row, text in enumerate(captions):
            said[row, [self._at[word] for word in _words(text) if word in self._at]] = 1
        return np.concatenate([said, np.ones_like(place[:, :1]), place], axis=1)


def _captions(record: dict) -> list[str]:
    return [text for text in record.get("captions", {}).values() if text] or [record["caption"]]


def _words(text: str) -> list[str]:
    """Its words, and each two in a row."""
    words = text.lower().replace(",", " ,").split()
    return [*words, *(f"{one} {other}" for one, other in pairwise(words))]


def _places(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """(n, 3): the middle of each face, and the logarithm of its width, in pixels."""
    boxes = prepared.boxes[chosen]
    middle, width = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2] - boxes[:, 0]
    return np.concatenate([middle, 20 * np.log(np.maximum(width, 1))[:, None]], axis=1).astype(np.float32)
