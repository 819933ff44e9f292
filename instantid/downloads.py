"""Brings files from the Hugging Face hub to this machine: pinned, checked, resumable.

Knows repositories, commits, files and bytes; not what they are for. Files lie in huggingface_hub's own cache,
shared with every other program. Which commit a part was taken from, and how large its files are, is recorded in
a lock file at the first fetch; from then on that commit is used, whatever its publisher does.
"""

import hashlib
import json
import logging
import os
import re
import shutil
import struct
import zipfile
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath

import httpx2
import huggingface_hub
from huggingface_hub import constants, errors, file_download
from huggingface_hub.utils import WeakFileLock, build_hf_headers, tqdm

from .errors import DownloadError

logger = logging.getLogger(__name__)

OnProgress = Callable[[str, int, int], None]
TIMEOUT = 20  # seconds without an answer
SPARE = 256 * 2**20  # bytes to leave free on the disk


@dataclass(frozen=True, kw_only=True)
class Hub:
    """Which hub, and where its cache lies. None: huggingface_hub's own choice (HF_ENDPOINT, HF_HUB_CACHE)."""

    endpoint: str | None = None
    cache: Path | None = None

    @property
    def folder(self) -> Path:
        """The cache in use."""
        return Path(self.cache or constants.HF_HUB_CACHE)


@dataclass(frozen=True, kw_only=True)
class HubSource:
    """A place in a hub repository: `inside` is a folder or a file ("" is the whole repository), `files` names some
    files of that folder (empty: those that a loader needs), `revision` a branch, tag or commit."""

    repo: str
    inside: str = ""
    files: tuple[str, ...] = ()
    revision: str | None = None


_SOURCE = re.compile(
    r"(?P<repo>[\w.-]+/[\w.-]+)(?P<inside>(?:/[\w .+=-]+)*?)(?:/\{(?P<files>[^{}/]+)\})?(?:@(?P<revision>[\w./-]+))?"
)


def parse(source: str) -> HubSource | None:
    """Read `owner/repo[/folder][/file][@revision]` or `owner/repo[/folder]/{file,file}[@revision]`.

    Returns None for what can only be a path: absolute, beginning with a dot or ~, or of one word.
    """
    match = _SOURCE.fullmatch(source)
    if match is None or source.startswith("."):
        return None
    files = tuple(name.strip() for name in (match["files"] or "").split(",") if name.strip())
    return HubSource(
        repo=match["repo"], inside=match["inside"].strip("/"), files=files, revision=match["revision"]
    )


@dataclass(frozen=True, kw_only=True)
class Pinned:
    """A source at one commit. `files`: path in the repository → (bytes, sha256 or None where the hub has none)."""

    source: HubSource
    commit: str
    files: dict[str, tuple[int, str | None]]

    @property
    def size(self) -> int:
        """In bytes."""
        return sum(size for size, _ in self.files.values())

    def snapshot(self, hub: Hub) -> Path:
        """The folder of this commit in the cache."""
        return hub.folder / f"models--{self.source.repo.replace('/', '--')}" / "snapshots" / self.commit

    def missing(self, hub: Hub) -> list[str]:
        """Files that are not here, or not whole."""
        folder = self.snapshot(hub)
        return [name for name, (size, _) in self.files.items() if _size(folder / name) != size]


def locate(part: str, source: HubSource, *, lock: Path, hub: Hub, remedy: str) -> Path:
    """The local file or folder of a part that has been fetched; `remedy` is what to run when it has not."""
    pinned = _read_lock(lock).get(part)
    if pinned is None or pinned.source != source:
        raise DownloadError(f"The {part} ({source.repo}) has not been fetched yet. Run: {remedy}")
    if missing := pinned.missing(hub):
        raise DownloadError(
            f"The {part} ({source.repo}) is here only in part: {', '.join(missing)} missing or cut short in "
            f"{pinned.snapshot(hub)}. Run: {remedy}"
        )
    return pinned.snapshot(hub) / source.inside


def known_size(part: str, source: object, *, lock: Path | None) -> int | None:
    """Bytes of a part that the lock file knows of, or None."""
    pinned = _read_lock(lock).get(part) if lock else None
    return pinned.size if pinned and pinned.source == source else None


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(
        file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
    )


def find_damage(path: Path) -> str | None:
    """One sentence about a weight file in `path` that is empty or cut short, or None. Reads headers only."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.suffix in _WEIGHTS and (size := file.stat().st_size) < (wanted := _expected_size(file)):
            return f"{file} is cut short: it has {size:,} bytes and needs {wanted:,}."
    return None


def fetch(sources, *, lock, hub, on_progress=None) -> None:
    raise NotImplementedError


_WEIGHTS = {".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".onnx"}


def _expected_size(file: Path) -> int:
    """Bytes a weight file says it has; at least one more than it has when it is cut short."""
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if file.suffix == ".safetensors" and len(head) == 8:
            length = struct.unpack("<Q", head)[0]
            if 8 + length > size:
                return 8 + length
            tensors = json.loads(stream.read(length))
            ends = [entry["data_offsets"][1] for name, entry in tensors.items() if name != "__metadata__"]
            return 8 + length + max(ends, default=0)
    # torch.save writes a zip, whose directory comes last: without it, the end is missing.
    if size < 8 or (head.startswith(b"PK") and not zipfile.is_zipfile(file)):
        return size + 1
    return size


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def _read_lock(path: Path) -> dict[str, Pinned]:
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["parts"]
        return {
            part: Pinned(
                source=HubSource(**entry["source"] | {"files": tuple(entry["source"]["files"])}),
                commit=entry["commit"],
                files={name: (at["size"], at["sha256"]) for name, at in entry["files"].items()},
            )
            for part, entry in entries.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DownloadError(
            f"The lock file {path} cannot be read ({error!r}). Delete it and fetch again."
        ) from error
