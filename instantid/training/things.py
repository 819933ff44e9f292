"""Things that pictures show and that captions tell of: hair, places, clothes' colours, glasses, faces pulled."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from .people import words

LEAST_OFTEN = 10  # pictures show a thing before it counts


class Things:
    """Those that enough of some pictures show.

    Args:
        records: of all pictures, by number.
        chosen: of which it is told what there is.
    """

    def __init__(self, records: Sequence[Mapping], chosen: np.ndarray):
        self._records = records
        often = Counter(thing for i in chosen.tolist() for thing in things_of(records[i]))
        self._at = {
            thing: at for at, thing in enumerate(each for each, n in often.items() if n >= LEAST_OFTEN)
        }
        self._groups: dict[str, list[int]] = {}
        for (group, _), at in self._at.items():
            self._groups.setdefault(group, []).append(at)

    def __len__(self) -> int:
        return len(self._at)

    def shown(self, index: int) -> np.ndarray:
        """(n,) 1 where a picture shows a thing, else 0."""
        there = np.zeros(len(self), np.float32)
        there[[self._at[thing] for thing in things_of(self._records[index]) if thing in self._at]] = 1
        return there

    def told(self, index: int, caption: str) -> np.ndarray:
        """(n,) whether a caption of that picture says which things of their group it shows."""
        told = np.zeros(len(self), bool)
        for group, phrases in phrases_of(self._records[index]).items():
            told[self._groups.get(group, [])] = any(phrase in caption for phrase in phrases)
        return told


def things_of(record: Mapping) -> list[tuple[str, str]]:
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
