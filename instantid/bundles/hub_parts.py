"""What lies here of the hub's repositories: places on the hub, the commits they are pinned at, their local files.

Knows no network. Files lie in huggingface_hub's own cache, shared with every other program. Which commit a part
was taken from, and how large its files are, is recorded in a lock file at the first fetch; from then on that
commit is used, whatever its publisher does.
"""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from huggingface_hub import constants

from ..errors import DownloadError


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
    files of that folder (empty: those that a loader needs), `revision` a branch, tag or commit. `only_texts` leaves
    the weights out: configurations and vocabularies are wanted alone."""

    repo: str
    inside: str = ""
    files: tuple[str, ...] = ()
    revision: str | None = None
    only_texts: bool = False


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
        return repo_folder(self.source.repo, hub) / "snapshots" / self.commit

    def missing(self, hub: Hub) -> list[str]:
        """Files that are not here, or not whole."""
        folder = self.snapshot(hub)
        return [name for name, (size, _) in self.files.items() if size_or_none(folder / name) != size]


def repo_folder(repo: str, hub: Hub) -> Path:
    """Where the cache keeps a repository."""
    return hub.folder / f"models--{repo.replace('/', '--')}"


def locate(part: str, source: HubSource, *, lock: Path, hub: Hub, remedy: str) -> Path:
    """The local file or folder of a part that has been fetched; `remedy` is what to run when it has not."""
    pinned = read_lock(lock).get(part)
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
    pinned = read_lock(lock).get(part) if lock else None
    return pinned.size if pinned and pinned.source == source else None


def size_of(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    return sum(
        file.stat().st_size for file in ([path] if path.is_file() else path.rglob("*")) if file.is_file()
    )


def size_or_none(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def read_lock(path: Path) -> dict[str, Pinned]:
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


def write_lock(path: Path, pins: Mapping[str, Pinned]) -> None:
    entries = {
        part: {
            "source": asdict(pinned.source),
            "commit": pinned.commit,
            "files": {
                name: {"size": size, "sha256": sha256} for name, (size, sha256) in pinned.files.items()
            },
        }
        for part, pinned in pins.items()
    }
    unfinished = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(json.dumps({"version": 1, "parts": entries}, indent=2), encoding="utf-8")
        os.replace(unfinished, path)
    except OSError as error:
        raise DownloadError(f"The lock file {path} cannot be written: {error}") from error
