"""How well similarities tell the same person from others: areas under the ROC curve, with intervals, and spreads.

Knows no faces: embeddings, who they are of, and which people an impostor is picked from.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 300


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A measured value and where 95 of 100 repetitions with other people would put it."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Of many cosines: the mean and the 5th, 50th and 95th percentile."""

    mean: float
    low: float
    middle: float
    high: float
    count: int

    def __str__(self) -> str:
        return f"{self.mean:.3f} ({self.low:.3f}–{self.high:.3f})"


@dataclass(frozen=True, kw_only=True)
class Separation:
    """What one encoder makes of the people: cosines of two pictures of one person, of two people, and of two
    people of the same group (the fair comparison: sex and ancestry alone do not help)."""

    encoder: str
    pictures: int
    people: int
    same: Spread
    different: Spread
    impostors: Spread
    auc: Interval
    auc_impostors: Interval


def separate(
    encoder: str, embeddings: np.ndarray, people: Sequence[int], groups: Sequence[str]
) -> Separation:
    """Compare every two pictures.

    Args:
        embeddings: (n, d), of any length each; compared by cosine.
        people: of each picture, whose it is.
        groups: of each picture, what its person shares with the impostors, such as sex and ancestry.

    Raises:
        ValueError: nobody has two pictures, or no two people share a group.
    """
    unit = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    rows, columns = np.triu_indices(len(unit), 1)
    cosines = (unit @ unit.T)[rows, columns]
    _, person = np.unique(np.asarray(people), return_inverse=True)
    group = np.asarray(groups)
    same = person[rows] == person[columns]
    impostors = ~same & (group[rows] == group[columns])
    if not same.any() or not impostors.any():
        raise ValueError("It takes two pictures of one person, and two people of the same group.")
    against = same | impostors
    return Separation(
        encoder=encoder,
        pictures=len(unit),
        people=int(person.max()) + 1,
        same=spread(cosines[same]),
        different=spread(cosines[~same]),
        impostors=spread(cosines[impostors]),
        auc=area(cosines, same, person[rows], person[columns]),
        auc_impostors=area(cosines[against], same[against], person[rows[against]], person[columns[against]]),
    )


def spread(cosines: np.ndarray) -> Spread:
    """Sum up cosines (n,)."""
    low, middle, high = np.percentile(cosines, (5, 50, 95))
    return Spread(
        mean=float(cosines.mean()), low=float(low), middle=float(middle), high=float(high), count=len(cosines)
    )


def area(scores: np.ndarray, same: np.ndarray, one: np.ndarray, other: np.ndarray) -> Interval:
    """Give the area under the ROC curve: how often a same pair scores above a different one.

    The interval resamples people, not pairs: pairs that share a person are not independent, and resampling them
    would make the interval far too narrow.

    Args:
        scores: (n,) of pairs; `same` (n,) bool: pairs of one person.
        one, other: (n,) number of each pair's two people, counted from 0.
    """
    _, rank = np.unique(scores, return_inverse=True)
    random = np.random.default_rng(0)
    count = int(max(one.max(), other.max())) + 1
    draws = []
    for _ in range(RESAMPLES):
        times = np.bincount(random.integers(count, size=count), minlength=count)
        weight = np.where(same, times[one], times[one] * times[other])
        if weight[same].any() and weight[~same].any():
            draws.append(_area(rank, same, weight))
    low, high = np.percentile(draws, (2.5, 97.5))
    return Interval(value=_area(rank, same, np.ones(len(rank))), low=float(low), high=float(high))


def _area(rank: np.ndarray, same: np.ndarray, weight: np.ndarray) -> float:
    """Mann–Whitney's U with weights; equal scores count half."""
    length = rank.max() + 1
    positive = np.bincount(rank[same], weight[same], length)
    negative = np.bincount(rank[~same], weight[~same], length)
    below = np.cumsum(negative) - negative
    return float((positive * (below + negative / 2)).sum() / (positive.sum() * negative.sum()))
