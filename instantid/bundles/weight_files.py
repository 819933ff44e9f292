"""Which of a repository's files a loader needs, and whether a weight file is whole: by names and headers alone."""

import json
import re
import struct
import zipfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from safetensors import SafetensorError, safe_open

WEIGHTS = {".safetensors", ".bin", ".pth", ".pt", ".ckpt", ".onnx"}
LONGEST_HEADER = 20_000_000  # bytes; SDXL's checkpoints have 300,000
TEXTS = {".json", ".txt", ".model"}  # configurations, vocabularies, merges, sentencepiece

# The names that diffusers, transformers and peft look for; beside them, files in other layouts are dead weight
# (thibaud/controlnet-openpose-sdxl-1.0 and madebyollin/sdxl-vae-fp16-fix carry such).
_LOADED = re.compile(
    r"(diffusion_pytorch_model|pytorch_model|model|pytorch_lora_weights|adapter_model)"
    r"(\.fp16)?(-\d+-of-\d+)?(\.fp16)?\.(safetensors|bin)"
)
_INDEX = re.compile(r".*\.index(\.fp16)?\.json")


def choose(names: Iterable[str], components: Iterable[str] = ()) -> list[str]:
    """Pick what a loader needs: half precision where there is a choice, never the same weights twice.

    Args:
        names: paths relative to the folder that is to be loaded.
        components: the sub-folders that its model_index.json lists; then its own weights are other packagings of
            the same model. Without any, only the folder's own files count.
    """
    folders = defaultdict(list)
    for name in names:
        folders[str(PurePosixPath(name).parent)].append(name)
    if components:
        chosen = [name for name in folders["."] if name == "model_index.json"]
        return chosen + [name for folder in sorted(components) for name in _choose_in(folders[folder])]
    return _choose_in(folders["."])


def _choose_in(names: list[str]) -> list[str]:
    weights = [name for name in names if PurePosixPath(name).suffix in WEIGHTS]
    loaded = [name for name in weights if _LOADED.fullmatch(PurePosixPath(name).name)]
    best = max(map(_preference, loaded or weights), default=None)
    kept = [name for name in loaded or weights if _preference(name) == best]
    sharded = any("-of-" in name for name in kept)
    texts = [name for name in names if PurePosixPath(name).suffix in TEXTS]
    return [name for name in texts if sharded or not _INDEX.fullmatch(name)] + kept


def _preference(name: str) -> tuple[bool, bool]:
    return name.endswith(".safetensors"), ".fp16" in name


def find_damage(path: Path) -> str | None:
    """One sentence about a weight file in `path` that is empty, cut short or something else; or None."""
    for file in [path] if path.is_file() else sorted(path.rglob("*")):
        if file.suffix in WEIGHTS and (problem := _problem(file)) is not None:
            return f"{file} {problem}"
    return None


def _problem(file: Path) -> str | None:
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(8)
        if len(head) < 8:
            return f"has only {size} bytes."
        if head.startswith((b"<!DOCTYP", b"<html>", b"version ")):
            return "is a web page or a Git LFS pointer, not the weights themselves."
        if file.suffix == ".safetensors":
            return _safetensors_problem(file, struct.unpack("<Q", head)[0], size)
    # torch.save writes a zip, whose directory comes last: without it, the end is missing.
    if head.startswith(b"PK") and not zipfile.is_zipfile(file):
        return f"is cut short, at {size:,} bytes."
    return None


def _safetensors_problem(file: Path, header_length: int, size: int) -> str | None:
    if 8 + header_length > size:
        return f"is cut short: it has {size:,} bytes, and its header alone says {8 + header_length:,}."
    try:
        # The library's own reading: strict, and safe with what was made to do harm. It maps the file, loads nothing.
        with safe_open(file, framework="np"):
            return None
    except SafetensorError as error:
        if (wanted := _length(file, header_length)) is not None and size < wanted:
            return f"is cut short: it has {size:,} bytes of {wanted:,}."
        reason = str(error).removeprefix("Error while deserializing header: ")
        return f"is no safetensors file: its header cannot be read ({reason})."


def _length(file: Path, header_length: int) -> int | None:
    """What the file's length should be by its header; None where that is no true one, or too long to be."""
    if header_length > LONGEST_HEADER:
        return None
    with file.open("rb") as stream:
        header = stream.read(8 + header_length)[8:]
    try:
        entries = json.loads(header)
        ends = [entry["data_offsets"][1] for name, entry in entries.items() if name != "__metadata__"]
        return 8 + header_length + max(ends, default=0)
    except (ValueError, LookupError, AttributeError, TypeError, RecursionError):
        return None
