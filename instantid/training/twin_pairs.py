"""Twins among prepared pictures."""

import numpy as np

from .people.looks import PHOTO
from .people.twins import is_second
from .prepared import Prepared


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


def scenes_of(prepared: Prepared, shown: np.ndarray) -> np.ndarray:
    """The twins, (n, 2), of which these pictures are one or the other."""
    scenes = {prepared.records[i].get("twin") for i in shown.tolist()} - {None}
    return twins_of(
        prepared, np.array([i for i, record in enumerate(prepared.records) if record.get("twin") in scenes])
    )
