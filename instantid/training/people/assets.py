"""The meshes, shapes and textures people are made of, fetched once and then read from the cache."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from instantid.errors import DownloadError

from .fetching import SOURCES, Report, assets_folder, download
from .unpacking import unpack

FORMAT = "made-3"
"""Changes whenever `unpack` writes other files."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Mesh:
    """A mesh that is fitted onto the body: vertices = Σ mix · body[ref] + offset. V vertices, F triangles."""

    name: str
    ref: np.ndarray  # (V, 3) int32
    mix: np.ndarray  # (V, 3) float32
    offset: np.ndarray  # (V, 3) float32 metres
    faces: np.ndarray  # (F, 3) int32
    uv: np.ndarray  # (F, 3, 2) float32, v up
    weights: np.ndarray  # (V, joints) float32
    neighbours: np.ndarray  # (V, most) int32, faces at each vertex, padded with F
    hides: np.ndarray  # (body vertices,) bool: skin under it, not drawn


@dataclass(frozen=True, kw_only=True, eq=False)
class Assets:
    """Everything fetched, as numpy arrays. The names in it are those that descriptions use."""

    body: dict[str, np.ndarray]
    rows: np.ndarray
    """(rows, body vertices * 3) float16, metres: how each shape moves the body; a mapping of the file."""
    shapes: dict[str, tuple[int, int]]
    """The rows of each shape's negative and positive side, -1 where there is none."""
    expressions: dict[str, int]
    macro: dict[str, int]
    meshes: dict[str, Mesh]
    """By “kind/name”: eyes/Low-Poly, hair/short01, garments/fedora, brows/…, lashes/…, beards/…, teeth/Teeth_Base."""
    textures: dict[str, dict[str, float]]
    texels: np.ndarray
    """(texels, 4) uint8 RGBA; a mapping of the file."""

    def _names(self, kind: str, of: dict[str, object]) -> tuple[str, ...]:
        return tuple(name.split("/", 1)[1] for name in of if name.startswith(kind + "/"))

    @property
    def skins(self) -> tuple[str, ...]:
        """Like young_asian_female."""
        return self._names("skins", self.textures)

    @property
    def eyes(self) -> tuple[str, ...]:
        """Like brown."""
        return self._names("eyes", self.textures)

    @property
    def hair(self) -> tuple[str, ...]:
        """Like short01."""
        return self._names("hair", self.meshes)

    @property
    def brows(self) -> tuple[str, ...]:
        """Like eyebrow001."""
        return self._names("brows", self.meshes)

    @property
    def lashes(self) -> tuple[str, ...]:
        """Like Eyelashes01."""
        return self._names("lashes", self.meshes)

    @property
    def beards(self) -> tuple[str, ...]:
        """Full_beard and Moustache."""
        return self._names("beards", self.meshes)

    @property
    def garments(self) -> tuple[str, ...]:
        """Clothes, shoes, hats and glasses."""
        return self._names("garments", self.meshes)


def fetch(folder: Path | None = None, report: Report | None = None) -> Path:
    """Download what is missing, unpack it, and return the folder. Raises DownloadError when that is not possible.

    Args:
        folder: where to keep everything, else `assets_folder()`; 140 MB are downloaded, 400 MB kept.
        report: called with what is being done and how much of it is done, 0..1.
    """
    folder = folder or assets_folder()
    made = folder / FORMAT
    if (made / "index.json").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    say = report or (lambda what, done: None)
    wheel, package = (download(source, folder, say) for source in SOURCES)
    making = folder / f"{FORMAT}.making"
    shutil.rmtree(making, ignore_errors=True)
    making.mkdir()
    unpack(wheel, package, making, say)
    shutil.rmtree(made, ignore_errors=True)
    making.rename(made)
    return folder


def load(folder: Path | None = None) -> Assets:
    """Read what `fetch` made. Raises DownloadError, saying what to run, when it is not there."""
    made = (folder or assets_folder()) / FORMAT
    if not (made / "index.json").exists():
        raise DownloadError(
            f"The meshes and textures of the rendered people are not in {made}. "
            "Run `python -m instantid data fetch` once while online (140 MB)."
        )
    index = json.loads((made / "index.json").read_text())
    with np.load(made / "parts.npz") as file:
        arrays = {name: file[name] for name in file.files}
    names = dict.fromkeys(name.rpartition("/")[0] for name in arrays)
    fields = ("ref", "mix", "offset", "faces", "uv", "weights", "neighbours", "hides")
    with np.load(made / "body.npz") as file:
        body = {name: file[name] for name in file.files}
    return Assets(
        body=body,
        rows=np.load(made / "shapes.npy", mmap_mode="c"),
        shapes={name: tuple(rows) for name, rows in index["shapes"].items()},
        expressions=index["expressions"],
        macro=index["macro"],
        meshes={name: Mesh(name=name, **{key: arrays[f"{name}/{key}"] for key in fields}) for name in names},
        textures=index["textures"],
        texels=np.memmap(made / "texels.bin", np.uint8, "c").reshape(-1, 4),
    )
