"""What is read out of a history: the entries that match, what two pictures differ in, a zip to take along."""

import json
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import InvalidRequest
from ..metadata import Record
from .store import Entry, History, explained


def matching(entries: Sequence[Entry], words: str = "", likeness: float = 0.0) -> list[Entry]:
    """Those that have all the words in their prompt, style, seed, recipe, base model or bundle.

    Case does not count, and the start of a word is enough.

    Args:
        likeness: the least there may be; above 0, pictures of which it is not known are left out.
    """
    wanted = words.casefold().split()
    return [
        entry
        for entry in entries
        if (likeness <= 0 or (entry.likeness is not None and entry.likeness >= likeness))
        and all(re.search(rf"\b{re.escape(word)}", _searched(entry)) for word in wanted)
    ]


def flat(record: Record) -> dict[str, Any]:
    """All that a record says, by dotted name: the settings, then its pictures, weights, bundle and libraries.

    A picture's value is its print. Names are those of `dotted`; the last two begin with "bundle" and "versions".
    """
    settings = dict(_leaves(record.settings, ""))
    prints = {name: tuple(print_.items()) for name, print_ in record.pictures.items()}
    files = {f"{name}.file": print_ for name, print_ in record.weights.items()}
    rest = {
        f"{kind}.{name}": value
        for kind in ("bundle", "versions")
        for name, value in getattr(record, kind).items()
    }
    return settings | prints | files | rest


def differences(first: Record, second: Record) -> list[tuple[str, Any, Any]]:
    """(dotted name, the first's value, the second's) of all in which they differ; None for what one has not."""
    one, other = flat(first), flat(second)
    names = list(one | other)
    return [(name, one.get(name), other.get(name)) for name in names if one.get(name) != other.get(name)]


def pack(history: History, entries: Sequence[Entry], archive: Path) -> int:
    """Write a zip of the PNGs, which carry their records, and of `history.json`, which lists them; the count.

    Pictures that have gone meanwhile are left out.

    Raises:
        InvalidRequest: none of them is there any longer, or the zip cannot be written.
    """
    rows = []
    with explained(archive.parent), zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as packed:
        for entry in entries:
            try:
                packed.write(history.picture(entry.name), f"{entry.name}.png")  # PNGs do not get smaller
            except (InvalidRequest, FileNotFoundError):
                continue
            rows.append({"file": f"{entry.name}.png"} | entry.to_json())
        packed.writestr("history.json", json.dumps(rows, ensure_ascii=False, indent=1))
    if not rows:
        raise InvalidRequest(
            "There is nothing to export: no picture is shown, or their files are gone. Change the filter, or make "
            "a picture first."
        )
    return len(rows)


def _searched(entry: Entry) -> str:
    settings = entry.record.settings
    said = [settings.get(name) for name in ("prompt", "style", "seed", "base", "recipe")]
    return " ".join(
        str(each) for each in (*said, entry.record.bundle.get("name")) if each is not None
    ).casefold()


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Records and lists of records are gone into; a list of plain values is one value, an empty one none."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from _leaves(each, f"{name}.{key}".lstrip("."))
    elif isinstance(value, list) and any(isinstance(each, Mapping) for each in value):
        for i, each in enumerate(value):
            yield from _leaves(each, f"{name}.{i}")
    elif name.endswith(".references"):
        yield from ((f"{name}.{i}", each) for i, each in enumerate(value))
    elif value != []:
        yield name, value
