"""Pictures and their truth in WebDataset tar files: `KEY.webp`, `KEY.people.png`, `KEY.depth.png`, `KEY.json`.

The pictures of one scene share the scene's name: the photo first, with the maps of who is where and how far away,
then the looks, for which the same maps hold. Who the people are, with all of their shape, is
told once, in a file of JSON lines beside the shard: it would outweigh the pictures.
"""

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ...errors import InvalidRequest
from ...styles import Style
from . import captions, words
from .description import Identity, Picture, to_json
from .identities import group_of
from .looks import PHOTO, apply_look
from .truth import Rendered, Truth

MAPS = ("people.png", "depth.png")
FAR = 65535  # of depth maps: only background there
DEPTH_STEP = 0.001  # metres


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One picture as it lies in a shard.

    Args:
        key: unique in the data set.
        record: what `KEY.json` says.
        image: (h, w, 3) uint8 RGB.
        people: (h, w) uint8: 0 background, 1 the first of the record's figures, …
        depth: (h, w) float32 metres, inf where there is only background; None where it was not kept.
    """

    key: str
    record: dict
    image: np.ndarray
    people: np.ndarray
    depth: np.ndarray | None


class ShardWriter:
    """Write samples into a tar file whose bytes follow from what it holds. It is there whole, or not at all."""

    def __init__(self, path: Path, *, quality: int, depth: bool):
        self._path, self._quality, self._depth = path, quality, depth
        self._part = path.with_name(path.name + ".part")
        self._tar: tarfile.TarFile | None = None
        self._identities: dict[int, Identity] = {}

    def __enter__(self) -> "ShardWriter":
        self._tar = tarfile.open(self._part, "w", format=tarfile.USTAR_FORMAT)
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._tar.close()
        if kind is None:
            lines = (json.dumps(_rounded(to_json(who))) + "\n" for _, who in sorted(self._identities.items()))
            identities_file(self._path).write_text("".join(lines), encoding="utf-8")
            self._part.replace(self._path)
        else:
            self._part.unlink()

    def write_scene(
        self,
        scene: str,
        rendered: Rendered,
        picture: Picture,
        looks: dict[str, Style | None],
        *,
        twin: str | None = None,
    ) -> None:
        """Write a scene in each of its looks (a look's style; None for the photo).

        Args:
            twin: which scene was drawn first of the two that it is one of, itself or the one before it.
        """
        self._identities |= {figure.identity.number: figure.identity for figure in picture.figures}
        truth = rendered.truth
        for number, (look, style) in enumerate(looks.items()):
            key = f"{scene}-{number:02d}"
            image = apply_look(rendered.image, truth.people, look, picture.seed)
            told = captions.write_captions(picture, truth, style, picture.seed + number)
            record = _record(key, scene, picture, truth, look, told)
            if twin is not None:
                record["twin"] = twin
            self._add(f"{key}.webp", _webp(image, self._quality))
            if number == 0:
                self._add(f"{key}.people.png", _png(truth.people))
            if number == 0 and self._depth:
                self._add(f"{key}.depth.png", _png(_millimetres(truth.depth)))
            self._add(f"{key}.json", json.dumps(_rounded(record), separators=(",", ":")).encode())

    def _add(self, name: str, content: bytes) -> None:
        entry = tarfile.TarInfo(name)
        entry.size, entry.mtime, entry.mode = len(content), 0, 0o644
        self._tar.addfile(entry, io.BytesIO(content))


def identities_file(shard: Path) -> Path:
    """Where it is told who the people of a shard are: a `description.Identity` each line, by number."""
    return shard.with_suffix(".jsonl")


def _record(
    key: str, scene: str, picture: Picture, truth: Truth, look: str, told: captions.Captions
) -> dict[str, object]:
    figures = []
    for figure, seen in zip(picture.figures, truth.figures, strict=True):
        described = to_json(figure)
        described["identity"] = figure.identity.number
        identity = figure.identity
        attributes = {
            "sex": identity.sex,
            "age": identity.age,
            "ancestry": identity.ancestry,
            "group": group_of(identity),
            "noun": words.noun(identity),
            "hair": words.hair(figure),
            "beard": words.beard(figure),
            "expression": words.expression(figure),
            "glasses": figure.glasses is not None,
            "hat": figure.hat is not None,
        }
        figures.append({**seen.to_json(), "attributes": attributes, "description": described})
    scenery = {name: value for name, value in to_json(picture).items() if name not in ("figures", "look")}
    return {
        "key": key,
        "scene": scene,
        "person": picture.figures[0].identity.number,
        "look": look,
        "caption": told.drawn,
        "captions": {name: text for name, text in told.to_json().items() if name != "drawn"},
        "figures": figures,
        "camera": {name: value for name, value in truth.to_json().items() if name != "figures"},
        "scenery": scenery,
    }


def _rounded(value: object) -> object:
    if isinstance(value, float):
        return round(value, 5)
    if isinstance(value, dict):
        return {name: _rounded(part) for name, part in value.items()}
    return [_rounded(part) for part in value] if isinstance(value, list | tuple) else value


def _webp(image: np.ndarray, quality: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "WEBP", quality=quality, method=3)
    return file.getvalue()


def _png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image, (cv2.IMWRITE_PNG_COMPRESSION, 6))[1].tobytes()


def _millimetres(depth: np.ndarray) -> np.ndarray:
    far = np.isinf(depth)
    steps = np.rint(np.where(far, 0, depth) / DEPTH_STEP)
    return np.where(far, FAR, np.clip(steps, 0, FAR - 1)).astype(np.uint16)


def read_shard(path: Path, wanted: Callable[[dict], bool] = lambda record: True) -> Iterator[Sample]:
    """Yield a shard's samples in order; pictures that `wanted` refuses by their record are not decoded.

    Raises:
        InvalidRequest: the file is not a whole shard.
    """
    try:
        with tarfile.open(path) as tar:
            parts: dict[str, bytes] = {}
            for entry in tar:
                key, _, kind = entry.name.partition(".")
                parts[kind] = tar.extractfile(entry).read()
                if kind == "json":  # the last of each sample
                    record = json.loads(parts["json"])
                    if wanted(record):
                        yield _decode(key, record, parts)
                    parts = {kind: parts[kind] for kind in MAPS if kind in parts}
    except (tarfile.TarError, KeyError, ValueError) as error:
        raise InvalidRequest(
            f"The shard {path} is damaged ({error}). Delete it and make it again."
        ) from error


def read_shards(
    paths: Sequence[Path], wanted: Callable[[dict], bool] = lambda record: True
) -> Iterator[Sample]:
    """Yield the samples of several shards, as `read_shard` does of one."""
    for path in paths:
        yield from read_shard(path, wanted)


def _decode(key: str, record: dict, parts: dict[str, bytes]) -> Sample:
    image = np.array(Image.open(io.BytesIO(parts["webp"])).convert("RGB"))
    depth = None
    if "depth.png" in parts:
        steps = cv2.imdecode(np.frombuffer(parts["depth.png"], np.uint8), cv2.IMREAD_UNCHANGED)
        depth = np.where(steps == FAR, np.inf, steps * DEPTH_STEP).astype(np.float32)
    people = cv2.imdecode(np.frombuffer(parts["people.png"], np.uint8), cv2.IMREAD_UNCHANGED)
    return Sample(key=key, record=record, image=image, people=people, depth=depth)


def read_records(paths: Sequence[Path]) -> Iterator[dict]:
    """Yield only what the JSON of each sample says."""
    for path in paths:
        with tarfile.open(path) as tar:
            for entry in tar:
                if entry.name.endswith(".json"):
                    yield json.loads(tar.extractfile(entry).read())


def photos_only(record: dict) -> bool:
    """For `read_shard`: leave the looks out."""
    return record["look"] == PHOTO
