"""What trainers read: pictures, faces and words of a data set, made ready once and mapped into memory.

Each shard becomes a *piece*, a folder of `.npy` files beside a `records.jsonl`; a run over pieces that are there goes
on where it stopped. Everything is at one size; faces are those the face finder sees, as it will at the page.
"""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ..errors import InvalidRequest
from ..people import Face

RECORDS = "records.jsonl"
FAR = 255  # in depth maps: nothing near


@dataclass(frozen=True, kw_only=True, eq=False)
class Example:
    """One picture made ready.

    Args:
        image: (s, s, 3) uint8 RGB.
        face: who the picture is of, in its pixels; None where the finder saw nobody.
        person: number of who it is of; pictures with the same number show the same person. -1: unknown.
        depth: (s, s) uint8, 0 nearest to 255 far; zeros where unknown.
        record: "caption", "captions" {kind: text}, "look", and what else is known; JSON.
    """

    image: np.ndarray
    face: Face | None
    person: int
    depth: np.ndarray
    record: dict


class Prepared:
    """A folder of pieces, read as if it were one array each.

    Raises:
        InvalidRequest: there are no pieces, or they differ in size.
    """

    def __init__(self, folder: Path):
        self.folder = Path(folder)
        self.pieces = sorted(file.parent for file in self.folder.glob(f"*/{RECORDS}"))
        if not self.pieces:
            raise InvalidRequest(
                f"{folder} holds no prepared data. Prepare some: python -m instantid train prepare"
            )
        self._ends = np.cumsum([len(np.load(piece / "persons.npy", mmap_mode="r")) for piece in self.pieces])
        self._open: dict[str, list[np.ndarray]] = {}
        if len({array.shape[1:] for array in self._arrays("images")}) > 1:
            raise InvalidRequest(
                f"The pieces in {folder} differ in size. Prepare the data anew in a new folder."
            )

    def __len__(self) -> int:
        return int(self._ends[-1])

    @property
    def size(self) -> int:
        """Width and height of the pictures."""
        return self._arrays("images")[0].shape[1]

    def images(self, indices: Sequence[int]) -> np.ndarray:
        """(n, s, s, 3) uint8 RGB."""
        return self._rows("images", indices)

    def depth(self, indices: Sequence[int]) -> np.ndarray:
        """(n, s, s) uint8."""
        return self._rows("depth", indices)

    def latents(self, indices: Sequence[int]) -> np.ndarray:
        """(n, c, h, w) float16, scaled as the UNet wants them; there once `encode_latents` has run."""
        return self._rows("latents", indices)

    @cached_property
    def picture_embeddings(self) -> np.ndarray:
        """(N, w) float32 of the whole pictures, by an image encoder; there once `embed_pictures` has run."""
        return np.concatenate(self._arrays("picture_embeddings"))

    @cached_property
    def embeddings(self) -> np.ndarray:
        """(N, d) float32 raw, of faces; zeros where none was found."""
        return np.concatenate(self._arrays("embeddings"))

    @cached_property
    def keypoints(self) -> np.ndarray:
        """(N, 5, 2) float32 pixels, insightface's order."""
        return np.concatenate(self._arrays("keypoints"))

    @cached_property
    def boxes(self) -> np.ndarray:
        """(N, 4) float32 pixels: left, top, right, bottom."""
        return np.concatenate(self._arrays("boxes"))

    @cached_property
    def found(self) -> np.ndarray:
        """(N,) bool: whether a face was found."""
        return np.concatenate(self._arrays("found"))

    @cached_property
    def persons(self) -> np.ndarray:
        """(N,) int64."""
        return np.concatenate(self._arrays("persons"))

    @cached_property
    def records(self) -> list[dict]:
        """What is known of each picture."""
        return [
            json.loads(line)
            for piece in self.pieces
            for line in (piece / RECORDS).read_text(encoding="utf-8").splitlines()
        ]

    def of_person(self, person: int) -> np.ndarray:
        """Pictures in which that person's face was found."""
        return self._by_person.get(person, np.empty(0, np.int64))

    @cached_property
    def _by_person(self) -> dict[int, np.ndarray]:
        faces = np.flatnonzero(self.found & (self.persons >= 0))
        order = faces[np.argsort(self.persons[faces], kind="stable")]
        persons, starts = np.unique(self.persons[order], return_index=True)
        return dict(zip(persons.tolist(), np.split(order, starts[1:]), strict=True))

    def _arrays(self, name: str) -> list[np.ndarray]:
        if name not in self._open:
            files = [piece / f"{name}.npy" for piece in self.pieces]
            if missing := [file for file in files if not file.exists()]:
                raise InvalidRequest(
                    f"{missing[0]} is missing: {name} have not been made for all of this data."
                )
            self._open[name] = [np.load(file, mmap_mode="r") for file in files]
        return self._open[name]

    def _rows(self, name: str, indices: Sequence[int]) -> np.ndarray:
        arrays = self._arrays(name)
        places = np.searchsorted(self._ends, indices, side="right")
        starts = np.concatenate([[0], self._ends])
        return np.stack([arrays[place][i - starts[place]] for place, i in zip(places, indices, strict=True)])


