"""The identity report of a data set: its photos of one person each, as `report` wants them."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from ...errors import InvalidRequest
from ...faces.finder import FaceFinder
from .card import REPORT
from .judges import Judge
from .orders import present_shards, read_order
from .report import Report, View, report
from .shards import photos_only, read_shards


def measure_folder(folder: Path, finder: FaceFinder, judges: Sequence[Judge], *, most: int = 200) -> Report:
    """Look at the photos of the first `most` people, and leave the numbers in the folder for its card.

    Pictures in which the face is hidden, or not wholly in the picture, tell nothing and are left out.

    Raises:
        InvalidRequest: the folder is no data set, or too little is in it to compare.
    """
    try:
        measured = report(_views(folder, most), finder, judges)
    except (ValueError, IndexError) as error:
        raise InvalidRequest(
            f"There is too little in {folder} to compare ({error}). Make one with more --people and --views."
        ) from error
    content = {"text": measured.as_text(), **measured.to_json()}
    (folder / REPORT).write_text(json.dumps(content, indent=1), encoding="utf-8")
    return measured


def _views(folder: Path, most: int) -> Iterator[View]:
    def wanted(record: dict) -> bool:
        whole = len(record["figures"]) == 1 and all(record["figures"][0]["face_visible"])
        return photos_only(record) and whole and record["person"] < most

    for sample in read_shards(list(present_shards(folder, read_order(folder))), wanted):
        [figure] = sample.record["figures"]
        yield View(
            person=sample.record["person"],
            group=figure["attributes"]["group"],
            image=sample.image,
            keypoints=np.array(figure["face_keypoints"], np.float32),
            head_angles=tuple(figure["head_angles"]),
        )
