"""People kept under a name, on request alone: in a visitor's session, or in a folder that the owner names.

What is kept is the embedding of a face with its keypoints, never the photo. An embedding is biometric data: it
knows its person again in any photo, and in many countries the law asks for that person's consent. So nothing is
kept by itself, files are readable by their owner only, `delete` removes them, and `export` gives a person to take
along.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from .people import Portrait

FORMAT_VERSION = 1
MAX_NAME = 60  # characters
MAX_FILE = 65_536  # bytes; one of 512 numbers has 3,500


@dataclass(frozen=True, eq=False)
class SavedPerson:
    """A person kept under a name.

    Args:
        name: 1 to 60 printable characters; spaces around it are dropped. Case does not tell people apart.
        portrait: usable as a reference in place of a photo.
        model: the recognition model that made the embedding, as `FaceFinder.model` says it.
        created: when, in ISO 8601 with the time zone; empty: now.

    Raises:
        InvalidPerson: the name cannot be used.
    """

    name: str
    portrait: Portrait
    model: str
    created: str = ""

    def portrait_for(self, model: str) -> Portrait:
        """The portrait, for an engine whose face models are `model` (`FaceFinder.model`).

        Raises:
            InvalidPerson: it was made by another model, whose embeddings mean nothing to this one.
        """
        raise NotImplementedError


def to_file(person: SavedPerson) -> bytes:
    """What an export holds: JSON in UTF-8, with no pixels."""
    raise NotImplementedError


def from_file(data: bytes, *, name: str = "this file") -> SavedPerson:
    """Read an export.

    Args:
        name: what messages call the file.

    Raises:
        InvalidPerson: it is too large, no export of ours, of another version, or holds what no face is.
    """
    raise NotImplementedError


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
        raise NotImplementedError


class PeopleInMemory(SavedPeople):
    """Forgotten with the object: one per visitor's session. Can be deep-copied, as `gr.State` does."""


class PeopleInFolder(SavedPeople):
    """One file per person, readable by its owner only; the folder is made (mode 0700) by the first `save`.

    Args:
        folder: where; only ever the owner's choice.
    """

    def __init__(self, folder: Path):
        self.folder = folder
