"""Weights that people already have, by name, path or place on the hub: checkpoints, VAEs, LoRAs and embeddings.

Answers with paths; reads headers at most, downloads nothing. Knows no torch.
"""

import logging
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path

from . import bundles
from .bundles import Bundle, Hub, model_folders, weight_kinds
from .bundles.hub_parts import parse
from .bundles.model_folders import HOLDS, Kind
from .bundles.weight_files import find_damage
from .errors import BundleError

logger = logging.getLogger(__name__)

WANTED: dict[Kind, str] = {
    "checkpoints": "an SDXL checkpoint",
    "loras": "a LoRA",
    "vaes": "a VAE",
    "embeddings": "a textual inversion",
}


class Library:
    """Looks into its folders whenever it is asked, so that what is put there meanwhile is found.

    Args:
        folders: each the root or the `models` folder of ComfyUI, A1111, Forge or StabilityMatrix, or any folder with
            .safetensors files.
        hub: in whose cache places on the hub are looked up.
        cache: where the lock file of such places lies; this program's own unless given.

    Raises:
        BundleError: there is no such folder.
    """

    def __init__(self, folders: Sequence[Path] = (), hub: Hub | None = None, cache: Path | None = None):
        self.folders = tuple(Path(folder).expanduser() for folder in folders)
        for folder in self.folders:
            if not folder.is_dir():
                raise BundleError(f"There is no folder {folder} to take models from.")
        self._hub = hub or Hub()
        self._cache = cache

    def names(self, kind: Kind) -> list[str]:
        """What there is of a kind, as ComfyUI and A1111 call it: the path below their folder, without suffix."""
        return sorted(model_folders.list_files(self.folders, kind), key=str.casefold)

    def inside(self, source: str, kind: Kind | None = None) -> bool:
        """Whether `source` is a name from these folders, and no path or place on the hub; of `kind`, or any."""
        return any(self._named(each, source) for each in ([kind] if kind else WANTED))

    def find(self, kind: Kind, source: str) -> Path:
        """The local file or folder of a name from these folders, of a path, or of a place on the hub that is here.

        Raises:
            BundleError: there is none of that name, or several; or it is a pickle, damaged, or of another kind.
            DownloadError: a place on the hub that has not been fetched; says how.
        """
        if named := self._named(kind, source):
            if len(named) > 1:
                raise BundleError(
                    f"“{source}” may be any of: {', '.join(sorted(named))}. Give one of these names."
                )
            return _checked(kind, *named.values())
        path = Path(source).expanduser()
        if path.exists():
            return _checked(kind, path)
        if parse(source) is not None and not self._begins_a_name(kind, source):
            return _checked(kind, bundles.find_weights(source, hub=self._hub, cache=self._cache))
        weight_kinds.refuse_pickle(self._left_out(kind, source))
        close = get_close_matches(source, self.names(kind), n=3, cutoff=0.5)
        told = f" Did you mean {' or '.join(f'“{name}”' for name in close)}?" if close else ""
        where = (
            f"none of that name in {', '.join(map(str, self.folders))}"
            if self.folders
            else "no model folder given"
        )
        raise BundleError(
            f"There is no {kind.removesuffix('s')} “{source}”: no file of that path, and {where}.{told} A place on "
            "the hub is written owner/repo/file.safetensors."
        )

    def complete(self, bundle: Bundle) -> Bundle:
        """The bundle with those parts from these folders that it would have to fetch.

        `bundle.parts()` shows where each comes from. What a name does not tell for sure is left alone.
        """
        found = {}
        for status in bundle.parts() if self.folders else ():
            if not status.present:
                path = model_folders.find_part(self.folders, status.name, status.source)
                if path is not None:
                    logger.info("%s is taken from %s.", status.name, path)
                    found[status.name] = path.absolute()
        return bundle.with_parts(found)

    def _named(self, kind: Kind, source: str) -> dict[str, Path]:
        """By name; more than one where only the last word of a name is given, and several end in it."""
        files = model_folders.list_files(self.folders, kind)
        name = source.replace("\\", "/")
        for suffix in model_folders.suffixes(kind):
            name = name.removesuffix(suffix)
        if name in files:
            return {name: files[name]}
        return {each: path for each, path in files.items() if each.rpartition("/")[2] == name}

    def _begins_a_name(self, kind: Kind, source: str) -> bool:
        """Whether its first word is a folder of the library: then it is a misspelt name, and no hub account."""
        first = source.partition("/")[0]
        return any(name.startswith(f"{first}/") for name in self.names(kind))

    def _left_out(self, kind: Kind, source: str) -> Path:
        """A file of that name that is not listed for being a pickle, to be told why; else just the name."""
        for folder in self.folders:
            for suffix in sorted(weight_kinds.PICKLES):
                if (path := model_folders.find_file(folder, kind, f"{source}{suffix}")) is not None:
                    return path
        return Path(source) if Path(source).suffix == ".ckpt" else Path()


def _checked(kind: Kind, path: Path) -> Path:
    """Refuse what could do harm or cannot be what is wanted, before anything is read."""
    if path.is_dir():
        return _checked_folder(kind, path)
    if path.suffix not in model_folders.suffixes(kind):
        weight_kinds.refuse_pickle(path)
        raise BundleError(f"{path} is no file of weights: {WANTED[kind]} ends in .safetensors.")
    if (damage := find_damage(path)) is not None:
        raise BundleError(f"{damage} Download it again.")
    if path.suffix == ".safetensors":
        holds, told = weight_kinds.identify(weight_kinds.read_header(path))
        fits = HOLDS.get(holds) == kind or (kind, holds) == ("vaes", "checkpoint")
        # Trainers name the tensors of LoRAs and embeddings in too many ways to know them all.
        if not fits and not (holds == "unknown" and kind in ("loras", "embeddings")):
            raise BundleError(f"{path.name} is {told}. InstantID takes {WANTED[kind]} here, made for SDXL.")
    return path


def _checked_folder(kind: Kind, path: Path) -> Path:
    marks = {"checkpoints": "model_index.json", "vaes": "config.json"}
    if kind in marks:
        if not (path / marks[kind]).is_file():
            raise BundleError(
                f"{path} is no {WANTED[kind].split()[-1]} in the diffusers layout: it holds no {marks[kind]}. Give a "
                "file, or such a folder."
            )
        return path
    files = sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        raise BundleError(
            f"{path} is a folder with {len(files)} .safetensors files; {WANTED[kind]} is one. Give the file itself."
        )
    return _checked(kind, files[0])
