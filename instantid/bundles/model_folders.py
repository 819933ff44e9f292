"""Where ComfyUI, A1111, Forge and StabilityMatrix keep weights: what lies in such folders, by kind and name.

Any other folder of .safetensors files will do as well: their headers tell the kinds.
"""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal

from ..errors import BundleError
from . import weight_kinds
from .hub_parts import parse
from .published import SDXL
from .weight_files import find_damage

Kind = Literal["checkpoints", "loras", "vaes", "embeddings"]
MOST = 50_000  # entries in one folder of models; whoever has more has given their whole disk
EMBEDDING_SUFFIXES = (".safetensors", ".pt", ".bin")  # these pickles are read as tensors alone

# From the folder that people know a program by, or from its `models`; the first ones are ComfyUI's.
FOLDERS: Mapping[Kind, tuple[str, ...]] = {
    "checkpoints": ("checkpoints", "diffusers", "Stable-diffusion", "StableDiffusion"),
    "loras": ("loras", "Lora", "LyCORIS"),
    "vaes": ("vae", "VAE"),
    "embeddings": ("embeddings", "Embeddings"),
}
HOLDS: Mapping[str, Kind] = {
    "checkpoint": "checkpoints",
    "lora": "loras",
    "vae": "vaes",
    "embedding": "embeddings",
}
_FACE_PACKS = {  # insightface's own names: the pack, and the files of it that are needed
    "faces": ("antelopev2", ("scrfd_10g_bnkps.onnx", "glintr100.onnx")),
    "faceid_faces": ("buffalo_l", ("det_10g.onnx", "w600k_r50.onnx")),
}


def suffixes(kind: Kind) -> tuple[str, ...]:
    """Of the files that are listed and taken, the preferred one first."""
    return EMBEDDING_SUFFIXES if kind == "embeddings" else (".safetensors",)


def list_files(folders: Sequence[Path], kind: Kind) -> dict[str, Path]:
    """What there is of a kind, by the name that ComfyUI and A1111 show: the path below their folder, no suffix.

    Of equal names the first folder's counts, as in ComfyUI. A folder in the diffusers layout counts as a checkpoint.

    Raises:
        BundleError: a folder holds so much that it cannot be one of models.
    """
    found: dict[str, Path] = {}
    for suffix in suffixes(kind):
        for folder in folders:
            homes = {each: _existing(folder, names) for each, names in FOLDERS.items()}
            is_known = any(homes.values())
            for home in homes[kind] if is_known else [folder]:
                for path in _walk(home):
                    if path.is_dir():
                        name, fits = path.relative_to(home).as_posix(), kind == "checkpoints"
                    else:
                        name = path.relative_to(home).as_posix().removesuffix(path.suffix)
                        fits = path.suffix == suffix and (is_known or _kind(path) == kind)
                        fits = fits and not (kind == "checkpoints" and _belongs_beside(path))
                    if fits:
                        found.setdefault(name, path)
            if kind == "vaes":
                for home in homes["checkpoints"]:
                    beside = [path for path in _walk(home) if path.suffix == suffix and _belongs_beside(path)]
                    found = {path.name.removesuffix(suffix): path for path in beside} | found
    return found


def find_file(folder: Path, kind: Kind, name: str) -> Path | None:
    """A file below one of a folder's homes of a kind, listed or not."""
    for home in _existing(folder, FOLDERS[kind]) or [folder]:
        if (path := home / name).is_file():
            return path
    return None


def find_part(folders: Sequence[Path], part: str, source: str) -> Path | None:
    """A published part as users of InstantID keep it for ComfyUI or A1111: told by its name, and not damaged.

    Only what names tell apart: not the image encoder (without its folder) and no ControlNet but InstantID's.
    """
    for folder in folders:
        for path in _candidates(folder, part, source):
            if find_damage(path) is None:
                return path
    return None


def _candidates(folder: Path, part: str, source: str) -> Iterator[Path]:
    def files(*names: str) -> list[Path]:
        return [path for home in _existing(folder, names) for path in sorted(_walk(home)) if path.is_file()]

    if part.startswith("loras."):
        place = parse(source)
        wanted = Path(place.inside).stem if place else ""
        if place and wanted in ("pytorch_lora_weights", "adapter_model"):
            wanted = place.repo.split("/")[1]
        loras = [path for path in files(*FOLDERS["loras"]) if path.suffix == ".safetensors"]
        yield from (path for path in loras if wanted and _squash(path.stem) == _squash(wanted))
    elif part in _FACE_PACKS and source == SDXL[part]["path"]:
        pack, names = _FACE_PACKS[part]
        for home in _existing(
            folder, ("insightface", "extensions/sd-webui-controlnet/annotator/downloads/insightface")
        ):
            for place in (home / "models" / pack, home / "models" / pack / pack):
                if all((place / name).is_file() for name in names):
                    yield place
    elif source == SDXL.get(part):
        if part == "identitynet":
            for path in files("controlnet", "ControlNet"):
                name = _squash("/".join(path.parts[-2:]))
                if path.suffix == ".safetensors" and "instantid" in name and "ipadapter" not in name:
                    yield path
        elif part == "identity_adapter":
            for path in files("instantid", "ipadapter", "ControlNet"):
                name = _squash("/".join(path.parts[-2:]))
                if path.suffix in (".bin", ".safetensors") and "instantid" in name and "ipadapter" in name:
                    yield path
        elif part in ("style_adapter", "faceid_adapter"):
            yield from (path for path in files("ipadapter", "ControlNet") if path.name == Path(source).name)
        elif part == "vae":
            for path in files(*FOLDERS["vaes"]):
                name = _squash(path.stem)
                if path.suffix == ".safetensors" and all(
                    word in name for word in ("sdxl", "vae", "fp16", "fix")
                ):
                    yield path


def _squash(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _existing(folder: Path, names: Sequence[str]) -> list[Path]:
    """Those that exist, once each: some disks take `vae` and `VAE` for the same."""
    places = [base / name for base in (folder, folder / "models", folder / "Models") for name in names]
    return list({place.resolve(): place for place in reversed(places) if place.is_dir()}.values())[::-1]


def _walk(home: Path) -> Iterator[Path]:
    """Files below `home`; folders in the diffusers layout instead of theirs. Follows links, once; nothing hidden."""
    seen: set[Path] = set()
    entries = 0
    for here, folders, files in os.walk(home, followlinks=True):
        entries += len(folders) + len(files)
        if entries > MOST:
            raise BundleError(
                f"{home} holds more than {MOST:,} files and folders. Give the folder that the models are in, not one "
                "far above it."
            )
        if (real := Path(here).resolve()) in seen or "model_index.json" in files:
            folders.clear()
            if real not in seen and Path(here) != home:
                yield Path(here)
            seen.add(real)
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if not name.startswith(".") and (path := Path(here) / name).is_file():  # a link may lead nowhere
                yield path


def _kind(path: Path) -> Kind | None:
    try:
        return HOLDS.get(weight_kinds.identify(weight_kinds.read_header(path))[0])
    except BundleError:  # half downloaded, or no weights: of no kind
        return None


def _belongs_beside(path: Path) -> bool:
    """Whether it is a VAE that A1111 keeps beside its checkpoint: name.vae.safetensors."""
    return path.stem.endswith(".vae")
