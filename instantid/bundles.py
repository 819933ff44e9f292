"""What can be loaded and from where: the parts of a bundle, their licences, and their local paths.

A bundle is `sdxl` (published weights), `mini` (embedded), or a folder that holds `bundle.json`. Knows no
torch: it answers with paths and leaves reading weights to others. How a part gets here is `downloads`' business.
"""

import difflib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from . import downloads, face_files
from .errors import BundleError, DownloadError
from .face_files import fetch_face_files
from .published import BASES, SDXL

UNSTATED = "not stated by the bundle."
EMBEDDED_MINI = Path(__file__).parent.parent / "assets" / "mini"

Source = Annotated[str, Field(min_length=1)]


class FaceModels(BaseModel):
    """Which face library reads the part, and where its files are."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["insightface", "opencv"]
    path: Source


class Defaults(BaseModel):
    """What a request gets where it leaves a setting open. Width and height in pixels."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    width: int = Field(1024, ge=64, multiple_of=8)
    height: int = Field(1024, ge=64, multiple_of=8)
    steps: int = Field(30, ge=1)
    guidance_scale: float = Field(5.0, ge=0)
    scheduler: str = "Euler"


@dataclass(frozen=True, kw_only=True)
class PartStatus:
    """One part as it stands on this machine. `size` in bytes; None where it is not known before fetching."""

    name: str
    source: str
    path: Path | None
    present: bool
    size: int | None
    licence: str
    problem: str | None


class Bundle(BaseModel):
    """A frozen description of what can be loaded. Change it with `model_copy(update=…)`.

    A part is named by a path or by a place on the Hugging Face hub:

    - a path relative to `folder`, or an absolute one. `..` is allowed: whoever writes bundle.json chooses what is
      loaded anyway, and bundles share parts that way.
    - `owner/repo[/folder][/file][@revision]`; several files of one place are written `owner/repo/{a.onnx,b.onnx}`.

    What exists inside `folder` wins over a hub id of the same spelling.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    base: Source
    identitynet: Source
    identity_adapter: Source
    faces: FaceModels | None = None
    style_adapter: Source | None = None
    image_encoder: Source | None = None
    controlnets: dict[str, Source] = {}
    annotators: dict[str, Source] = {}
    loras: dict[str, Source] = {}
    previewer: Source | None = None
    vae: Source | None = None
    licences: dict[str, str] = {}
    defaults: Defaults = Defaults()
    untrained: bool = False
    opened_as: str = Field("", description="What `open_bundle` was asked for.")
    folder: Path | None = Field(None, description="Where bundle.json lies.")
    lock: Path | None = Field(
        None, description="The file that remembers which commit of each hub part is used."
    )
    hub: downloads.Hub = downloads.Hub()

    @property
    def sources(self) -> dict[str, str]:
        """Every part the bundle has, by name ("base", "controlnets.canny", …), and where it comes from."""
        found = {}
        for field in PART_FIELDS:
            value = getattr(self, field)
            if isinstance(value, dict):
                found |= {f"{field}.{name}": source for name, source in value.items()}
            elif value is not None:
                found[field] = value.path if isinstance(value, FaceModels) else value
        return found

    def has(self, part: str) -> bool:
        """Whether the bundle names this part; it may still have to be fetched."""
        return part in self.sources

    def require(self, part: str) -> Path:
        """The local file or folder of a part. Never downloads: `fetch` does.

        Raises:
            BundleError: the bundle has no such part, or its local file is missing or cut short.
            DownloadError: the part comes from the hub and has not been fetched, or only in part.
        """
        place = self.place(part)
        if isinstance(place, downloads.HubSource):
            return downloads.locate(
                part, place, lock=self.lock, hub=self.hub, remedy=self.fetch_command(part)
            )
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            fetchable = part == "faces" and self.faces.kind == "opencv"
            raise BundleError(
                f"The bundle “{self.name}” names “{self.sources[part]}” as its {part}, but there is nothing at "
                f"{place}. "
                + (
                    f"Run: {self.fetch_command(part)}"
                    if fetchable
                    else "Put it there, or correct bundle.json."
                )
            )
        if (damage := downloads.find_damage(place)) is not None:
            raise BundleError(f"The {part} of the bundle “{self.name}” is damaged. {damage} Copy it again.")
        return place

    def place(self, part: str) -> Path | downloads.HubSource:
        """Where a part is to be found: a path, there or not, or a place on the hub."""
        sources = self.sources
        if part not in sources:
            raise BundleError(
                f"The bundle “{self.name}” has no part “{part}”. It has: {', '.join(sources)}."
                f"{_close_match(part, sources)}"
            )
        path = (self.folder or Path()) / Path(sources[part]).expanduser()
        on_hub = downloads.parse(sources[part])
        if on_hub is None or self.folder is None:
            return on_hub or path
        # A folder that bears the first half of the name is no hub account: its second half is missing.
        return path if path.exists() or (self.folder / on_hub.repo.split("/")[0]).is_dir() else on_hub

    def parts(self) -> list[PartStatus]:
        """Every part as it stands on this machine, for `doctor`, `fetch` and the page."""
        return [self._status(part, source) for part, source in self.sources.items()]

    def _status(self, part: str, source: str) -> PartStatus:
        try:
            path, problem = self.require(part), None
        except (BundleError, DownloadError) as error:
            path, problem = None, str(error)
        size = (
            downloads.size_of(path) if path else downloads.known_size(part, self.place(part), lock=self.lock)
        )
        return PartStatus(
            name=part,
            source=source,
            path=path,
            present=path is not None,
            size=size,
            licence=self.licences.get(part, UNSTATED),
            problem=problem,
        )

    def fetch_command(self, part: str | None = None) -> str:
        """What to type to get a part, or all of them."""
        return f"python -m instantid fetch --bundle {self.opened_as}" + (f" --part {part}" if part else "")


PART_FIELDS = (
    "base",
    "identitynet",
    "identity_adapter",
    "faces",
    "vae",
    "previewer",
    "controlnets",
    "annotators",
    "loras",
    "style_adapter",
    "image_encoder",
)

_KNOWN_HERE = {"opened_as", "folder", "lock", "hub"}  # set by `open_bundle`, no keys of bundle.json


def default_cache() -> Path:
    """Where this program keeps lock files, the untrained `mini` and its face models."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "instantid-studio"


