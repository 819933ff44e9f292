"""What the embedded bundle is judged by (issue 5), row by row, each with its goal."""

import numpy as np

from ..training.people.separation import Interval
from . import intervals, likeness
from .likeness import Likeness
from .protocols import (
    DEFAULT,
    FULL,
    HALF,
    LESS_CONTENT,
    NO_NET,
    OFF,
    OTHER,
    POSE_ALONE,
    PRESET,
    SEVERAL,
    STYLE,
    WORDS,
    control_name,
)
from .rows import Goal, Measured, Row
from .tables import attribute_rows, cost_rows, hits

SECTION = "Judged by"
AUC = Goal("0.90 or more", lambda told: told.value >= 0.90)
WAY = Goal("0.70 or more", lambda told: told.value >= 0.70)
CHANCE = Goal("chance: 0.5 lies in the interval", lambda told: told.low <= 0.5 <= told.high)
BETTER = Goal("above 0, interval and all", lambda told: told.low > 0)
NO_WORSE = Goal("not below 0, within error", lambda told: told.high >= 0)
LOWER = Goal("below 0, interval and all", lambda told: told.high < 0)
NEAR = Goal("0.04 or less", lambda told: told.value <= 0.04)
FAR = Goal("2 or more", lambda told: told.value >= 2)
FOLLOWS = Goal("0.85 or more", lambda told: told.value >= 0.85)
KEEPS = Goal("0.9 or more", lambda told: told.value >= 0.9)
HALVED = Goal("0.5 or less", lambda told: told.value <= 0.5)
QUICK = Goal("4 or less", lambda told: told.value <= 4)
SMALL = Goal("2 or less", lambda told: told.value <= 2)


def judged(told: Measured) -> list[Row]:
    """All rows, in the order of the issue."""
    rows = [row for judge in told.there for row in _likeness(told, judge)]
    rows += _pose(told)
    for condition in (DEFAULT, WORDS, PRESET):
        rows += [_renamed(row) for row in attribute_rows(told, condition, goal=FOLLOWS)]
    rows += _style(told)
    # Where IdentityNet is told five points of a face, a skeleton of nose, eyes and ears has hardly more to say.
    rows.append(_control(told, "pose", POSE_ALONE, NO_NET, HALVED))
    rows.append(_control(told, "pose", control_name("pose"), DEFAULT))
    for name in ("canny", "depth"):
        rows.append(_control(told, name, control_name(name), DEFAULT, HALVED))
    seconds, peak = cost_rows(told, DEFAULT)
    return [*rows, _renamed(seconds, QUICK), _renamed(peak, SMALL)]


def _likeness(told: Measured, judge: str) -> list[Row]:
    true = likeness.ceiling(told.there[judge])
    by = {name: told.likeness(name, judge) for name in (DEFAULT, OFF, HALF, FULL, OTHER)}
    several, one = (told.likeness(name, judge, held_out=True) for name in (SEVERAL, DEFAULT))
    return [
        _row(told, f"AUC, {judge}", DEFAULT, by[DEFAULT].auc, AUC),
        _row(told, f"AUC, same sex and ancestry, {judge}", DEFAULT, by[DEFAULT].auc_impostors),
        _row(told, f"way from chance to true photos, {judge}", DEFAULT, likeness.way(by[DEFAULT], true), WAY),
        _chance(told, judge, OFF, "AUC", by[OFF]),
        _chance(told, judge, OTHER, "AUC to whose pose it is", by[OTHER]),
        _row(told, f"gain over {OFF}, {judge}", HALF, _gain(by[HALF], by[OFF]), BETTER),
        _row(told, f"gain over {HALF}, {judge}", FULL, _gain(by[FULL], by[HALF]), NO_WORSE),
        _row(
            told,
            f"gain over one reference, {judge}, to a photo not given",
            SEVERAL,
            _gain(several, one),
            BETTER,
        ),
    ]


def _chance(told: Measured, judge: str, condition: str, what: str, made: Likeness) -> Row:
    """Prompts name the person's sex and age: these alone tell them from people of others, whoever's face it is."""
    if told.there[judge].groups is None:
        return _row(told, f"{what}, {judge}", condition, made.auc, CHANCE)
    return _row(told, f"{what}, same sex and ancestry, {judge}", condition, made.auc_impostors, CHANCE)


