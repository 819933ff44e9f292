"""A trained bundle folder → the small one that lies in the repository, and how far its weights are off."""

import json
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from safetensors.torch import load_file

from .. import bundles, mini
from ..adapter_file import read_adapter, read_style_adapter
from ..bundles import Bundle, Trained, face_files, packed
from ..bundles.packed import Precision
from ..bundles.weight_files import WEIGHTS
from ..errors import BundleError

LICENCE = "Apache-2.0. Trained by this project on {on}."
LEAST = 4096  # numbers of a tensor that are worth 8 bits: smaller ones together are a percent of a model
# What everything else passes through, and small: words, places, times, faces on their way in, latents in and out.
_SENSITIVE = re.compile(
    r"(^|\.)(token_embedding|position_embedding|patch_embedding|class_embedding|time_embedding|add_embedding"
    r"|conv_in|conv_out)\.|^image_proj\.(latents|proj_in|proj_out|proj)(\.|$)"
)
_ADAPTERS = {"identity_adapter": read_adapter, "style_adapter": read_style_adapter}


@dataclass(frozen=True, kw_only=True)
class Packed:
    """What was written. `files`: bytes by name. Errors are the weights', over all numbers; `relative` is their rms by
    the weights' rms, `worst` the tensor where that is largest."""

    precision: Precision
    files: dict[str, int]
    numbers: int
    mean_error: float
    largest_error: float
    relative: float
    worst: str
    worst_relative: float

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(self.files.values())

    def __str__(self) -> str:
        largest = max(self.files, key=lambda name: self.files[name])
        return (
            f"{self.numbers / 1e6:.2f} million numbers in {self.size / 1e6:.2f} MB ({self.precision}). The largest "
            f"of {len(self.files)} files has {self.files[largest] / 1e6:.2f} MB: {largest}. Error of a weight: mean "
            f"{self.mean_error:.2e}, largest {self.largest_error:.2e}; {self.relative:.2%} of the weights' rms, at "
            f"worst {self.worst_relative:.2%}, in {self.worst}."
        )


def pack(
    bundle_folder: Path,
    target: Path,
    precision: Precision = "int8",
    *,
    trained: Trained | None = None,
    without: Collection[str] = (),
) -> Packed:
    """Write a bundle folder small enough for a repository; it opens as any other one does.

    The same weights give the same bytes. A folder that was packed before is replaced, whole or not at all.

    Args:
        bundle_folder: with weights of float32, bfloat16 or half precision.
        precision: "int8" for large matrices and convolutions, half precision for the rest and all of the VAE; or
            "fp16" for all.
        trained: how the weights came to be; must be given unless the bundle says that it is untrained.
        without: parts to leave out, as "controlnets.canny", because nobody trained them.

    Raises:
        BundleError: the bundle lacks an essential part, holds weights that are no numbers or that half precision
            cannot hold, has face models that cannot be brought along, or `target` is in use.
    """
    bundle = _described(bundles.open_bundle(bundle_folder), trained, without)
    if not packed.is_packed(target):
        bundles.refuse_used_folder(target)
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.name}-") as workplace:
        whole, small = Path(workplace) / "whole", Path(workplace) / "small"
        bundles.export(bundle.model_copy(update={"faces": None}), whole)
        errors = _Errors()
        for file in sorted(whole.rglob("*")):
            name = file.relative_to(whole).as_posix()
            if file.suffix in WEIGHTS:
                _pack_file(file, name, small, precision, errors)
            elif file.is_file():
                (small / name).parent.mkdir(parents=True, exist_ok=True)
                (small / name).write_bytes(_without_paths(file))
        _finish_description(small / "bundle.json", bundle)
        packed.write_manifest(small, precision)
        if target.exists():
            os.replace(target, Path(workplace) / "old")
        os.replace(small, target)
    files = {file.relative_to(target).as_posix(): file.stat().st_size for file in _files(target)}
    return errors.told(precision, files)


