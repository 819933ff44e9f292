"""The description of a bundle: its parts, their licences, and where each lies on this machine."""

import difflib
import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..errors import BundleError, DownloadError
from ..people import USUAL_STRENGTH, Strength
from ..request import SchedulerName
from . import face_files, hub_parts, weight_files
from .hub_parts import Hub, HubSource

UNSTATED = "not stated by the bundle."

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
    grid: int = Field(
        8,
        ge=8,
        multiple_of=8,
        description="Sides of pictures are multiples of it: a latent's side in pixels.",
    )
    map_pixel: int = Field(
        1,
        ge=1,
        description="Side of a control map's pixel: nets that learned from small pictures know them so coarse.",
    )
    steps: int = Field(30, ge=1)
    guidance_scale: float = Field(5.0, ge=0)
    scheduler: SchedulerName = "Euler"
    identity_strength: Strength = USUAL_STRENGTH
    adapter_strength: Strength = USUAL_STRENGTH
    least_face: float = Field(
        0.0,
        ge=0,
        le=1,
        description="How high a lone face is at least where its own photo alone poses, as a part of the picture's "
        "shorter side: what small models paint smaller nobody recognises. The photo comes closer.",
    )

    @property
    def side(self) -> int:
        """Of a square picture as large as the default one, in pixels."""
        return round((self.width * self.height) ** 0.5 / self.grid) * self.grid


WordGroup = Literal["hair", "beards", "ages", "faces", "clothes", "glasses", "places", "sights"]
"""Of `mini_tokenizer/shown.txt`."""


