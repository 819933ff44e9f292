"""Opens a bundle by its name or folder. Reads descriptions, unpacks what lies packed; fetches and loads nothing."""

import json
import os
from pathlib import Path

from pydantic import ValidationError

from ..errors import BundleError
from . import face_files, packed
from .bundle import SET_HERE, Bundle, close_match
from .hub_parts import Hub
from .published import BASES, SDXL, UNION

EMBEDDED_MINI = Path(__file__).parents[2] / "assets" / "mini"
MINI_FACES = {"kind": "opencv", "path": "../faces-opencv"}
"""The "faces" of mini: beside its folder in the cache, so that another mini does not fetch them again."""


def default_cache() -> Path:
    """Where this program keeps lock files, the unpacked `mini` (or the untrained one) and its face models."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "instantid-studio"


def mini_folder(cache: Path | None = None) -> Path:
    """Where `mini.build` puts the untrained mini. The number changes whenever it would write other files."""
    return (cache or default_cache()) / "mini-untrained-v5"


def face_files_folder(cache: Path | None = None) -> Path:
    """Where the face models of mini lie."""
    return mini_folder(cache).parent / "faces-opencv"


def is_built(name: str, *, cache: Path | None = None) -> bool:
    """Whether a bundle can be opened: False only for "mini" before `mini.build` has run once."""
    return name != "mini" or any((folder / "bundle.json").is_file() for folder in _minis(cache))


def open_bundle(name_or_folder: str | Path, *, cache: Path | None = None, hub: Hub | None = None) -> Bundle:
    """Describe a bundle; nothing is fetched or loaded. A packed one, as `mini` is, is unpacked the first time.

    Args:
        name_or_folder: "sdxl", "sdxl:realvisxl" (one of `BASES`), either followed by "+union" (one Union model for
            pose, canny and depth), "mini", or a folder that holds bundle.json.
        cache: where lock files and unpacked bundles lie; `default_cache()` unless given.

    Raises:
        BundleError: no such bundle, mini has not been built yet, packed weights are damaged or there is no room for
            them, or bundle.json is malformed.
    """
    cache, hub, asked = cache or default_cache(), hub or Hub(), str(name_or_folder)
    if is_published(asked):
        return _open_sdxl(asked, cache, hub)
    if asked == "mini":
        return _open_mini(cache, hub)
    folder = Path(name_or_folder).expanduser()
    if not folder.exists():
        raise BundleError(
            f"There is no bundle “{asked}”. There are: sdxl, {', '.join(f'sdxl:{base}' for base in BASES)}, each of "
            "them with “+union” (one ControlNet for pose, canny and depth), mini, or the path of a folder that holds "
            f"bundle.json.{close_match(asked, ('sdxl', 'mini'))}"
        )
    return _open_folder(folder, asked, cache, hub)


def is_published(name: str) -> bool:
    """Whether a bundle's name means the published weights: "sdxl", with a base or a choice behind it, or none."""
    return name.startswith(("sdxl:", "sdxl+")) or name == "sdxl"


def _open_sdxl(asked: str, cache: Path, hub: Hub) -> Bundle:
    name, plus, choice = asked.partition("+")
    base = name.partition(":")[2] or "yamermix"
    if base not in BASES:
        raise BundleError(
            f"The bundle sdxl has no base “{base}”. It has: {', '.join(BASES)}.{close_match(base, BASES)}"
        )
    if plus and choice != "union":
        raise BundleError(
            f"The bundle {name} has no variant “+{choice}”. It has: “{name}+union”, where one Union model serves "
            f"pose, canny and depth.{close_match(choice, ('union',))}"
        )
    lock = cache / f"{asked.replace(':', '-')}.lock.json"
    bundle = Bundle(**SDXL, opened_as=asked, lock=lock, hub=hub)
    nets, licences = bundle.controlnets, bundle.licences | {"base": BASES[base]["licence"]}
    if choice:
        nets = {"union": UNION["source"]}
        singles = {f"controlnets.{control}" for control in bundle.controlnets}
        licences = {part: licence for part, licence in licences.items() if part not in singles}
        licences["controlnets.union"] = UNION["licence"]
    return bundle.model_copy(
        update={"name": asked, "base": BASES[base]["base"], "controlnets": nets, "licences": licences}
    )


def _minis(cache: Path | None) -> tuple[Path, Path]:
    return EMBEDDED_MINI, mini_folder(cache)


def _open_mini(cache: Path, hub: Hub) -> Bundle:
    for folder in _minis(cache):
        if (folder / "bundle.json").is_file():
            bundle = _open_folder(folder, "mini", cache, hub)
            return bundle.model_copy(update={"licences": {"faces": face_files.LICENCE} | bundle.licences})
    tried = " nor in ".join(map(str, _minis(cache)))
    raise BundleError(
        f"The bundle mini has not been built yet: there is no bundle.json in {tried}. "
        '`Engine.load("mini")` builds it.'
    )


def _open_folder(folder: Path, asked: str, cache: Path, hub: Hub) -> Bundle:
    return _read(packed.unpack(folder, cache) if packed.is_packed(folder) else folder, asked, hub)


def _read(folder: Path, asked: str, hub: Hub) -> Bundle:
    """Read the bundle.json of a folder. The lock lies beside it and travels with it."""
    path = folder / "bundle.json"
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BundleError(f"{folder} is no bundle: it holds no bundle.json.") from None
    except (OSError, ValueError) as error:
        raise BundleError(f"{path} cannot be read: {error}") from error
    if not isinstance(description, dict):
        raise BundleError(f"{path} must hold one JSON object {{…}}, not a {type(description).__name__}.")
    keys = set(Bundle.model_fields) - SET_HERE
    if unknown := [key for key in description if key not in keys]:
        told = " ".join(f"“{key}”.{close_match(key, keys)}" for key in unknown)
        raise BundleError(f"{path} has keys that mean nothing here: {told}")
    try:
        return Bundle(
            **{"name": folder.resolve().name} | description,
            opened_as=asked,
            folder=folder,
            lock=folder / "bundle.lock.json",
            hub=hub,
        )
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors())
        raise BundleError(f"{path} is malformed. {told}.") from None
