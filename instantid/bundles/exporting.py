"""Writes a bundle into one folder that needs no hub, no cache and no network: for machines without any."""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from ..errors import BundleError
from . import hub_parts, weight_files
from .bundle import SET_HERE, Bundle, FaceModels
from .face_files import SHA256
from .fetching import essential_parts, licence_notice
from .hub_cache import components
from .hub_parts import HubSource

SPARE = 256 * 2**20  # bytes to leave free on the disk


def export(bundle: Bundle, folder: Path) -> tuple[str, ...]:
    """Copy what is here of a bundle into `folder`, which then opens as a bundle anywhere.

    Only files that a loader needs are copied, half precision where there is a choice, as a fetch takes. The licences
    go along, in bundle.json and in LICENCES.md.

    Returns:
        The names of the parts that were copied; others of the bundle are not here.

    Raises:
        BundleError: an essential part is not here, the folder is in use, or the disk has no room.
    """
    here = {status.name: status.path for status in bundle.parts() if status.present}
    if missing := [part for part in essential_parts(bundle) if part not in here]:
        raise BundleError(
            f"The bundle “{bundle.name}” is not all here: {', '.join(missing)} missing. Run: {bundle.fetch_command()}"
        )
    refuse_used_folder(folder)
    plan = {part: dict(files_of(bundle, part, path)) for part, path in here.items()}
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _check_space(
            sum(file.stat().st_size for files in plan.values() for file in files.values()), folder.parent
        )
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as workplace:
            unfinished = Path(workplace) / "new"
            for part, files in plan.items():
                for name, file in files.items():
                    copy = unfinished / _home(part) / name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, copy)
            _describe(bundle, here, unfinished)
            if folder.exists():
                folder.rmdir()
            os.replace(unfinished, folder)
    except OSError as error:
        raise BundleError(f"The bundle cannot be written to {folder}: {error}") from error
    return tuple(here)


def refuse_used_folder(folder: Path) -> None:
    """Raise a BundleError unless `folder` can be written to: it is empty, or does not exist yet."""
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f"{folder} is in use. Choose a folder that is empty or does not exist yet.")


def _home(part: str) -> Path:
    return Path(*part.split("."))


def files_of(bundle: Bundle, part: str, path: Path) -> Iterator[tuple[str, Path]]:
    """The files of a part that a loader needs, by their names inside it; `path` is what `require` says."""
    place = bundle.place(part)
    if path.is_file():
        yield path.name, path
    elif isinstance(place, HubSource):
        pinned = hub_parts.read_lock(bundle.lock)[part]
        for name in pinned.files:
            file = pinned.snapshot(bundle.hub) / name
            yield file.relative_to(path).as_posix(), file
    else:
        names = [file.relative_to(path).as_posix() for file in path.rglob("*") if file.is_file()]
        listed = components(path / "model_index.json") if "model_index.json" in names else ()
        for name in SHA256 if bundle.carries_opencv(part) else weight_files.choose(names, listed):
            if part != "base_config" or PurePosixPath(name).suffix in weight_files.TEXTS:
                yield name, path / name


def _describe(bundle: Bundle, here: dict[str, Path], folder: Path) -> None:
    """Write bundle.json, whose parts lie inside, and LICENCES.md, which says where they came from."""
    inside = {
        part: (_home(part) / path.name if path.is_file() else _home(part)).as_posix()
        for part, path in here.items()
    }
    description: dict[str, object] = {}
    for field, value in bundle.model_dump(exclude=SET_HERE, exclude_none=True).items():
        if isinstance(getattr(bundle, field), FaceModels):
            if field in inside:
                description[field] = value | {"path": inside[field]}
        elif field in inside:
            description[field] = inside[field]
        elif any(part.startswith(f"{field}.") for part in bundle.sources):
            description[field] = {name: inside[at] for name in value if (at := f"{field}.{name}") in inside}
        elif field not in bundle.sources:
            description[field] = value
    (folder / "bundle.json").write_text(
        json.dumps(description, indent=2, ensure_ascii=False), encoding="utf-8"
    )
    (folder / "LICENCES.md").write_text(licence_notice(bundle, here) + "\n", encoding="utf-8")


def _check_space(needed: int, place: Path) -> None:
    free = shutil.disk_usage(place).free
    if needed + SPARE > free:
        raise BundleError(
            f"Not enough disk space: the bundle takes {needed / 1e9:.2f} GB, and {place} has "
            f"{free / 1e9:.2f} GB free."
        )
