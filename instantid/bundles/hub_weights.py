"""Single weights from the hub beside the bundle's parts: LoRAs, checkpoints, VAEs, embeddings, pinned like parts."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from ..errors import BundleError, DownloadError
from . import downloads, hub_cache, hub_parts, weight_files, weight_kinds
from .hub_parts import Hub, HubSource
from .opening import default_cache


def fetch_weights(
    sources: Sequence[str],
    *,
    hub: Hub | None = None,
    cache: Path | None = None,
    on_progress: downloads.OnProgress | None = None,
) -> list[Path]:
    """Bring files or repositories here; returns where they lie.

    Args:
        sources: `owner/repo[/folder][/file][@revision]`.
        cache: where the lock file lies; `default_cache()` unless given.
        on_progress: called with (source, bytes done, bytes in all); without it, progress bars go to stderr.

    Raises:
        BundleError: a source is no place on the hub, or a .ckpt.
        DownloadError: no network, no space, no permission, no such file, or a repository of many weights.
    """
    hub, lock = hub or Hub(), _lock(cache)
    places = {source: _place(source) for source in sources}
    downloads.fetch(places, lock=lock, hub=hub, on_progress=on_progress, check=_check_one)
    return [_located(source, place, lock, hub) for source, place in places.items()]


def find_weights(source: str, *, hub: Hub | None = None, cache: Path | None = None) -> Path:
    """The local file or folder of a place on the hub. Never downloads: what is not here is an error that says how.

    Raises:
        BundleError: the source is no place on the hub, or a .ckpt.
        DownloadError: it has not been fetched, neither by this program nor by another one.
    """
    hub, lock, place = hub or Hub(), _lock(cache), _place(source)
    if source not in hub_parts.read_lock(lock) and (pinned := hub_cache.pin_cached(place, hub)) is not None:
        _check_one(pinned)
        return _file_in(pinned.snapshot(hub) / place.inside)
    return _located(source, place, lock, hub)


def _lock(cache: Path | None) -> Path:
    return (cache or default_cache()) / "weights.lock.json"


def _place(source: str) -> HubSource:
    if (place := hub_parts.parse(source)) is None:
        raise BundleError(
            f"“{source}” is no place on the hub. Those are written owner/repo/file.safetensors."
        )
    if place.inside.endswith(".ckpt"):
        weight_kinds.refuse_pickle(Path(place.inside))
    return place


def _located(source: str, place: HubSource, lock: Path, hub: Hub) -> Path:
    remedy = shlex.join(["python", "-m", "instantid", "fetch", "--weights", source])
    return _file_in(hub_parts.locate(source, place, lock=lock, hub=hub, remedy=remedy))


def _file_in(path: Path) -> Path:
    """The one file of weights in a folder that is no model of many parts, or the folder."""
    if path.is_dir() and not any((path / name).is_file() for name in ("model_index.json", "config.json")):
        files = [file for file in path.iterdir() if file.suffix in weight_files.WEIGHTS]
        return files[0] if len(files) == 1 else path
    return path


def _check_one(pinned: hub_parts.Pinned) -> None:
    """A repository may hold dozens of LoRAs; which of them is meant has to be said."""
    weights = [name for name in pinned.files if Path(name).suffix in weight_files.WEIGHTS]
    is_model = any(Path(name).name in ("model_index.json", "config.json") for name in pinned.files)
    if len(weights) > 1 and not is_model:
        raise DownloadError(
            f"{pinned.source.repo} holds {len(weights)} files of weights. Say which one: "
            + ", ".join(f"{pinned.source.repo}/{name}" for name in sorted(weights)[:12])
            + (" …" if len(weights) > 12 else ".")
        )
