"""People saved by name, for the commands that use them."""

from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import BundleError, InvalidRequest
from ..people import Portrait

if TYPE_CHECKING:
    from ..faces import FaceFinder
    from ..saved_people import PeopleInFolder, SavedPerson


def open_folder(folder: Path | None) -> "PeopleInFolder":
    """The people saved in a folder that the user named.

    Raises:
        InvalidRequest: none was named.
    """
    from ..saved_people import PeopleInFolder

    if folder is None:
        raise InvalidRequest(
            "Where are people saved? Name the folder as --people-folder, or set INSTANTID_PEOPLE."
        )
    return PeopleInFolder(folder)


class Used:
    """The saved people that a request names: `used("ada")` is what stands for her photos."""

    def __init__(self, folder: Path | None):
        self._folder = folder
        self._people: list[SavedPerson] = []

    def __call__(self, name: str) -> Portrait:
        self._people.append(open_folder(self._folder).get(name))
        return self._people[-1].portrait

    def check(self, bundle: str) -> None:
        """Refuse people who were saved with other face models than the bundle's."""
        if self._people:
            model = load_finder(bundle).model
            for person in self._people:
                person.portrait_for(model)


def load_finder(bundle: str) -> "FaceFinder":
    """The face models of a bundle, on the CPU."""
    from .. import faces, hosting

    opened = hosting.open_bundle(bundle)
    if opened.faces is None:
        raise BundleError(f"The bundle “{opened.name}” has no face model: choose another --bundle.")
    return faces.load_finder(opened.faces.kind, opened.require("faces"))
