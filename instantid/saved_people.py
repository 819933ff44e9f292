"""People kept under a name, on request alone: in a visitor's session, or in a folder that the owner names.

What is kept is the embedding of a face with its keypoints, never the photo. An embedding is biometric data: it
knows its person again in any photo, and in many countries the law asks for that person's consent. So nothing is
kept by itself, files are readable by their owner only, `delete` removes them, and `export` gives a person to take
along. (A disk may hold deleted bytes for a while; who must rule that out encrypts the disk.)
"""

import dataclasses
import hashlib
import logging
import os
import re
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from .errors import InvalidPerson
from .saved_person import MAX_FILE as MAX_FILE
from .saved_person import MAX_NAME as MAX_NAME
from .saved_person import SavedPerson as SavedPerson
from .saved_person import from_file, name_key, to_file

logger = logging.getLogger(__name__)

MOST = 1000  # people in one place: whoever opens a public page can save there


class SavedPeople(ABC):
    """A place for saved people. Names are compared without case."""

    @abstractmethod
    def names(self) -> list[str]:
        """In alphabetical order."""

    @abstractmethod
    def get(self, name: str) -> SavedPerson:
        """Raises InvalidPerson where there is none of that name; the message lists those there are."""

    @abstractmethod
    def save(self, person: SavedPerson, *, replace: bool = False) -> None:
        """Raises InvalidPerson where the name is taken and `replace` is False."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove for good. Raises InvalidPerson where there is none of that name."""

    def export(self, name: str) -> bytes:
        """One small JSON file to take along. Raises InvalidPerson where there is none of that name."""
        return to_file(self.get(name))

    def import_(self, data: bytes, *, name: str | None = None, replace: bool = False) -> SavedPerson:
        """Keep the person of an export, under `name` where it is given, and return it.

        Raises:
            InvalidPerson: the file cannot be used, or the name is taken and `replace` is False.
        """
        person = from_file(data)
        if name is not None:
            person = dataclasses.replace(person, name=name)
        self.save(person, replace=replace)
        return person

    def _make_room(self, count: int) -> None:
        if count >= MOST:
            raise InvalidPerson(f"{MOST:,} people are saved here already. Delete some to make room.")

    def _unknown(self, name: str) -> InvalidPerson:
        known = ", ".join(f"“{each}”" for each in self.names())
        return InvalidPerson(
            f"Nobody is saved as “{name[:80]}”. "
            + (f"There are {known}." if known else "Nobody is saved yet.")
        )


class PeopleInMemory(SavedPeople):
    """Forgotten with the object: one per visitor's session. Can be deep-copied, as `gr.State` does."""

    def __init__(self):
        self._people: dict[str, SavedPerson] = {}

    def names(self) -> list[str]:
        return _sorted(person.name for person in self._people.values())

    def get(self, name: str) -> SavedPerson:
        if (person := self._people.get(name_key(name))) is None:
            raise self._unknown(name)
        return person

    def save(self, person: SavedPerson, *, replace: bool = False) -> None:
        if person.key not in self._people:
            self._make_room(len(self._people))
        if replace:
            self._people[person.key] = person
        elif self._people.setdefault(person.key, person) is not person:
            raise _taken(person.name)

    def delete(self, name: str) -> None:
        if self._people.pop(name_key(name), None) is None:
            raise self._unknown(name)


class PeopleInFolder(SavedPeople):
    """One file per person, readable by its owner only; the folder is made (mode 0700) by the first `save`.

    Args:
        folder: where; only ever the owner's choice.

    Raises:
        InvalidPerson, from every method: a file is damaged, or the folder cannot be read or written.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def names(self) -> list[str]:
        with _explained(self.folder):
            paths = sorted(self.folder.iterdir()) if self.folder.exists() else []
        found = []
        for path in paths:
            if path.suffix != ".json":
                continue
            try:
                person = self._read(path)
            except InvalidPerson as error:
                logger.warning("A saved person is left out: %s", error)
                continue
            if path == self._path(person.name):
                found.append(person.name)
            else:
                logger.warning("%s was not put there by this program and is left out. Import it.", path)
        return _sorted(found)

    def get(self, name: str) -> SavedPerson:
        path = self._existing(name)
        person = self._read(path)
        if person.key != name_key(name):
            raise InvalidPerson(f"{path} holds “{person.name}”, not “{name}”. Delete the file.")
        return person

    def save(self, person: SavedPerson, *, replace: bool = False) -> None:
        data, path = to_file(person), self._path(person.name)
        with _explained(self.folder):
            if not self.folder.exists():
                self.folder.mkdir(parents=True, mode=0o700)
            elif os.name == "posix" and self.folder.is_dir() and self.folder.stat().st_mode & 0o077:
                logger.warning("Others can see who is saved in %s. Close it with: chmod 700", self.folder)
            if not path.exists():
                self._make_room(sum(each.suffix == ".json" for each in self.folder.iterdir()))
            with tempfile.NamedTemporaryFile(  # mode 0600
                dir=self.folder, prefix=f".{path.stem}.", suffix=".unfinished", delete=False
            ) as stream:
                unfinished = Path(stream.name)
                try:
                    stream.write(data)
                    stream.flush()
                    os.fsync(stream.fileno())
                    stream.close()
                    if replace:
                        os.replace(unfinished, path)
                    else:
                        _move_to_free_place(unfinished, path)
                except FileExistsError:
                    raise _taken(person.name) from None
                finally:
                    unfinished.unlink(missing_ok=True)

    def delete(self, name: str) -> None:
        path = self._existing(name)
        with _explained(self.folder):
            for left in self.folder.glob(f".{path.stem}.*.unfinished"):  # by a program that was killed
                left.unlink(missing_ok=True)
            path.unlink()

    def _existing(self, name: str) -> Path:
        path = self._path(name)
        with _explained(self.folder):
            if not path.exists():
                raise self._unknown(name)
        return path

    def _path(self, name: str) -> Path:
        """A name that every file system can hold: letters to know it by, and a hash that makes it the only one."""
        key = name_key(name)
        letters = re.sub("[^a-z0-9]+", "-", key)[:40].strip("-")
        return self.folder / f"{letters}-{hashlib.sha256(key.encode()).hexdigest()[:12]}.json"

    def _read(self, path: Path) -> SavedPerson:
        with _explained(self.folder), path.open("rb") as stream:
            return from_file(stream.read(MAX_FILE + 1), name=str(path))


def _move_to_free_place(source: Path, path: Path) -> None:
    """Raises FileExistsError where the place is taken, even if it was taken just now."""
    try:
        os.link(source, path)
    except FileExistsError:
        raise
    except OSError:  # this file system has no hard links (exFAT, some network drives): look, then move
        if path.exists():
            raise FileExistsError(path) from None
        os.replace(source, path)


@contextmanager
def _explained(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InvalidPerson(
            f"The folder of saved people, {folder}, cannot be used: {error.strerror or error}. Name a folder that "
            "this program may read and write."
        ) from error


def _taken(name: str) -> InvalidPerson:
    return InvalidPerson(
        f"Somebody is saved as “{name}” already. Choose another name, or delete that one first."
    )


def _sorted(names: Iterable[str]) -> list[str]:
    return sorted(names, key=lambda name: (name_key(name), name))
