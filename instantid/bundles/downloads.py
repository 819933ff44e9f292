"""Brings files from the Hugging Face hub to this machine: pinned, checked, resumable.

Knows repositories, commits, files and bytes; not what they are for.
"""

import hashlib
import logging
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx2
import huggingface_hub
from huggingface_hub import constants, errors, file_download
from huggingface_hub.utils import WeakFileLock, build_hf_headers, tqdm

from ..errors import DownloadError
from . import hub_cache
from .hub_parts import Hub, HubSource, Pinned, read_lock, size_or_none, write_lock

logger = logging.getLogger(__name__)

OnProgress = Callable[[str, int, int], None]
TIMEOUT = 20  # seconds without an answer
SPARE = 256 * 2**20  # bytes to leave free on the disk


def fetch(
    sources: Mapping[str, HubSource],
    *,
    lock: Path,
    hub: Hub,
    on_progress: OnProgress | None = None,
    check: Callable[[Pinned], None] | None = None,
) -> None:
    """Bring parts here that are missing or not whole. What was interrupted goes on where it stopped.

    Args:
        sources: by part.
        lock: the file that remembers commits and sizes, written as soon as they are known.
        on_progress: called with (part, bytes done, bytes in all); without it, progress bars go to stderr.
        check: looks at what a source stands for before it is pinned, and raises to refuse it.

    Raises:
        DownloadError: no network, no space, no permission, no such file, or damaged on the way.
    """
    pins = read_lock(lock)
    for part, source in sources.items():
        if part not in pins or pins[part].source != source:
            pinned = _pin(source, hub)
            if check:
                check(pinned)
            pins[part] = pinned
            write_lock(lock, pins)
    wanted = {part: pins[part] for part in sources}
    _check_space(wanted.values(), hub)
    for part, pinned in wanted.items():
        with explained(pinned.source.repo):
            _bring(part, pinned, hub, on_progress)


def _pin(source: HubSource, hub: Hub) -> Pinned:
    """Choose the commit: the one whose files another program has left in the cache whole, else the hub's newest."""
    here = hub_cache.pin_cached(source, hub)
    try:
        with explained(source.repo):
            newest = _ask(source, hub)
    except DownloadError as error:
        if here is None:
            raise
        logger.warning("%s is taken from the cache, at commit %s. %s", source.repo, here.commit, error)
        return here
    if here is not None and newest.missing(hub):
        logger.info("%s is taken from the cache, at commit %s.", source.repo, here.commit)
        return here
    logger.info("%s is taken at commit %s: %d files.", source.repo, newest.commit, len(newest.files))
    return newest


def _ask(source: HubSource, hub: Hub) -> Pinned:
    """Ask the hub which commit the source is at, which of its files are needed and how large they are."""
    api = huggingface_hub.HfApi(endpoint=hub.endpoint)
    info = api.model_info(source.repo, revision=source.revision, files_metadata=True, timeout=TIMEOUT)
    known = {
        file.rfilename: (file.size, file.lfs.sha256 if file.lfs else None)
        for file in info.siblings
        if ".." not in file.rfilename.split("/")  # git allows none; a mirror that means harm might
    }

    def read_index(name: str) -> Path:
        path = file_download.hf_hub_download(
            source.repo, name, revision=info.sha, cache_dir=hub.folder, endpoint=hub.endpoint
        )
        return Path(path)

    names = hub_cache.needed(source, known, read_index)
    return Pinned(source=source, commit=info.sha, files={name: known[name] for name in names})


def _check_space(pins: Iterable[Pinned], hub: Hub) -> None:
    needed = sum(
        pinned.files[name][0] - (size_or_none(_partial(pinned, name, hub)) or 0)
        for pinned in pins
        for name in pinned.missing(hub)
    )
    disk = next(folder for folder in (hub.folder, *hub.folder.absolute().parents) if folder.exists())
    free = shutil.disk_usage(disk).free
    if needed and needed + SPARE > free:
        raise DownloadError(
            f"Not enough disk space: {needed / 1e9:.2f} GB are still to be fetched into {hub.folder}, which has "
            f"{free / 1e9:.2f} GB free. Free some, or set HF_HOME to a folder on a larger disk."
        )


def _bring(part: str, pinned: Pinned, hub: Hub, on_progress: OnProgress | None) -> None:
    missing = set(pinned.missing(hub))
    done = 0
    for name, (size, sha256) in pinned.files.items():
        if name in missing:
            # The bound `done` is what lies here of the files before this one.
            bar = _reporting_bar(on_progress, part, done, pinned.size) if on_progress else None
            _clear(pinned.snapshot(hub) / name)
            if sha256:
                _download_in_pieces(pinned, name, hub, bar)
            file_download.hf_hub_download(
                pinned.source.repo,
                name,
                revision=pinned.commit,
                cache_dir=hub.folder,
                endpoint=hub.endpoint,
                tqdm_class=bar,
            )
            if size_or_none(pinned.snapshot(hub) / name) != size:
                raise DownloadError(f"{name} of {pinned.source.repo} arrived damaged. Fetch again.")
        done += size
        if on_progress:
            on_progress(part, done, pinned.size)


