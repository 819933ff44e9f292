"""Weights part of the way from what a run began with to what it came to: WiSE-FT (Wortsman et al. 2022, 2109.01903).

What is learned late costs some of what was known; between the two lies most of both. And ControlNets turned up, where
strength 1 leads less than it could.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from .. import bundles
from ..adapter_file import read_adapter
from ..bundles import Bundle
from ..errors import InvalidRequest
from .bundle_file import name_part
from .identity import ADAPTER
from .starts import lay_out

Weights = Mapping[str, torch.Tensor]
OUT = ("controlnet_down_blocks.", "controlnet_mid_block.")  # the layers by which a ControlNet speaks


def blend(
    begun: Bundle,
    trained: Bundle,
    shares: Mapping[str, float],
    folder: Path,
    *,
    louder: Mapping[str, float] | None = None,
) -> Path:
    """Lay out a bundle, whole or not at all, whose weights are so much of the way, 0 to 1, from one to the other.

    Weights that `begun` has not, or in another shape, are `trained`'s; so is all that is no weight.

    Args:
        shares: by part, as in `Bundle.sources`; other parts are as they were trained.
        louder: by ControlNet, how many times as strong what it adds is then.

    Raises:
        InvalidRequest: one of the two has no such part in a folder of its own, its files are called otherwise, or
            what should be louder is no ControlNet.
    """
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    laid = bundles.open_bundle(lay_out(trained, unfinished))
    for part, share in shares.items():
        if not (begun.has(part) and _own(laid, part)):
            raise InvalidRequest(
                f"{part} cannot be blended: {begun.name} or the folder of {trained.name} has none. Leave it out; "
                f"there are: {', '.join(laid.sources)}."
            )
        old, new = begun.require(part), laid.require(part)
        if part == "identity_adapter":
            pieces, before = read_adapter(new), read_adapter(old)
            blended = {name: _between(before[name], each, share) for name, each in pieces.items()}
            torch.save(blended, unfinished / ADAPTER)
            name_part(unfinished, part, ADAPTER, began_as=part)
            continue
        for file in new.rglob("*.safetensors") if new.is_dir() else [new]:
            other = old / file.relative_to(new)
            if not other.is_file():
                raise InvalidRequest(
                    f"There is no {other} to blend with what it became. Name the bundle that the run began with, in "
                    "the same layout."
                )
            save_file(_between(load_file(other), load_file(file), share), file, metadata={"format": "pt"})
    for part, factor in (louder or {}).items():
        _amplify(laid, part, factor)
    return unfinished.rename(folder)


def _amplify(laid: Bundle, part: str, factor: float) -> None:
    amplified = False
    for file in laid.require(part).rglob("*.safetensors") if _own(laid, part) else ():
        weights = load_file(file)
        out = {
            name: (weight * factor).to(weight.dtype)
            for name, weight in weights.items()
            if name.startswith(OUT)
        }
        if out:
            save_file(weights | out, file, metadata={"format": "pt"})
            amplified = True
    if not amplified:
        raise InvalidRequest(
            f"{part} cannot be louder: it is no ControlNet in this bundle's folder. Leave it out."
        )


def _own(laid: Bundle, part: str) -> bool:
    """Whether a part lies in the bundle's own folder: what is only named there, where it lies, is others', too."""
    return laid.has(part) and laid.require(part).resolve().is_relative_to(laid.folder.resolve())


def _between(old: Weights, new: Weights, share: float) -> dict[str, torch.Tensor]:
    blended = dict(new)
    for name, weight in new.items():
        before = old.get(name)
        if before is not None and before.shape == weight.shape and weight.is_floating_point():
            blended[name] = torch.lerp(before.float(), weight.float(), share).to(weight.dtype)
    return blended
