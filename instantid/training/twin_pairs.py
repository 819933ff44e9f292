"""Twins of prepared pictures, and what is said of them in brief."""

import numpy as np
import torch

from .people.looks import PHOTO
from .people.twins import is_second
from .prepared import Prepared
from .things import phrases_of

SPOKEN_OF = 0.4  # how often brief captions say something of hair, of the place and so on
WITH = ("hair", "glasses")  # what one is “with”


def twins_of(prepared: Prepared, chosen: np.ndarray) -> np.ndarray:
    """(n, 2) pictures, of which each two are twins; without those in whose first no face was found."""
    firsts: dict[str, int] = {}
    seconds: dict[str, int] = {}
    for i in chosen.tolist():
        record = prepared.records[i]
        if "twin" in record and record["look"] == PHOTO:
            place = seconds if is_second(record) else firsts
            place[record["twin"]] = i
    pairs = [(i, seconds[scene]) for scene, i in firsts.items() if scene in seconds and prepared.found[i]]
    return np.array(pairs, np.int64).reshape(-1, 2)


def brief_caption(record: dict) -> str:
    """The subject and some of what there is to be said of it, in any order: as people write prompts."""
    said = []
    for group, phrases in phrases_of(record).items():
        phrase = phrases[int(torch.randint(len(phrases), ()))] if phrases else ""
        if phrase and float(torch.rand(())) < SPOKEN_OF:
            said.append(f"with {phrase}" if group in WITH else phrase)
    joints = [(" ", ", ")[int(torch.randint(2, ()))] for _ in said]
    parts = [joint + said[i] for joint, i in zip(joints, torch.randperm(len(said)).tolist(), strict=True)]
    subject = record["captions"]["terse"].removesuffix(", photo")
    return subject + "".join(parts)


def scenes_of(prepared: Prepared, shown: np.ndarray) -> np.ndarray:
    """The twins, (n, 2), of which these pictures are one or the other."""
    scenes = {prepared.records[i].get("twin") for i in shown.tolist()} - {None}
    return twins_of(
        prepared, np.array([i for i, record in enumerate(prepared.records) if record.get("twin") in scenes])
    )
