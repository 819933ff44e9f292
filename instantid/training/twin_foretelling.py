"""How twins may be foretold to differ, as latents, from what their captions say of hair, place and the like.

Two twins differ by chance, too: by folds of cloth, lights behind, where locks fall. A small UNet that learns from
single pairs hears little else. A regression over all of them tells within seconds what each word does to pictures.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from .face_regression import ridge
from .people import words
from .prepared import Prepared

LEAST_OFTEN = 10  # pictures show a thing before it counts
PRIOR = 5.0  # of things, which are there or not


class TwinForetelling:
    """Foretells by how much two pictures of a scene differ.

    Args:
        twins: (n, 2) pictures of `prepared` to learn from.
    """

    def __init__(self, prepared: Prepared, twins: np.ndarray):
        self._records = prepared.records
        things = [thing for i in twins.ravel() for thing in _things(self._records[i])]
        self._at = {
            thing: at
            for at, thing in enumerate(thing for thing, n in Counter(things).items() if n >= LEAST_OFTEN)
        }
        self._groups: dict[str, list[int]] = {}
        for (group, _), at in self._at.items():
            self._groups.setdefault(group, []).append(at)
        shown = np.stack([self._shown(i) for i in twins.ravel()]).reshape(*twins.shape, -1)
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

    def _shown(self, index: int) -> np.ndarray:
        there = np.zeros(len(self._at), np.float32)
        there[[self._at[thing] for thing in _things(self._records[index]) if thing in self._at]] = 1
        return there

    def _told(self, index: int, caption: str) -> np.ndarray:
        """What is shown, with as much of everything as there is usually where a caption says nothing of it."""
        told = self._shown(index)
        for group, phrases in phrases_of(self._records[index]).items():
            if not any(phrase in caption for phrase in phrases):
                places = self._groups.get(group, [])
                told[places] = self._usual[places]
        return told


def _things(record: Mapping) -> list[tuple[str, str]]:
    """What a picture shows of which words may tell, by group."""
    [figure, *_], place = record["figures"], record["background"]
    seen = figure["attributes"]
    hair, kind = seen["hair"] or "under a hat", place["kind"]
    colour = words.colour_in(hair, words.HAIR_COLOURS) or ""
    things = [("hair", " ".join(hair.replace(colour, "").split())), ("place", kind)]
    if colour:
        things.append(("hair", colour))
    if _is_coloured(kind):
        things.append(("place", words.colour_name(place["colours"][0])))
    if (worn := figure.get("clothes")) and (dye := words.colour_in(worn, words.COLOURS)):
        things.append(("clothes", dye))
    if seen["glasses"]:
        things.append(("glasses", "glasses"))
    return [*things, ("expression", str(seen["expression"]))]


def phrases_of(record: Mapping) -> dict[str, tuple[str, ...]]:
    """What captions say of each group, in one of these ways."""
    [figure, *_], place = record["figures"], record["background"]
    seen, worn = figure["attributes"], figure.get("clothes")
    colour = words.colour_name(place["colours"][0])
    return {
        "hair": (seen["hair"],) if seen["hair"] else tuple(words.HATS.values()),
        "clothes": (f"wearing {worn}", f"in {worn}") if worn else (),
        "place": tuple(way.format(colour) for way in words.PLACES[place["kind"]]),
        "glasses": ("glasses" if seen["glasses"] else "",),  # always told, where they are worn
        "expression": (seen["expression"],) if seen["expression"] else (),
    }


def _is_coloured(kind: str) -> bool:
    return any("{}" in way for way in words.PLACES[kind])
