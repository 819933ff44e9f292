"""The pictures of a history, in a folder: each with what its file says of it, how alike its face is, when it came.

Whose it is and how long it stays is for the caller to say: a visitor's own for the time of their visit, or one that
the owner of the machine names. Like the pictures' files it holds no photo that one was made from. It knows files and
records, no pages.
"""

import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from .. import metadata, repeating
from ..errors import InstantIDError, InvalidRequest
from ..images import open_image
from ..metadata import Record
from ..request import SCHEMA_VERSION

logger = logging.getLogger(__name__)

SMALL_SIDE = 320  # pixels of the small pictures: three in a row on a phone, sharp on its screen
NAME = re.compile(r"\d{8}-\d{6}-\d{6}-\d+")  # when it came, to the microsecond, and its seed: sorts by time
UNREADABLE = (InstantIDError, OSError, ValueError, TypeError, LookupError, AttributeError)
GONE = "This picture is no longer in the history: it was deleted, or its file was moved. Choose another one."


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A picture of the history.

    Args:
        name: of its files, without ending.
        made: when it came into the history.
        likeness: as in `Result`, of this picture; None where it is not known, or no face was found.
        record: what its file says about itself.
    """

    name: str
    made: datetime
    likeness: float | None
    record: Record

    @property
    def seed(self) -> int:
        return self.record.settings["seed"]

    def to_json(self) -> dict[str, Any]:
        """Everything but the name, in plain values."""
        about = {"schema": SCHEMA_VERSION, "made": self.made.isoformat(), "likeness": self.likeness}
        return about | self.record.model_dump()


class History:
    """The pictures in a folder, which the first `keep` makes (mode 0700).

    Args:
        folder: where.
        most: how many at once; the oldest give way. None: no limit.

    Raises:
        InvalidRequest, from every method that reads or writes: the folder cannot be used, or the picture is gone.
    """

    def __init__(self, folder: Path, *, most: int | None = None):
        self.folder = folder
        self.most = most
        self._known: dict[str, Entry] = {}  # entries never change, and a folder may hold thousands

    def entries(self) -> list[Entry]:
        """Newest first. What cannot be read is left out, with a line in the log."""
        with explained(self.folder):
            if not self.folder.exists():
                return []
            there = {path.name for path in self.folder.iterdir()}
        names = (name.removesuffix(".json") for name in there if name.endswith(".json"))
        found = sorted((name for name in names if NAME.fullmatch(name)), reverse=True)
        read = {name: self._read(name) for name in found if f"{name}.png" in there}
        self._known = {name: entry for name, entry in read.items() if entry is not None}
        return list(self._known.values())

    def get(self, name: str) -> Entry:
        entry = next((each for each in self.entries() if each.name == name), None)
        if entry is None:
            raise InvalidRequest(GONE)
        return entry

    def keep(self, picture: Path, likeness: float | None = None) -> Entry:
        """Copy a PNG of ours into the history.

        Raises:
            InvalidMetadata: it carries no record.
            InvalidRequest: there is no room, or no permission.
        """
        record = metadata.read(picture)
        small = open_image(picture)
        small.thumbnail((SMALL_SIDE, SMALL_SIDE), Image.Resampling.LANCZOS)
        with explained(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            entry = self._claim(record, likeness)
            try:
                shutil.copyfile(picture, self._path(entry.name, "png.part"))
                os.replace(self._path(entry.name, "png.part"), self._path(entry.name, "png"))
                small.save(self._path(entry.name, "webp"), quality=80)
                self._write(entry)  # last: with it the entry is there
            except OSError:
                self._remove(entry.name)
                raise
        self._make_room()
        return entry

    def delete(self, name: str) -> None:
        """Remove the picture and all that was known of it."""
        self.get(name)
        with explained(self.folder):
            self._remove(name)

    def picture(self, name: str) -> Path:
        """The PNG, with its record."""
        return self._existing(name, "png")

    def small_picture(self, entry: Entry) -> Path:
        """A WebP of up to `SMALL_SIDE` pixels; the PNG where somebody took it away."""
        small = self._path(entry.name, "webp")
        return small if small.exists() else self._existing(entry.name, "png")

    def _claim(self, record: Record, likeness: float | None) -> Entry:
        """An entry whose name is taken from now on, also for other programs on this folder."""
        while True:
            now = datetime.now(UTC)
            name = f"{now:%Y%m%d-%H%M%S-%f}-{record.settings['seed']}"
            try:
                self._path(name, "png").touch(exist_ok=False)
            except FileExistsError:
                continue
            return Entry(
                name=name,
                made=now,
                likeness=None if likeness is None else float(likeness),
                record=record,
            )

    def _write(self, entry: Entry) -> None:
        unfinished = self._path(entry.name, "json.part")
        unfinished.write_text(json.dumps(entry.to_json(), ensure_ascii=False), encoding="utf-8")
        os.replace(unfinished, self._path(entry.name, "json"))

    def _read(self, name: str) -> Entry | None:
        if name in self._known:
            return self._known[name]
        path = self._path(name, "json")
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            made, likeness = datetime.fromisoformat(said.pop("made")), said.pop("likeness")
            # The picture's own record is brought up to date by `metadata`.
            current = said.pop("schema") == SCHEMA_VERSION
            if made.tzinfo is None or not isinstance(likeness, (float, type(None))):
                raise ValueError("a time without its zone, or a likeness that is no number")
            record = Record(**said) if current else metadata.read(self._path(name, "png"))
            repeating.recorded(record)  # no surprises later: all its settings are as a request has them
            return Entry(name=name, made=made, likeness=likeness, record=record)
        except FileNotFoundError:  # deleted in this moment
            return None
        except UNREADABLE as error:
            logger.warning("A picture is left out of the history, %s cannot be read: %s", path, error)
            return None

    def _make_room(self) -> None:
        if self.most is None:
            return
        for entry in self.entries()[self.most :]:
            with explained(self.folder):
                self._remove(entry.name)

    def _remove(self, name: str) -> None:
        # The entry first, then what it stands on.
        for ending in ("json", "json.part", "png", "png.part", "webp"):
            self._path(name, ending).unlink(missing_ok=True)
        self._known.pop(name, None)

    def _existing(self, name: str, ending: str) -> Path:
        path = self._path(name, ending)
        if not path.is_file():
            raise InvalidRequest(GONE)
        return path

    def _path(self, name: str, ending: str) -> Path:
        if not NAME.fullmatch(name):
            raise InvalidRequest(GONE)
        return self.folder / f"{name}.{ending}"


@contextmanager
def explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidRequest(
            f"The history's folder, {folder}, cannot be used: {error.strerror or error}. Make room there, or name a "
            "folder that this program may read and write."
        ) from error
