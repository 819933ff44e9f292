"""Which tables and curves a protocol's report has, in which order."""

import numpy as np

from . import summary, tables
from .attributes import ATTRIBUTES
from .clip import clip_t
from .plots import Point, curve
from .protocols import DEFAULT, STRENGTHS, strength_name
from .rows import Measured, Row


def rows(protocol: str, told: Measured) -> list[Row]:
    """All rows, section by section."""
    conditions = list(dict.fromkeys(each.trial.condition for each in told.observed.made))
    first = DEFAULT if DEFAULT in conditions else conditions[-1]
    made = summary.judged(told) if protocol == "mini" else []
    for condition in conditions:
        made += tables.likeness_rows(told, condition)
    made += tables.ceiling_rows(told)
    for condition in conditions:
        made += tables.prompt_rows(told, condition)
    if protocol != "pulid":  # its prompts ask for what the judge has not learnt
        for condition in conditions:
            made += tables.attribute_rows(told, condition)
    for condition in conditions:
        made += tables.pose_rows(told, condition)
    made += tables.variety_rows(told, first)
    return [*made, *tables.cost_rows(told, first)]


def plots(protocol: str, told: Measured) -> list[str]:
    """The trade-off curves, where strengths were varied."""
    if protocol != "strengths":
        return []
    name = "both strengths"
    likeness = {judge: _along(told, judge) for judge in told.there}
    drawn = [curve("Likeness by strength", name, "AUC", likeness)] if any(likeness.values()) else []
    follows = _following(told)
    if follows:
        axis, points = follows
        drawn.append(curve("Prompt following by strength", name, axis, {"": points}))
        both = {
            judge: [
                Point(prompt.y.value, point.y, f"{point.x:g}")
                for point in line
                for prompt in points
                if prompt.x == point.x
            ]
            for judge, line in likeness.items()
        }
        if any(both.values()):
            drawn.append(curve("What likeness costs", axis, "AUC", both))
    return drawn


def _along(told: Measured, judge: str) -> list[Point]:
    found = [(strength, told.likeness(strength_name(strength), judge).auc) for strength in STRENGTHS]
    return [Point(strength, auc) for strength, auc in found if auc]


def _following(told: Measured) -> tuple[str, list[Point]] | None:
    """What prompt following is measured by here: attributes where there is a judge, else CLIP-T."""
    seen = told.observed
    if told.judge:
        axis = "attributes followed"
        values = np.array([_followed(told, row) for row in range(len(seen.made))])
    elif told.clip:
        axis = "CLIP-T"
        values = clip_t(seen.clip, seen.words)
    else:
        return None
    means = [(strength, told.mean(values, strength_name(strength))) for strength in STRENGTHS]
    return axis, [Point(strength, value) for strength, value in means if value]


def _followed(told: Measured, row: int) -> float:
    """The part of what was asked for that the judge sees on a picture."""
    rows = np.array([row])
    wishes = told.observed.made[row].trial.wishes
    return float(
        np.mean([tables.hits(told.observed, rows, name)[0] for name in ATTRIBUTES if name in wishes])
    )