def _download_in_pieces(pinned: Pinned, name: str, hub: Hub, bar: type[tqdm] | None) -> None:
    """Put a large file into the cache. huggingface_hub 2 throws away what it has when a download breaks off
    (huggingface_hub#4228); this keeps it beside the cache's own files and goes on from there."""
    size, sha256 = pinned.files[name]
    partial = _partial(pinned, name, hub)
    blob = partial.with_name(sha256)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(f"{partial}.lock"):
        if size_or_none(blob) == size:
            return
        if (size_or_none(partial) or 0) > size:
            partial.unlink()  # or the hub would be asked for bytes past the end, now and for ever
        with partial.open("ab") as stream:
            file_download.http_get(
                file_download.hf_hub_url(
                    pinned.source.repo, name, revision=pinned.commit, endpoint=hub.endpoint
                ),
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers() | {"Accept-Encoding": "identity"},
                expected_size=size,
                displayed_filename=name,
                tqdm_class=bar,
            )
        with partial.open("rb") as stream:
            found = hashlib.file_digest(stream, "sha256").hexdigest()
        if found != sha256:
            partial.unlink()
            raise DownloadError(
                f"{name} of {pinned.source.repo} was damaged on the way: its sha256 is {found}, the hub says "
                f"{sha256}. It has been removed; fetch again."
            )
        os.replace(partial, blob)
    Path(f"{partial}.lock").unlink(missing_ok=True)


def _partial(pinned: Pinned, name: str, hub: Hub) -> Path:
    """Where a large file gathers until it is whole, named by its hash: another commit's file is another one."""
    sha256 = pinned.files[name][1] or "no-hash"
    return pinned.snapshot(hub).parent.parent / "blobs" / f"{sha256}.instantid-part"


def _clear(path: Path) -> None:
    """Remove a file that is not whole, and what it points to in the cache."""
    if path.exists():
        path.resolve().unlink()
    path.unlink(missing_ok=True)


def _reporting_bar(on_progress: OnProgress, part: str, before: int, total: int) -> type[tqdm]:
    """A progress bar that shows nothing and tells `on_progress`."""

    class Bar(tqdm):
        def __init__(self, *arguments, initial: int = 0, **options):
            super().__init__(*arguments, **options | {"disable": True})
            self.here = before + initial

        def update(self, n: int = 1) -> None:
            self.here += n
            on_progress(part, self.here, total)

    return Bar


@contextmanager
def explained(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into words that say what to do."""
    try:
        yield
    except errors.GatedRepoError as error:
        raise DownloadError(
            f"{repo} is gated: ask for access at {constants.ENDPOINT}/{repo}, then log in with `hf auth login` or "
            "set HF_TOKEN, and fetch again."
        ) from error
    except errors.RevisionNotFoundError as error:
        raise DownloadError(
            f"{repo} no longer has the commit or revision that is asked for. Correct bundle.json, or delete the "
            "part's entry in the lock file to take the newest."
        ) from error
    except (errors.HfHubHTTPError, errors.HFValidationError) as error:
        raise DownloadError(_refusal(repo, error)) from error
    except (httpx2.TransportError, errors.OfflineModeIsEnabled, errors.LocalEntryNotFoundError) as error:
        raise DownloadError(
            f"The hub cannot be reached for {repo} ({error}). Check the network, unset HF_HUB_OFFLINE, or set "
            "HF_ENDPOINT to a mirror. To work offline, copy the hub's cache and the lock file from a machine that "
            "has them, or use a bundle folder with the files inside. What has arrived is kept: fetch again to go on."
        ) from error
    except OSError as error:
        raise DownloadError(f"{repo} cannot be stored: {error} Fetch again when that is mended.") from error


def _refusal(repo: str, error: Exception) -> str:
    status = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else 404
    if status in (401, 403):
        return (
            f"The hub does not show {repo} ({status}): it is private, or there is none of that name, or the token "
            "is not valid. Check the name, then log in with `hf auth login` or set HF_TOKEN."
        )
    if status == 404:
        return f"The hub has no {repo}, or not that file of it (404). Check the name in bundle.json."
    return f"The hub could not serve {repo} (it answered {status}). Try again later, or set HF_ENDPOINT to a mirror."
