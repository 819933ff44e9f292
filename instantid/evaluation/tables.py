"""What was observed → rows of a table: figure, interval, goal, or why it was not measured."""

from dataclasses import replace

import numpy as np

from ..training.people.separation import Interval
from . import clip as clips
from . import intervals, likeness, variety
from .attributes import ATTRIBUTES, IN_WORDS
from .observing import Observed
from .protocols import OFF
from .rows import Goal, Measured, Row

TRUSTED = 0.9  # the least accuracy of a judge of attributes whose verdicts decide


def likeness_rows(told: Measured, condition: str, *, goals: dict[str, Goal] | None = None) -> list[Row]:
    """Everything about likeness in one condition, by every judge."""
    section, goals = "Likeness", goals or {}
    rows = told.observed.of(condition)
    share = told.observed.found[rows].astype(float)
    made = [
        Row(
            section=section,
            what="faces found",
            condition=condition,
            pictures=len(rows),
            value=intervals.mean(share, told.observed.subjects(rows)),
        )
    ]
    for judge, there in told.there.items():
        these, true = told.likeness(condition, judge), likeness.ceiling(there)
        excess, rate = likeness.copying(these, true)
        one_photo = "nobody has two photos" if not len(there.others) else ""
        alone = "there is one person in the set" if len(told.subjects) < 2 else "no face was found"
        no_groups = (
            "sex and ancestry are not known" if there.groups is None else "nobody shares sex and ancestry"
        )
        figures = {
            "cosine to own reference": (intervals.mean(these.own, these.people), alone),
            "own less others": (intervals.mean(these.relative, these.people), alone),
            "AUC": (these.auc, alone),
            "AUC, same sex and ancestry": (these.auc_impostors, no_groups),
            "way from chance to true photos": (likeness.way(these, true), one_photo or alone),
            "copying: excess over true photos": (excess, one_photo or alone),
            "copying: rate": (rate, one_photo or alone),
        }
        made += [
            Row(
                section=section,
                what=f"{what}, {judge}",
                condition=condition,
                value=value,
                pictures=len(rows),
                why="" if value else why,
                goal=goals.get(what),
            )
            for what, (value, why) in figures.items()
        ]
    return made


def ceiling_rows(told: Measured) -> list[Row]:
    """The same of true photos of the set."""
    made = []
    for judge, there in told.there.items():
        true = likeness.ceiling(there)
        figures = {
            "own less others": intervals.mean(true.relative, true.people),
            "AUC": true.auc,
            "AUC, same sex and ancestry": true.auc_impostors,
        }
        made += [
            Row(
                section="Likeness",
                what=f"{what}, {judge}",
                condition="true photos (ceiling)",
                value=value,
                pictures=len(there.others),
                why="" if value else "the set has too few photos or people for it",
            )
            for what, value in figures.items()
        ]
    return made


def prompt_rows(told: Measured, condition: str) -> list[Row]:
    """CLIP-T and, against the pictures without the face, CLIP-I."""
    seen, section = told.observed, "Prompt following"
    rows = seen.of(condition)
    if told.clip is None:
        return [
            Row(section=section, what=what, condition=condition, why=told.no_clip)
            for what in ("CLIP-T", "CLIP-I")
        ]
    people = seen.subjects(rows)
    clip_t = intervals.mean(clips.clip_t(seen.clip[rows], seen.words[rows]), people)
    made = [
        Row(
            section=section,
            what=f"CLIP-T, {told.clip}",
            condition=condition,
            value=clip_t,
            pictures=len(rows),
            digits=2,
        )
    ]
    without = {(*seen.made[row].trial.key, seen.made[row].trial.subject): row for row in seen.of(OFF)}
    anybody = {seen.made[row].trial.key: row for row in seen.of(OFF)}
    pairs = [
        (row, without.get((*key, seen.made[row].trial.subject), anybody.get(key)))
        for row in rows
        if (key := seen.made[row].trial.key) in anybody
    ]
    if pairs and condition != OFF:
        one, other = np.array(pairs).T
        clip_i = intervals.mean(clips.clip_i(seen.clip[one], seen.clip[other]), seen.subjects(one))
        made.append(
            Row(
                section=section,
                what=f"CLIP-I with and without the face, {told.clip}",
                condition=condition,
                value=clip_i,
                pictures=len(pairs),
            )
        )
    return made


