"""What other programs have put into the hub's cache already, such as diffusers: found without asking the hub.

Also home of the choice of files that a place on the hub stands for, which goes by names alone.
"""

import json
import re
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath

from ..errors import DownloadError
from . import weight_files
from .hub_parts import Hub, HubSource, Pinned, repo_folder, size_or_none

ReadIndex = Callable[[str], Path]
_SHARD = re.compile(r".*-\d+-of-(\d+)\.\w+")


def needed(source: HubSource, names: Iterable[str], read_index: ReadIndex) -> list[str]:
    """Which of a repository's files a source stands for.

    Args:
        names: of all the repository's files.
        read_index: brings a model_index.json here, by its name in the repository.

    Raises:
        DownloadError: the repository has no such file, or nothing to load at that place.
    """
    names = list(names)
    if source.inside in names:
        return [source.inside]
    prefix = f"{source.inside}/" if source.inside else ""
    inside = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    if absent := [name for name in source.files if name not in inside]:
        raise DownloadError(f"{source.repo} has no file {', '.join(prefix + name for name in absent)}.")
    chosen = list(source.files)
    if not chosen:
        listed = "model_index.json" in inside and components(read_index(f"{prefix}model_index.json"))
        chosen = weight_files.choose(inside, listed or ())
    if source.only_texts:
        chosen = [name for name in chosen if PurePosixPath(name).suffix in weight_files.TEXTS]
    if not chosen:
        raise DownloadError(
            f"{source.repo} has nothing to load at “{source.inside or 'its root'}”: no such file or folder."
        )
    return [prefix + name for name in chosen]


def components(model_index: Path) -> list[str]:
    """The sub-folders that a model_index.json lists."""
    entries = json.loads(model_index.read_text(encoding="utf-8"))
    return [name for name, value in entries.items() if isinstance(value, list) and value[0]]


def pin_cached(source: HubSource, hub: Hub) -> Pinned | None:
    """The source at the commit that lies in the cache; None unless all that a loader needs is there.

    The cache does not know what else the repository has: whole is what its own indices say is whole.
    """
    if (commit := _commit(source, hub)) is None:
        return None
    snapshot = Pinned(source=source, commit=commit, files={}).snapshot(hub)
    sizes = {
        file.relative_to(snapshot).as_posix(): size
        for file in snapshot.rglob("*")
        if not file.is_dir() and (size := size_or_none(file)) is not None  # a link may lead nowhere
    }
    try:
        chosen = needed(source, sizes, lambda name: snapshot / name)
    except (DownloadError, OSError, ValueError):
        return None
    if source.inside not in sizes and not source.files and not _whole(chosen, source, snapshot):
        return None
    if any(weight_files.find_damage(snapshot / name) for name in chosen):
        return None
    return Pinned(
        source=source, commit=commit, files={name: (sizes[name], _sha256(snapshot / name)) for name in chosen}
    )


def _commit(source: HubSource, hub: Hub) -> str | None:
    folder, revision = repo_folder(source.repo, hub), source.revision or "main"
    if (folder / "snapshots" / revision).is_dir():
        return revision
    try:
        return (folder / "refs" / revision).read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def _whole(chosen: list[str], source: HubSource, snapshot: Path) -> bool:
    """Every listed component is there, a model's configuration has weights beside it, and no shard is missing."""
    root = PurePosixPath(source.inside)
    folders = {str(PurePosixPath(name).parent) for name in chosen}
    index = snapshot / root / "model_index.json"
    if index.is_file() and not {str(root / name) for name in components(index)} <= folders:
        return False
    for folder in folders:
        names = [name for name in chosen if str(PurePosixPath(name).parent) == folder]
        weights = [name for name in names if PurePosixPath(name).suffix in weight_files.WEIGHTS]
        shards = {len(weights) == int(at[1]) for name in weights if (at := _SHARD.fullmatch(name))}
        describes_a_model = str(PurePosixPath(folder) / "config.json") in names
        if False in shards or (describes_a_model and not weights and not source.only_texts):
            return False
    return (
        index.is_file()
        or source.only_texts
        or any(PurePosixPath(n).suffix in weight_files.WEIGHTS for n in chosen)
    )


def _sha256(file: Path) -> str | None:
    """Of a large file: the cache names its content by it."""
    name = file.resolve().name
    return name if re.fullmatch(r"[0-9a-f]{64}", name) else None
