"""The few kinds of draws that describe people and pictures."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np

Kind = TypeVar("Kind")


def pick(random: np.random.Generator, items: Sequence[Kind]) -> Kind:
    """Any of them, all equally likely."""
    return items[int(random.integers(len(items)))]


def weighted(random: np.random.Generator, items: dict[Kind, float]) -> Kind:
    """One of the keys, as likely as its value says; the values need not sum to 1."""
    shares = np.array(list(items.values()), float)
    return list(items)[int(random.choice(len(items), p=shares / shares.sum()))]


def bell(random: np.random.Generator, width: float, most: float = 1.0) -> float:
    """Around 0, `width` wide, never further than `most`."""
    return round(float(np.clip(random.normal(0, width), -most, most)), 3)


def between(random: np.random.Generator, low: float, high: float) -> float:
    """Evenly between the two."""
    return round(float(random.uniform(low, high)), 3)
