"""Weights at rest: a bundle folder of a quarter of the size, and the way back to an ordinary one.

A packed folder has the layout of the bundle folder that it was made from. Configurations and vocabularies lie there
as they are; each file of weights has become one or several safetensors files of at most `LARGEST` bytes, in which
matrices and convolutions are 8-bit integers with one scale for each output channel, and everything else is in half
precision. `packed.json` lists them with their sha256. `unpack` makes ordinary files of them once per machine, so
that no loader has to know. `training.packing` writes such folders.
"""

import hashlib
import json
import os
import re
import shutil
import tempfile
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path
from typing import Literal

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from ..errors import BundleError
from .weight_files import WEIGHTS

MANIFEST = "packed.json"
FORMAT = 1
LARGEST = 15 * 10**6  # bytes of one file: hosts of repositories begin to complain not far above
UNUSED = 30 * 24 * 3600  # seconds after which what was unpacked of another version is taken away
_HEADER = 200_000  # bytes kept free for a file's own list of tensors
_SCALE = ".int8_scale"
_SHARD = re.compile(r"(?P<stem>.+)\.packed-(?P<number>\d+)\.safetensors")

Precision = Literal["int8", "fp16"]
Arrays = dict[str, np.ndarray]


def is_packed(folder: Path) -> bool:
    """Whether the folder has to be unpacked before it opens as a bundle."""
    return (folder / MANIFEST).is_file()


def unpack(folder: Path, cache: Path) -> Path:
    """Make an ordinary bundle folder of a packed one, in `cache` (whole, or not at all), unless it is there already.
    Then those of other versions go that nobody opened for `UNUSED` seconds.

    Files with 8-bit weights become float32, which numpy makes faster than half precision; others stay as they are.

    Returns:
        The bundle folder. Its name ends in a digest of what was packed: other weights, or another configuration,
        get a folder of their own.

    Raises:
        BundleError: a file is missing or damaged, was packed by a newer version, or `cache` cannot be written.
    """
    home = cache / f"{folder.name}-{_digest(folder)}"
    if (home / "bundle.json").is_file():
        with suppress(OSError):  # a cache that may only be read
            os.utime(home)
        return home
    weights = _listed(folder)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache, prefix=f".{folder.name}-") as workplace:
            unfinished = Path(workplace) / "new"
            for file in _texts(folder):
                copy = unfinished / file.relative_to(folder)
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_bytes(file.read_bytes())
            for name, shards in weights.items():
                arrays: Arrays = {}
                for shard in shards:
                    arrays |= load_file(shard)
                (unfinished / name).parent.mkdir(parents=True, exist_ok=True)
                # Loaders ask for this note: transformers refuses a file without one.
                save_file(_widen(arrays), unfinished / name, metadata={"format": "pt"})
            try:
                os.replace(unfinished, home)
            except OSError:
                if not (
                    home / "bundle.json"
                ).is_file():  # else another process was quicker, with the same files
                    raise
    except SafetensorError as error:
        raise BundleError(f"The weights in {folder} cannot be read: {error}. {_AGAIN}") from error
    except OSError as error:
        raise BundleError(
            f"The bundle in {folder} cannot be unpacked to {home}: {error}. It needs four times its size "
            "there; XDG_CACHE_HOME chooses another place."
        ) from error
    _clear(cache, folder.name)
    return home


def _clear(cache: Path, name: str) -> None:
    versions = (
        each for each in cache.iterdir() if re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", each.name)
    )
    for version in versions:
        if version.stat().st_mtime < time.time() - UNUSED:
            shutil.rmtree(version, ignore_errors=True)


