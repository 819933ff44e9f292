"""A row of the report's table, and what rows are made of."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ..training.people.separation import Interval
from . import intervals, likeness
from .attribute_judge import AttributeJudge
from .likeness import Likeness, People
from .memory import Memory
from .observing import Observed
from .sets import Subject


@dataclass(frozen=True)
class Goal:
    """What a figure is to be: in words, and whether an interval is so."""

    words: str
    met: Callable[[Interval], bool]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One figure. `value` is None where it was not measured, and `why` says why."""

    section: str
    what: str
    condition: str = ""
    value: Interval | None = None
    pictures: int = 0
    why: str = ""
    goal: Goal | None = None
    digits: int = 3
    over_people: bool = True
    """Whether the figure is a mean over people, and means little of one."""

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; None without one, without a value, or where one person gives no interval."""
        if self.goal is None or self.value is None:
            return None
        return None if self.over_people and np.isnan(self.value.low) else self.goal.met(self.value)

    def to_json(self) -> dict[str, object]:
        """Plain values; an interval that is none is None."""
        value = self.value and [
            each if np.isfinite(each) else None
            for each in (self.value.value, self.value.low, self.value.high)
        ]
        return {
            "section": self.section,
            "what": self.what,
            "condition": self.condition,
            "value": value and value[0],
            "low": value and value[1],
            "high": value and value[2],
            "pictures": self.pictures,
            "not_measured": self.why or None,
            "goal": self.goal and self.goal.words,
            "met": self.met,
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """All that tables are made of.

    Args:
        there: true photos by judge; `held_out`: the same with the last photos as references.
        photos: features (m, d) of all true photos in turn: by judge, and by the CLIP's name.
        clip: its name; None, and `no_clip` says why.
        judge: of attributes; None, and `no_judge` says why.
        missing: by condition, why it was not run.
    """

    subjects: Sequence[Subject]
    observed: Observed
    there: dict[str, People]
    held_out: dict[str, People]
    photos: dict[str, np.ndarray]
    clip: str | None
    no_clip: str
    judge: AttributeJudge | None
    no_judge: str
    missing: dict[str, str]
    memory: Memory | None

    def likeness(self, condition: str, judge: str, *, held_out: bool = False) -> Likeness:
        """Of a condition's pictures by one judge."""
        rows = self.observed.of(condition)
        given = np.array([self.observed.made[row].trial.given for row in rows], np.int64)
        there = (self.held_out if held_out else self.there)[judge]
        return likeness.measure(
            self.observed.embeddings[judge][rows], self.observed.subjects(rows), there, given
        )

    def mean(self, values: np.ndarray, condition: str) -> Interval | None:
        """Over people, of (n,) values of all pictures, those of one condition."""
        rows = self.observed.of(condition)
        return intervals.mean(values[rows], self.observed.subjects(rows))

    def last_photos(self) -> np.ndarray:
        """Numbers in `photos` of each subject's last one."""
        return np.cumsum([len(who.photos) for who in self.subjects]) - 1