def attribute_rows(told: Measured, condition: str, *, goal: Goal | None = None) -> list[Row]:
    """The part of pictures on which the judge sees what was asked for; beside it the judge's own accuracy."""
    seen, section = told.observed, "Attributes"
    rows = seen.of(condition)
    if told.judge is None:
        return [Row(section=section, what="what the prompt asks for", condition=condition, why=told.no_judge)]
    made = []
    for name in ATTRIBUTES:
        asked = [row for row in rows if name in seen.made[row].trial.wishes]
        if not asked or name not in told.judge.accuracy:
            continue
        right = hits(seen, np.array(asked), name)
        value = intervals.mean(right, seen.subjects(np.array(asked)))
        accuracy = told.judge.accuracy[name]
        trusted = accuracy >= TRUSTED  # who errs more often cannot tell whether a goal is met
        what = (
            f"{IN_WORDS[name]} (the judge itself: {accuracy:.0%}{'' if trusted else ', too poor to decide'})"
        )
        row = Row(section=section, what=what, condition=condition, value=value, pictures=len(asked))
        made.append(replace(row, goal=goal if trusted else None))
    return made


def hits(seen: Observed, rows: np.ndarray, name: str) -> np.ndarray:
    """(n,) 1 where the judge sees what was wished for, 0 where not."""
    return np.array([float(seen.verdicts[row][name] == seen.made[row].trial.wishes[name]) for row in rows])


def pose_rows(told: Measured, condition: str, *, goal: Goal | None = None) -> list[Row]:
    """Keypoints and turn of the head, found again, against those asked for."""
    seen, section = told.observed, "Pose"
    rows = seen.of(condition)
    figures = [("keypoint error, of the face box", seen.keypoint_error, 3, goal)]
    turns = zip(("yaw", "pitch", "roll"), seen.turn_error.T, strict=True)
    figures += [(f"{angle} error, degrees", values, 1, None) for angle, values in turns]
    made = []
    for what, values, digits, aim in figures:
        value = told.mean(values, condition)
        row = Row(
            section=section, what=what, condition=condition, value=value, pictures=len(rows), digits=digits
        )
        made.append(replace(row, goal=aim, why="" if value else "no face was found"))
    return made


def variety_rows(told: Measured, condition: str) -> list[Row]:
    """How pictures of one person and prompt differ, and how all differ from true photos as a distribution."""
    seen, section = told.observed, "Variety"
    rows = seen.of(condition)
    groups = np.array([hash((seen.made[row].trial.subject, seen.made[row].trial.prompt)) for row in rows])
    one_each = "one picture of each person and prompt was made: --pictures 2 or more"
    people = seen.subjects(rows)
    figures = {"diversity, 1 − SSIM": variety.pixel_diversity([seen.thumbs[row] for row in rows], groups)}
    if told.clip:
        figures[f"diversity, 1 − cosine, {told.clip}"] = variety.diversity(seen.clip[rows], groups)
    made = []
    for what, values in figures.items():
        value = intervals.mean(values, people)
        why = "" if value else one_each
        made.append(
            Row(section=section, what=what, condition=condition, value=value, pictures=len(rows), why=why)
        )
    spaces = dict(seen.embeddings) | ({told.clip: seen.clip} if told.clip else {})
    for name, features in spaces.items():
        here = features[rows][~np.isnan(features[rows]).any(axis=1)]
        there = told.photos[name][~np.isnan(told.photos[name]).any(axis=1)]
        few = min(len(here), len(there)) < variety.LEAST
        value = None if few else variety.frechet_distance(unit(here), unit(there))
        made.append(
            Row(
                section=section,
                what=f"Fréchet distance to true photos, {name} (no FID)",
                condition=condition,
                value=value if value is None else Interval(value=value, low=np.nan, high=np.nan),
                pictures=len(here),
                why=f"it takes {variety.LEAST} pictures and photos at least" if few else "",
                over_people=False,
            )
        )
    return made


def cost_rows(told: Measured, condition: str) -> list[Row]:
    """Seconds per picture and the peak of memory."""
    rows, section = told.observed.of(condition), "Cost"
    seconds = np.array([told.observed.made[row].seconds or np.nan for row in rows])
    value = intervals.mean(seconds, told.observed.subjects(rows))
    why = "" if value else "the pictures were there already"
    made = Row(
        section=section,
        what="seconds per picture",
        condition=condition,
        value=value,
        pictures=len(rows),
        digits=2,
    )
    where = f" ({told.memory.where})" if told.memory else ""
    size = told.memory and Interval(value=told.memory.size / 2**30, low=np.nan, high=np.nan)
    peak = Row(section=section, what=f"peak memory, GiB{where}", value=size, digits=2, over_people=False)
    return [replace(made, why=why), replace(peak, why="" if size else "no picture was made by this version")]


def unit(rows: np.ndarray) -> np.ndarray:
    """Of length 1, so that distances of several encoders are of one size."""
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)
