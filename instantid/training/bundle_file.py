"""What a stage tells its bundle's bundle.json: that there is a part now, and where it lies."""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path


def name_part(
    bundle: Path, part: str, source: str, *, instead_of: Collection[str] = (), began_as: str = "base"
) -> None:
    """Name a part that was trained, and so has the licence of the part that it began as: the base, mostly.

    Args:
        part: as in `Bundle.sources`: "style_adapter", "controlnets.canny".
        source: its file or folder inside the bundle's.
        instead_of: parts that it takes the place of.
    """
    file = bundle / "bundle.json"
    described = json.loads(file.read_text(encoding="utf-8"))
    licences = described.setdefault("licences", {})
    licence = licences.get(began_as)
    for old in (part, *instead_of):
        licences.pop(old, None)
        place, name = _place(described, old)
        place.pop(name, None)
    place, name = _place(described, part)
    place[name] = source
    if licence:
        licences[part] = licence
    _write(file, described)


def set_defaults(bundle: Path, values: Mapping[str, float | str]) -> None:
    """Give settings of `Defaults` these values in a bundle of a run's own."""
    described = json.loads((bundle / "bundle.json").read_text(encoding="utf-8"))
    describe(bundle, "defaults", described.get("defaults", {}) | values)


def describe(bundle: Path, field: str, value: object) -> None:
    """Give a field of bundle.json this value."""
    file = bundle / "bundle.json"
    _write(file, json.loads(file.read_text(encoding="utf-8")) | {field: value})


def _place(described: dict, part: str) -> tuple[dict, str]:
    """Where a part is named, and its name there."""
    field, _, name = part.partition(".")
    return (described.setdefault(field, {}), name) if name else (described, field)


def _write(file: Path, described: dict) -> None:
    unfinished = file.with_suffix(".part")
    unfinished.write_text(json.dumps(described, indent=2, ensure_ascii=False), encoding="utf-8")
    os.replace(unfinished, file)
