"""What a batch is made of: people out of a folder of photos, prompts out of a text file."""

from dataclasses import dataclass
from pathlib import Path

from ..dotted import Source
from ..errors import InvalidRequest
from ..people import Photo

PHOTOS = {
    *(
        ".avif",
        ".bmp",
        ".gif",
        ".heic",
        ".heif",
        ".jp2",
        ".jpeg",
        ".jpg",
        ".png",
        ".ppm",
        ".tif",
        ".tiff",
        ".webp",
    ),
}  # endings of the files that are taken for photos; others in the folder are passed over


@dataclass(frozen=True)
class Subject:
    """Somebody to make pictures of: a name, and photos or what stands for them."""

    name: str
    references: tuple[Source, ...]


def find_subjects(folder: Path) -> list[Subject]:
    """Who is in a folder: each photo is a person of that file's name, each sub-folder one with several photos.

    Raises:
        InvalidRequest: no such folder, nobody in it, or a sub-folder without photos.
    """
    if not folder.is_dir():
        raise InvalidRequest(f"There is no folder {folder} with photos of faces.")
    subjects = []
    for path in _visible(folder):
        if path.is_dir():
            photos = [each for each in _visible(path) if _is_photo(each)]
            if not photos:
                raise InvalidRequest(f"The folder {path} holds no photos. Add some, or take it away.")
            subjects.append(Subject(path.name, tuple(Photo(image=photo) for photo in photos)))
        elif _is_photo(path):
            subjects.append(Subject(path.stem, (Photo(image=path),)))
    if not subjects:
        raise InvalidRequest(
            f"There are no photos in {folder}. One file, or one folder of files, per person."
        )
    return subjects


def read_prompts(file: Path) -> list[str]:
    """The prompts of a text file in UTF-8, one a line; empty lines and those that begin with # do not count.

    Raises:
        InvalidRequest: the file cannot be read, or holds no prompt.
    """
    try:
        lines = [line.strip() for line in file.read_text(encoding="utf-8-sig").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise InvalidRequest(f"The prompts in {file} cannot be read: {reason}.") from error
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise InvalidRequest(f"There are no prompts in {file}. One a line is wanted.")
    return prompts


def _visible(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if not path.name.startswith("."))


def _is_photo(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() in PHOTOS
