"""Where a run begins: a bundle folder of its own, over the bundle that it goes on with.

Small bundles are copied. Of large ones nothing is: the run's bundle.json names their parts where they lie, and only
what a stage trains is written beside it.
"""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import bundles
from ..bundles import Bundle, hub_parts
from ..bundles.bundle import SET_HERE
from ..bundles.exporting import files_of
from ..errors import BundleError
from .bundle_file import name_part

LARGEST_COPY = 2**30  # bytes
LOCK = "bundle.lock.json"
HALF = ".fp16"  # in the names of weights in half precision


def lay_out(source: Bundle, folder: Path) -> Path:
    """Make `folder` a bundle of the same parts, whole or not at all.

    Parts on the hub stay on the hub, at the commits that `source` is pinned at.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = folder.with_name(f"{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    if source.folder is not None and hub_parts.size_of(source.folder) <= LARGEST_COPY:
        shutil.copytree(source.folder, part)
        _describe(source, part, inside=source.folder.resolve())
    else:
        part.mkdir()
        _describe(source, part, inside=None)
    if source.lock is not None and source.lock.is_file():
        shutil.copyfile(source.lock, part / LOCK)
    part.rename(folder)
    return folder


def write_base(bundle: Path, models: Mapping[str, Any]) -> None:
    """Write trained models of a bundle's base, by their folders in it: "unet", "text_encoder", "vae".

    A base that lies elsewhere comes into the bundle with that, but for the models that are replaced. A VAE that the
    bundle has beside its base stays beside it.

    Raises:
        BundleError: the base is a single file: it has no place for one model.
    """
    opened, home = bundles.open_bundle(bundle), bundle / "base"
    models = dict(models)
    if "vae" in models and opened.has("vae"):
        models.pop("vae").save_pretrained(bundle / "vae")
        name_part(bundle, "vae", "vae", began_as="vae")
    path = opened.require("base")
    if path.is_file():
        raise BundleError(
            f"The base {path} is a single file, in which no one model can be written. Begin with a base in the "
            "diffusers layout, such as sdxl:sdxl-base."
        )
    if path.resolve() == home.resolve():
        for name, model in models.items():
            model.save_pretrained(home / name)
    elif models:
        part = home.with_name("base.part")
        shutil.rmtree(part, ignore_errors=True)
        for name, file in files_of(opened, "base", path):
            if name.split("/")[0] not in models:
                _copy_plainly(file, part / name.replace(HALF, ""))
        for name, model in models.items():
            model.save_pretrained(part / name)
        shutil.rmtree(home, ignore_errors=True)  # an old one that is not named
        part.rename(home)
        name_part(bundle, "base", "base")


def _describe(source: Bundle, folder: Path, *, inside: Path | None) -> None:
    """Write bundle.json; parts inside the folder that was copied keep their names, others on this machine are named
    where they lie."""
    elsewhere = {}
    for part in source.sources:
        place = source.place(part)
        if isinstance(place, Path) and not (inside and place.resolve().is_relative_to(inside)):
            elsewhere[part] = place.resolve()
    description = source.with_parts(elsewhere).model_dump(exclude=SET_HERE, exclude_none=True)
    (folder / "bundle.json").write_text(
        json.dumps(description, indent=2, ensure_ascii=False), encoding="utf-8"
    )


def _copy_plainly(file: Path, copy: Path) -> None:
    """Copy a file under a name that says nothing of half precision: what is trained is written without such names,
    and loaders want one kind for all of a base."""
    copy.parent.mkdir(parents=True, exist_ok=True)
    if file.name.endswith(f".index{HALF}.json"):
        copy.write_text(file.read_text(encoding="utf-8").replace(HALF, ""), encoding="utf-8")
    else:
        shutil.copyfile(file, copy)