def write_piece(folder: Path, examples: Iterable[Example], *, width: int) -> None:
    """Write a piece; it is there whole, or not at all.

    Args:
        folder: of the piece, new.
        width: of the face embeddings.
    """
    examples = list(examples)
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    faces = [example.face for example in examples]
    nobody = Face(embedding=np.zeros(width), keypoints=np.zeros((5, 2)), box=np.array([0, 0, 1, 1]))
    seen = [face or nobody for face in faces]
    arrays = {
        "images": np.stack([example.image for example in examples]),
        "depth": np.stack([example.depth for example in examples]),
        "embeddings": np.stack([face.embedding for face in seen]).astype(np.float32),
        "keypoints": np.stack([face.keypoints for face in seen]).astype(np.float32),
        "boxes": np.stack([face.box for face in seen]).astype(np.float32),
        "found": np.array([face is not None for face in faces]),
        "persons": np.array([example.person for example in examples], np.int64),
    }
    for name, array in arrays.items():
        if array.any():
            np.save(part / f"{name}.npy", array)
        else:  # a file of zeros takes no room where it was never written to
            np.lib.format.open_memmap(part / f"{name}.npy", "w+", array.dtype, array.shape)
    lines = (json.dumps(example.record, separators=(",", ":")) + "\n" for example in examples)
    (part / RECORDS).write_text("".join(lines), encoding="utf-8")
    os.replace(part, folder)


def encode_latents(
    prepared: Prepared, encode: Callable[[np.ndarray], np.ndarray], *, mark: str, batch: int = 32
) -> None:
    """Write every picture's latent beside it, where it is not there yet from the same autoencoder.

    Args:
        encode: (n, s, s, 3) uint8 → (n, c, h, w) float32, scaled.
        mark: what tells one autoencoder from another, such as a checksum of its weights.
    """
    _write_beside(prepared, "latents", lambda images: encode(images).astype(np.float16), mark, batch)


def embed_pictures(
    prepared: Prepared, embed: Callable[[np.ndarray], np.ndarray], *, mark: str, batch: int = 64
) -> None:
    """Write every picture's embedding beside it, where it is not there yet from the same image encoder.

    Args:
        embed: (n, s, s, 3) uint8 → (n, w) float32.
        mark: as for `encode_latents`.
    """
    _write_beside(prepared, "picture_embeddings", embed, mark, batch)


def _write_beside(
    prepared: Prepared, name: str, make: Callable[[np.ndarray], np.ndarray], mark: str, batch: int
) -> None:
    for piece in prepared.pieces:
        stamp = piece / f"{name}.mark"
        if stamp.exists() and stamp.read_text() == mark:
            continue
        stamp.unlink(missing_ok=True)
        images = np.load(piece / "images.npy", mmap_mode="r")
        parts = [make(np.asarray(images[i : i + batch])) for i in range(0, len(images), batch)]
        np.save(piece / f"{name}.part.npy", np.concatenate(parts))
        os.replace(piece / f"{name}.part.npy", piece / f"{name}.npy")
        stamp.write_text(mark)


def some_of(chosen: np.ndarray, most: int) -> np.ndarray:
    """At most so many of the pictures, in order; always the same ones. Drawn: at even steps stand photos alone where
    each has as many looks."""
    return chosen[np.sort(np.random.default_rng(0).permutation(len(chosen))[:most])]
