"""People saved by name, for the commands that use them."""

from collections.abc import Callable
from pathlib import Path

from ..people import Portrait


def opener(folder: Path | None) -> Callable[[str], Portrait] | None:
    """Name → portrait out of that folder; None without a folder."""
    if folder is None:
        return None
    from ..saved_people import PeopleInFolder

    people = PeopleInFolder(folder)
    return lambda name: people.get(name).portrait