def _gain(one: Likeness, other: Likeness) -> Interval | None:
    return intervals.difference(one.relative, one.people, other.relative, other.people)


def _pose(told: Measured) -> list[Row]:
    seen = told.observed
    error = told.mean(seen.keypoint_error, DEFAULT)
    worse = _times(told, seen.keypoint_error, NO_NET, DEFAULT)
    return [
        _row(told, "keypoint error, of the face box", DEFAULT, error, NEAR),
        _row(told, "keypoint error, times that with it", NO_NET, worse, FAR),
    ]


def _style(told: Measured) -> list[Row]:
    """The look is taken on, the person kept, and what the style picture shows kept out."""
    rows = []
    if told.judge is None:
        rows.append(Row(section=SECTION, what="its look is seen", condition=STYLE, why=told.no_judge))
    elif STYLE not in told.missing:
        seen, styled, plain = told.observed, told.observed.of(STYLE), told.observed.of(DEFAULT)
        trials = {row: seen.made[row].trial for row in (*styled, *plain)}
        wished = {(trials[row].subject, *trials[row].key): trials[row].wishes["look"] for row in styled}
        keys = {row: (trials[row].subject, *trials[row].key) for row in plain}
        pairs = [(row, wished[key]) for row, key in keys.items() if key in wished]
        usual = np.array([float(seen.verdicts[row]["look"] == look) for row, look in pairs])
        whose = seen.subjects(np.array([row for row, _ in pairs], np.int64))
        gain = intervals.difference(hits(seen, styled, "look"), seen.subjects(styled), usual, whose)
        rows.append(_row(told, "its look is seen more often than without", STYLE, gain, BETTER))
    else:
        rows.append(_row(told, "its look is seen more often than without", STYLE, None, BETTER))
    for judge in told.there:
        styled, plain = told.likeness(STYLE, judge), told.likeness(DEFAULT, judge)
        kept = intervals.ratio(styled.relative, styled.people, plain.relative, plain.people)
        rows.append(_row(told, f"likeness kept, of that without, {judge}", STYLE, kept, KEEPS))
    return [*rows, _leak(told)]


def _leak(told: Measured) -> Row:
    """Is a picture more like the photo under its style picture than like those under others?

    Alone it would tell how little a picture is styled: the less it is, the more it is like any photo.
    """
    what = "likeness to what the style picture shows less that to others, less that with all of it"
    if told.clip is None:
        return Row(section=SECTION, what=what, condition=LESS_CONTENT, why=told.no_clip)
    seen, last = told.observed, told.photos[told.clip][told.last_photos()]

    def leaked(condition: str) -> tuple[np.ndarray, np.ndarray]:
        rows = seen.of(condition)
        shown = np.array([seen.made[row].trial.style_of for row in rows], np.int64)
        like = seen.clip[rows] @ last[np.unique(shown)].T
        own = np.unique(shown) == shown[:, None]
        others = np.where(own, 0, like).sum(axis=1) / np.maximum((~own).sum(axis=1), 1)
        return like[own] - others, seen.subjects(rows)

    gain = intervals.difference(*leaked(LESS_CONTENT), *leaked(STYLE))
    return _row(told, f"{what}, {told.clip}", LESS_CONTENT, gain, LOWER)


def _control(told: Measured, name: str, condition: str, without: str, goal: Goal | None = None) -> Row:
    errors = told.observed.map_error.get(name)
    value = None if errors is None else _times(told, errors, condition, without)
    return _row(told, f"error of the {name} map, of that of “{without}”", condition, value, goal)


def _times(told: Measured, values: np.ndarray, condition: str, other: str) -> Interval | None:
    one, two = told.observed.of(condition), told.observed.of(other)
    return intervals.ratio(values[one], told.observed.subjects(one), values[two], told.observed.subjects(two))


def _row(told: Measured, what: str, condition: str, value: Interval | None, goal: Goal | None = None) -> Row:
    """A row; where there is no value, why: the condition was not run, or nothing was found in its pictures."""
    rows = told.observed.of(condition)
    why = told.missing.get(condition, "too few people, photos or faces found for it")
    return Row(
        section=SECTION,
        what=what,
        condition=condition,
        value=value,
        pictures=len(rows),
        why="" if value else why,
        goal=goal,
    )


def _renamed(row: Row, goal: Goal | None = None) -> Row:
    return Row(**(vars(row) | {"section": SECTION, "goal": goal or row.goal}))