class Trained(BaseModel):
    """How a bundle's own weights came to be, to be read by whoever uses them.

    `on`: what they saw, as in “trained on …”; `gives`: what to expect, as in “a face becomes …”; `command`, `date`,
    `commit`: how to do it again. `words_miss`: groups of words that were measured to change hardly anything;
    `words_faint`: by style preset those that change little in it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    on: Source
    hours: float = Field(gt=0)
    hardware: Source
    command: Source
    date: Annotated[str, Field(pattern=r"\d{4}-\d\d-\d\d")]
    commit: Source
    gives: Source = "a rendered look-alike, not you"
    words_miss: tuple[WordGroup, ...] = ()
    words_faint: dict[str, tuple[WordGroup, ...]] = {}


class StyleBlocks(BaseModel):
    """Where a bundle's style adapter acts for style and for layout, by the beginnings of attentions' names. What
    InstantStyle found in SDXL's blocks (2404.02733) need not be so in another UNet's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    style: tuple[Source, ...] = Field(min_length=1)
    layout: tuple[Source, ...] = Field(min_length=1)


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
    base_config: Source | None = Field(
        None,
        description="A folder in the diffusers layout that describes a base which is a single file; of a place on "
        "the hub only configuration and vocabularies are fetched.",
    )
    vae: Source | None = None
    previewer: Source | None = None
    controlnets: dict[str, Source] = {}
    annotators: dict[str, Source] = {}
    loras: dict[str, Source] = {}
    style_adapter: Source | None = None
    style_blocks: StyleBlocks | None = Field(None, description="SDXL's where none are named.")
    image_encoder: Source | None = None
    faceid_adapter: Source | None = None
    faceid_faces: FaceModels | None = Field(
        None, description="What the FaceID adapter was trained with: another model than `faces`."
    )
    licences: dict[str, str] = {}
    defaults: Defaults = Defaults()
    untrained: bool = False
    trained: Trained | None = Field(None, description="Of a small bundle that was trained by this project.")
    # Set by `open_bundle`, no keys of bundle.json:
    opened_as: str = ""
    folder: Path | None = Field(None, description="Where bundle.json lies.")
    lock: Path | None = Field(None, description="Remembers which commit of each hub part is used.")
    hub: Hub = Hub()

    @property
    def sources(self) -> dict[str, str]:
        """Every part the bundle has, by name ("base", "controlnets.canny", …), and where it comes from."""
        found = {}
        for field, value in self:
            if field not in _NO_PARTS and isinstance(value, dict):
                found |= {f"{field}.{name}": source for name, source in value.items()}
            elif field not in _NO_PARTS and value is not None:
                found[field] = value.path if isinstance(value, FaceModels) else value
        return found

    @property
    def about(self) -> str | None:
        """What a small bundle of this project's own is and gives, for who has never heard of it; None for others."""
        if self.trained is None:
            return None
        hours = round(self.trained.hours) or f"{self.trained.hours:.1f}"
        return (
            f"{self.name} is a small model to try things with: {self.defaults.width} × {self.defaults.height} pixels,"
            f" trained for {hours} hour{'' if hours == 1 else 's'} on {self.trained.on}. A face becomes "
            f"{self.trained.gives}. For real pictures: python -m instantid fetch --bundle sdxl"
        )

    def with_parts(self, found: Mapping[str, Path]) -> "Bundle":
        """A copy that takes these parts from files or folders; named as in `sources`."""
        changes: dict[str, object] = {}
        for part, path in found.items():
            field, _, name = part.partition(".")
            value = getattr(self, field)
            if name:
                changes[field] = changes.get(field, value) | {name: str(path)}
            else:
                is_faces = isinstance(value, FaceModels)
                changes[field] = value.model_copy(update={"path": str(path)}) if is_faces else str(path)
        return self.model_copy(update=changes)

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
        remedy = self.fetch_command(part)
        if isinstance(place, HubSource):
            return hub_parts.locate(part, place, lock=self.lock, hub=self.hub, remedy=remedy)
        if (missing := self._missing(part, place)) is not None:
            raise BundleError(
                f"The bundle “{self.name}” names “{self.sources[part]}” as its {part}, but there is nothing at "
                f"{missing}. "
                + (f"Run: {remedy}" if self.carries_opencv(part) else "Put it there, or correct bundle.json.")
            )
        if (damage := weight_files.find_damage(place)) is not None:
            raise BundleError(f"The {part} of the bundle “{self.name}” is damaged. {damage} Copy it again.")
        return place

    def place(self, part: str) -> Path | HubSource:
        """Where a part is to be found: a path, there or not, or a place on the hub."""
        sources = self.sources
        if part not in sources:
            raise BundleError(
                f"The bundle “{self.name}” has no part “{part}”. It has: {', '.join(sources)}."
                f"{close_match(part, sources)}"
            )
        path = (self.folder or Path()) / Path(sources[part]).expanduser()
        on_hub = hub_parts.parse(sources[part])
        if part == "base_config" and on_hub is not None:
            on_hub = replace(on_hub, only_texts=True)
        if on_hub is None or self.folder is None:
            return on_hub or path
        # A folder that bears the first half of the name is no hub account, even when its second half is missing.
        return path if (self.folder / on_hub.repo.split("/")[0]).is_dir() else on_hub

    def is_single_file(self, part: str) -> bool:
        """Whether the part is one file of weights, here or on the hub, and no folder of a loader's layout."""
        place = self.place(part)
        if isinstance(place, HubSource):
            return Path(place.inside).suffix in weight_files.WEIGHTS
        return place.is_file()

    def present(self, *parts: str) -> bool:
        """Whether the bundle names these parts and they lie here whole. No other part's files are looked at."""
        sources = self.sources
        return all(part in sources and self._status(part, sources[part]).present for part in parts)

    def parts(self) -> list[PartStatus]:
        """Every part as it stands on this machine, for `doctor` and `fetch`."""
        return [self._status(part, source) for part, source in self.sources.items()]

    def _status(self, part: str, source: str) -> PartStatus:
        try:
            path, problem = self.require(part), None
        except (BundleError, DownloadError) as error:
            path, problem = None, str(error)
        known = hub_parts.known_size(part, self.place(part), lock=self.lock)
        return PartStatus(
            name=part,
            source=source,
            path=path,
            present=path is not None,
            size=known if known is not None or path is None else hub_parts.size_of(path),
            licence=self.licences.get(part, UNSTATED),
            problem=problem,
        )

    def _missing(self, part: str, place: Path) -> Path | None:
        if not place.exists() or (place.is_dir() and not any(place.iterdir())):
            return place
        if self.carries_opencv(part):
            return next((place / name for name in face_files.SHA256 if not (place / name).is_file()), None)
        return None

    def carries_opencv(self, part: str) -> bool:
        """Whether the part is OpenCV's face models, whose files this program can bring into any folder."""
        models = getattr(self, part, None)
        is_opencv = isinstance(models, FaceModels) and models.kind == "opencv"
        return is_opencv and isinstance(self.place(part), Path)

    def fetch_command(self, part: str | None = None) -> str:
        """What to type to get a part, or all of them."""
        command = ["python", "-m", "instantid", "fetch", "--bundle", self.opened_as]
        return shlex.join(command + (["--part", part] if part else []))


SET_HERE = {"opened_as", "folder", "lock", "hub"}
_NO_PARTS = {"name", "licences", "defaults", "untrained", "trained", "style_blocks"} | SET_HERE


def close_match(word: str, words: Iterable[str]) -> str:
    """A question to end an error with, or nothing where no word is near."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f" Did you mean “{near[0]}”?" if near else ""