def mini_folder(cache: Path | None = None) -> Path:
    """Where `mini.build` puts the untrained mini. The number changes whenever it would write other files."""
    return (cache or default_cache()) / "mini-untrained-v1"


def face_files_folder(cache: Path | None = None) -> Path:
    """Where mini's face models lie: beside the untrained mini, so its bundle.json says "../faces-opencv"."""
    return (cache or default_cache()) / "faces-opencv"


def open_bundle(
    name_or_folder: str | Path, *, cache: Path | None = None, hub: downloads.Hub | None = None
) -> Bundle:
    """Describe a bundle; nothing is fetched or loaded.

    Args:
        name_or_folder: "sdxl", "sdxl:realvisxl" (one of `BASES`), "mini", or a folder that holds bundle.json.
        cache: where lock files and the untrained mini lie; `default_cache()` unless given.

    Raises:
        BundleError: no such bundle, mini has not been built yet, or bundle.json is malformed.
    """
    cache, hub, asked = cache or default_cache(), hub or downloads.Hub(), str(name_or_folder)
    if asked == "sdxl" or asked.startswith("sdxl:"):
        return _open_sdxl(asked, cache, hub)
    if asked == "mini":
        return _open_mini(cache, hub)
    folder = Path(name_or_folder).expanduser()
    if not folder.exists():
        raise BundleError(
            f"There is no bundle “{asked}”. There are: sdxl, {', '.join(f'sdxl:{base}' for base in BASES)}, mini, "
            f"or the path of a folder that holds bundle.json.{_close_match(asked, ('sdxl', 'mini'))}"
        )
    return _read(folder, asked, hub)


def licence_notice(bundle: Bundle) -> str:
    """What the licences of a bundle's parts allow, to be shown before the first fetch."""
    lines = [f"The parts of the bundle “{bundle.name}” belong to their publishers:"]
    lines += [
        f"- {part} ({source}): {bundle.licences.get(part, UNSTATED)}"
        for part, source in bundle.sources.items()
    ]
    return "\n".join(lines)


def fetch(
    bundle: Bundle,
    parts: Iterable[str] | None = None,
    *,
    on_progress: downloads.OnProgress | None = None,
) -> None:
    """Bring parts to this machine; what is here already is checked and left alone.

    Args:
        parts: their names; None: all of them.
        on_progress: called with (part, bytes done, bytes in all); without it, progress bars go to stderr. What it
            raises stops the fetch, which resumes from there next time.

    Raises:
        BundleError: the bundle has no such part, or a local one is missing.
        DownloadError: no network, no space, no permission, no such file, or damaged on the way.
    """
    parts = tuple(bundle.sources if parts is None else parts)
    places = {part: bundle.place(part) for part in parts}
    on_hub = {part: place for part, place in places.items() if isinstance(place, downloads.HubSource)}
    downloads.fetch(on_hub, lock=bundle.lock, hub=bundle.hub, on_progress=on_progress)
    if "faces" in parts and bundle.faces.kind == "opencv" and "faces" not in on_hub:
        fetch_face_files(places["faces"], hub=bundle.hub)
    for part in parts:
        bundle.require(part)


def _open_sdxl(asked: str, cache: Path, hub: downloads.Hub) -> Bundle:
    base = asked.partition(":")[2] or "yamermix"
    if base not in BASES:
        raise BundleError(
            f"The bundle sdxl has no base “{base}”. It has: {', '.join(BASES)}.{_close_match(base, BASES)}"
        )
    licences = SDXL["licences"] | {"base": BASES[base]["licence"]}
    description = SDXL | {"name": asked, "base": BASES[base]["base"], "licences": licences}
    lock = cache / f"{asked.replace(':', '-')}.lock.json"
    return Bundle(**description, opened_as=asked, lock=lock, hub=hub)


def _open_mini(cache: Path, hub: downloads.Hub) -> Bundle:
    for folder in (EMBEDDED_MINI, mini_folder(cache)):
        if (folder / "bundle.json").is_file():
            bundle = _read(folder, "mini", hub)
            return bundle.model_copy(update={"licences": {"faces": face_files.LICENCE} | bundle.licences})
    raise BundleError(
        f"The bundle mini has not been built yet: there is no bundle.json in {EMBEDDED_MINI} nor in "
        f'{mini_folder(cache)}. `Engine.load("mini")` builds it.'
    )


def _read(folder: Path, asked: str, hub: downloads.Hub) -> Bundle:
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
    keys = set(Bundle.model_fields) - _KNOWN_HERE
    if unknown := [key for key in description if key not in keys]:
        told = " ".join(f"“{key}”.{_close_match(key, keys)}" for key in unknown)
        raise BundleError(f"{path} has keys that mean nothing here: {told}")
    try:
        return Bundle(
            **description, opened_as=asked, folder=folder, lock=folder / "bundle.lock.json", hub=hub
        )
    except ValidationError as error:
        told = "; ".join(f"{'.'.join(map(str, at['loc']))}: {at['msg']}" for at in error.errors())
        raise BundleError(f"{path} is malformed. {told}.") from None


def _close_match(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean “{near[0]}”?" if near else ""
