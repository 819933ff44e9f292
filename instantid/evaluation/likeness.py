"""How alike pictures are to whom they are of: always against others, for faces of one kind share a direction.

Embeddings in, figures out; the same function measures true photos, and so the ceiling.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..training.people.separation import Interval, area
from . import intervals


@dataclass(frozen=True, kw_only=True, eq=False)
class People:
    """Who there is, as one judge sees them.

    Args:
        references: (p, d), one embedding each: of the photo, or the mean of the photos, that is given. NaN: not seen.
        groups: (p,) what impostors have in common; None where that is unknown.
        others: (m, d) further true photos, and `whose` (m,) number each is of.
    """

    references: np.ndarray
    groups: Sequence[str] | None
    others: np.ndarray
    whose: np.ndarray


@dataclass(frozen=True, kw_only=True, eq=False)
class Likeness:
    """Of n pictures. `own` and `relative` are (n,), NaN where no face was found.

    Args:
        own: cosine to the reference of the picture's person.
        relative: that, less the mean cosine to everybody else's.
        auc: how often a picture is nearer to its own person than to another; .5 is chance.
        auc_impostors: the same against people of the same group only.
    """

    people: np.ndarray
    own: np.ndarray
    relative: np.ndarray
    auc: Interval | None
    auc_impostors: Interval | None


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """(n, d) and (m, d) to (n, m); NaN where either is."""
    lengths = np.linalg.norm(one, axis=1)[:, None] * np.linalg.norm(other, axis=1)
    return one @ other.T / np.where(lengths == 0, np.nan, lengths)


def measure(
    embeddings: np.ndarray, people: np.ndarray, there: People, given: np.ndarray | None = None
) -> Likeness:
    """Compare pictures with everybody's reference.

    Args:
        embeddings: (n, d); NaN rows where no face was found.
        people: (n,) whom each is to be like.
        given: (n,) whose face was given to the generator where that is somebody else, who is then compared with
            neither as own nor as other.
    """
    people = np.asarray(people)
    table = cosines(embeddings, there.references)  # (n, p)
    numbers = np.arange(len(there.references))
    own = table[np.arange(len(people)), people] if len(people) else np.empty(0)
    aside = numbers == (people if given is None else np.asarray(given))[:, None]
    other = (numbers != people[:, None]) & ~aside & ~np.isnan(table)
    sums = np.where(other, table, 0).sum(axis=1)
    counts = other.sum(axis=1)
    relative = own - np.divide(sums, counts, out=np.full(len(sums), np.nan), where=counts > 0)
    impostors = None
    if there.groups is not None:
        groups = np.asarray(there.groups)
        impostors = _auc(table, people, other & (groups == groups[people][:, None]))
    return Likeness(
        people=people,
        own=own,
        relative=relative,
        auc=_auc(table, people, other),
        auc_impostors=impostors,
    )


def ceiling(there: People) -> Likeness:
    """The same of true photos: what nobody's pictures need to beat."""
    return measure(there.others, there.whose, there)


def way(made: Likeness, true: Likeness) -> Interval | None:
    """How far pictures got from chance (0) to true photos of the same people (1)."""
    return intervals.ratio(made.relative, made.people, true.relative, true.people)


def copying(made: Likeness, true: Likeness) -> tuple[Interval | None, Interval | None]:
    """(excess, rate) of likeness to the reference beyond that of another true photo of the same person.

    Excess is the mean difference of cosines; rate the part of pictures that are nearer to the reference than true
    photos are on average. A high likeness is partly copying where these are high (WithAnyone, arXiv 2510.14975).
    """
    excess = intervals.difference(made.own, made.people, true.own, true.people)
    usual = {
        int(who): float(np.nanmean(true.own[true.people == who]))
        for who in np.unique(true.people[~np.isnan(true.own)])
    }
    nearer = [
        math.nan if math.isnan(own) or int(who) not in usual else float(own > usual[int(who)])
        for own, who in zip(made.own, made.people, strict=True)
    ]
    return excess, intervals.mean(np.array(nearer), made.people)


def _auc(table: np.ndarray, people: np.ndarray, other: np.ndarray) -> Interval | None:
    """Pairs of a picture and a reference: its own person's against those of `other` (n, p) bool."""
    same = (np.arange(table.shape[1]) == people[:, None]) & ~np.isnan(table)
    rows, columns = np.nonzero(same | other)
    is_same = same[rows, columns]
    if not is_same.any() or is_same.all() or len(np.unique(people[rows])) < 2:
        return None
    return area(table[rows, columns], is_same, people[rows], columns)