def _described(bundle: Bundle, trained: Trained | None, without: Collection[str]) -> Bundle:
    """The bundle as it is to be: what it says about its weights, and the parts that stay."""
    if trained is None and not bundle.untrained:
        raise BundleError(
            f"The bundle “{bundle.name}” is trained, and whoever gets it must be told on what: give `trained`."
        )
    if bundle.faces is not None and not bundle.carries_opencv("faces"):
        raise BundleError(
            f"The face models of “{bundle.name}” ({bundle.faces.kind}) cannot be brought along: only OpenCV's, which "
            "every machine can fetch."
        )
    if missing := set(without) & set(bundles.essential_parts(bundle)):
        raise BundleError(f"No bundle works without {', '.join(sorted(missing))}.")
    changes: dict[str, object] = {}
    for part in without:
        bundle.place(part)  # refuses what the bundle does not have
        field, _, name = part.partition(".")
        before = changes.get(field, getattr(bundle, field))
        changes[field] = {key: value for key, value in before.items() if key != name} if name else None
    licences = {part: licence for part, licence in bundle.licences.items() if part not in without}
    if bundle.faces is not None:
        licences["faces"] = face_files.LICENCE
    if trained is not None:
        told = LICENCE.format(on=trained.on)
        licences = {part: told if text == mini.LICENCE else text for part, text in licences.items()}
        changes |= {"trained": trained, "untrained": False}
    return bundle.model_copy(update=changes | {"licences": licences})


def _finish_description(path: Path, bundle: Bundle) -> None:
    """Name the adapters as they lie now, and the face models where every machine keeps them."""
    description = json.loads(path.read_text(encoding="utf-8"))
    for part in _ADAPTERS:
        if part in description:
            description[part] = str(PurePosixPath(description[part]).with_suffix(".safetensors"))
    if bundle.faces is not None:
        description["faces"] = bundles.MINI_FACES
    path.write_text(json.dumps(description, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _without_paths(file: Path) -> bytes:
    """Its content; a configuration without the folder that it was loaded from, which nobody else has."""
    content = file.read_bytes()
    if file.name == "config.json" and "_name_or_path" in (config := json.loads(content)):
        del config["_name_or_path"]
        content = (json.dumps(config, indent=2) + "\n").encode()
    return content


def _pack_file(file: Path, name: str, folder: Path, precision: Precision, errors: "_Errors") -> None:
    parts = PurePosixPath(name).parts
    arrays = dict(_arrays(file, parts[0]))
    for key, array in arrays.items():
        # The largest that half precision holds is 65504; what is no number compares as False too.
        if array.dtype == np.float32 and not (np.abs(array) <= 65504).all():
            raise BundleError(
                f"{key} of {file} holds numbers that half precision cannot hold, or none at all."
            )
    narrow = set()
    if precision == "int8" and "vae" not in parts:  # pixels come straight out of the VAE: 8 bits would show
        narrow = {key for key, array in arrays.items() if _is_large(array) and not _SENSITIVE.search(key)}
    packed.write_weights(arrays, folder, str(PurePosixPath(name).with_suffix(".safetensors")), narrow)
    for key, array in arrays.items():
        if array.dtype == np.float32:
            kept = packed.dequantise(*packed.quantise(array)) if key in narrow else array.astype(np.float16)
            errors.add(f"{name}: {key}", array, kept)


def _arrays(file: Path, part: str) -> Iterator[tuple[str, np.ndarray]]:
    """Every tensor of a file, floating ones as float32, by the name that it has in safetensors."""
    if part in _ADAPTERS:
        nested = _ADAPTERS[part](file)
        tensors = {f"{half}.{key}": tensor for half, held in nested.items() for key, tensor in held.items()}
    elif file.suffix == ".safetensors":
        tensors = load_file(file)
    else:
        raise BundleError(
            f"{file} cannot be packed: save it as .safetensors, as its publisher's library does."
        )
    for key, tensor in tensors.items():
        yield key, (tensor.to(torch.float32) if tensor.is_floating_point() else tensor).numpy()


def _is_large(array: np.ndarray) -> bool:
    return array.dtype == np.float32 and array.ndim in (2, 4) and array.size >= LEAST


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


class _Errors:
    """Sums over all floating numbers."""

    def __init__(self) -> None:
        self._numbers, self._sum, self._largest = 0, 0.0, 0.0
        self._squares, self._weights = 0.0, 0.0
        self._worst, self._name = 0.0, "none"

    def add(self, name: str, before: np.ndarray, after: np.ndarray) -> None:
        error = np.abs(after.astype(np.float64) - before)
        squares, weights = float((error**2).sum()), float((before.astype(np.float64) ** 2).sum())
        self._numbers += error.size
        self._sum += float(error.sum())
        self._largest = max(self._largest, float(error.max()))
        self._squares += squares
        self._weights += weights
        if weights and (relative := (squares / weights) ** 0.5) > self._worst:
            self._worst, self._name = relative, name

    def told(self, precision: Precision, files: dict[str, int]) -> Packed:
        return Packed(
            precision=precision,
            files=files,
            numbers=self._numbers,
            mean_error=self._sum / self._numbers,
            largest_error=self._largest,
            relative=(self._squares / self._weights) ** 0.5,
            worst=self._name,
            worst_relative=self._worst,
        )