def write_weights(arrays: Arrays, folder: Path, name: str, narrow: set[str]) -> None:
    """Write what is to become the file `name` (relative to `folder`) again, in as many files as it takes.

    Args:
        arrays: float32 by name; integers (positions, say) stay as they are.
        narrow: names of those to keep as 8-bit integers: two or more axes, the first one the output channels.

    Raises:
        BundleError: a tensor alone is larger than a file may be.
    """
    stored: Arrays = {}
    for key in sorted(arrays):
        array = arrays[key]
        if key in narrow:
            stored[key], stored[f"{key}{_SCALE}"] = quantise(array)
        else:
            stored[key] = array.astype(np.float16) if array.dtype == np.float32 else array
    shards: list[Arrays] = [{}]
    room = LARGEST - _HEADER
    for key, array in stored.items():
        if array.nbytes > LARGEST - _HEADER:
            raise BundleError(
                f"{key} of {name} takes {array.nbytes:,} bytes, and no packed file may be larger than {LARGEST:,}: "
                "packing is for small models."
            )
        if array.nbytes > room:
            shards.append({})
            room = LARGEST - _HEADER
        shards[-1][key] = np.ascontiguousarray(array)
        room -= array.nbytes
    place = folder / name
    place.parent.mkdir(parents=True, exist_ok=True)
    for number, shard in enumerate(shards, start=1):
        save_file(shard, place.with_name(f"{place.stem}.packed-{number}.safetensors"))


def write_manifest(folder: Path, precision: Precision) -> None:
    """Write packed.json, once everything else is there."""
    files = {file.relative_to(folder).as_posix(): _sha256(file) for file in _weight_files(folder)}
    manifest = {"format": FORMAT, "precision": precision, "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")


def quantise(array: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 (out, …) → int8 of the same shape, within ±127, and one float32 scale for each output channel.

    The scale is float32 because half precision ends at 6e-8: a ControlNet's outlets begin at zero, and after a
    short training have scales near that.
    """
    rows = array.reshape(len(array), -1)
    scale = np.abs(rows).max(axis=1) / np.float32(127)
    # A row of zeros, or so near to zero that its scale underflows, stays zero under any scale.
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.rint(rows / scale[:, None]).astype(np.int8).reshape(array.shape), scale


def dequantise(array: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """The way back: float32 (out, …), each number off by half a step of its channel's scale at most."""
    return array * scale.reshape(-1, *[1] * (array.ndim - 1))


def _widen(arrays: Arrays) -> Arrays:
    """A file's tensors as a loader wants them: of one precision, whatever they were kept in."""
    if not any(key.endswith(_SCALE) for key in arrays):
        return arrays
    wide: Arrays = {}
    for key, array in arrays.items():
        if f"{key}{_SCALE}" in arrays:
            wide[key] = dequantise(array, arrays[f"{key}{_SCALE}"])
        elif not key.endswith(_SCALE):
            wide[key] = array.astype(np.float32) if array.dtype == np.float16 else array
    return wide


_AGAIN = "Get the repository again, or that file of it (git checkout -- FILE)."


def _listed(folder: Path) -> dict[str, list[Path]]:
    """The files to be made, and of which files, in order; each is as packed.json says."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        made_by, files = manifest["format"], dict(manifest["files"])
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise BundleError(f"{folder / MANIFEST} cannot be read ({error!r}). {_AGAIN}") from error
    if made_by != FORMAT:
        raise BundleError(
            f"{folder} was packed in format {made_by}, this version reads {FORMAT}. Update the program, or pack the "
            "bundle again."
        )
    found: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for name, sha256 in files.items():
        file = folder / name
        match = _SHARD.fullmatch(name)
        if match is None or ".." in file.parts:
            raise BundleError(f"{folder / MANIFEST} lists “{name}”, which is no packed file. {_AGAIN}")
        if not file.is_file():
            raise BundleError(f"{file} is missing. {_AGAIN}")
        if _sha256(file) != sha256:
            raise BundleError(
                f"{file} is not the file that was packed: cut short, changed, or a Git LFS pointer. {_AGAIN}"
            )
        found[f"{match['stem']}.safetensors"].append((int(match["number"]), file))
    return {name: [file for _, file in sorted(shards)] for name, shards in found.items()}


def _digest(folder: Path) -> str:
    """Of all texts, among them the list of the weights: quick to read, and changed by any change."""
    digest = hashlib.sha256()
    for file in (folder / MANIFEST, *_texts(folder)):
        content = file.read_bytes()
        digest.update(f"{file.relative_to(folder).as_posix()} {len(content)} ".encode() + content)
    return digest.hexdigest()[:12]


def _texts(folder: Path) -> list[Path]:
    """What is copied as it is."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and file.suffix not in WEIGHTS and file != folder / MANIFEST
    )


def _weight_files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*.safetensors") if file.is_file())


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
