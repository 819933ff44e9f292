"""Means with intervals: what another draw of people, not of pictures, would give.

Pictures of one person are not independent: an interval that resamples pictures is too narrow.
"""

import math
from collections.abc import Callable

import numpy as np

from ..training.people.separation import Interval

RESAMPLES = 1000
MIDDLE = (2.5, 97.5)  # per cent: 95 of 100 repetitions


def mean(values: np.ndarray, people: np.ndarray) -> Interval | None:
    """The mean over people of each one's mean; None where nothing is known.

    Args:
        values: (n,); NaN where there is nothing to measure, as in a picture without a face.
        people: (n,) whose each is.
    """
    each = per_person(values, people)
    return None if not len(each) else _interval(each, np.mean)


def difference(
    values: np.ndarray, people: np.ndarray, others: np.ndarray, whose: np.ndarray
) -> Interval | None:
    """The mean of `values` less that of `others`, person by person; None where no person has both."""
    first, second = _by_person(values, people), _by_person(others, whose)
    both = sorted(first.keys() & second.keys())
    return None if not both else _interval(np.array([first[who] - second[who] for who in both]), np.mean)


def ratio(values: np.ndarray, people: np.ndarray, others: np.ndarray, whose: np.ndarray) -> Interval | None:
    """The mean of `values` as a part of that of `others`, over people who have both."""
    first, second = _by_person(values, people), _by_person(others, whose)
    both = sorted(first.keys() & second.keys())
    if not both:
        return None
    pairs = np.array([(first[who], second[who]) for who in both])
    if pairs[:, 1].mean() == 0:
        return None
    return _interval(pairs, lambda drawn: drawn[..., 0].mean() / drawn[..., 1].mean())


def per_person(values: np.ndarray, people: np.ndarray) -> np.ndarray:
    """Each person's mean, (people,), of those of whom anything is known."""
    return np.array(list(_by_person(values, people).values()))


def words(figure: Interval | None, digits: int = 3) -> str:
    """Like “0.912 (0.870–0.950)”; of one person alone there is no interval."""
    if figure is None:
        return "–"
    if math.isnan(figure.low):
        return f"{figure.value:.{digits}f} (one person)"
    return f"{figure.value:.{digits}f} ({figure.low:.{digits}f}–{figure.high:.{digits}f})"


def _by_person(values: np.ndarray, people: np.ndarray) -> dict[int, float]:
    values, people = np.asarray(values, np.float64), np.asarray(people)
    known = ~np.isnan(values)
    return {int(who): float(values[known & (people == who)].mean()) for who in np.unique(people[known])}


def _interval(each: np.ndarray, statistic: Callable[[np.ndarray], float]) -> Interval:
    """`each` (people, …), one row a person."""
    value = float(statistic(each))
    if len(each) == 1:
        return Interval(value=value, low=math.nan, high=math.nan)
    random = np.random.default_rng(0)
    draws = [float(statistic(each[random.integers(len(each), size=len(each))])) for _ in range(RESAMPLES)]
    low, high = np.percentile([draw for draw in draws if math.isfinite(draw)], MIDDLE)
    return Interval(value=value, low=float(low), high=float(high))
