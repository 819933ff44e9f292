"""The `control` stage: a ControlNet for one kind of map, or a Union model for all three, while the UNet stays as it
is (Zhang et al. 2023, 2302.05543; xinsir/controlnet-union-sdxl-1.0).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import nn

from ..errors import InvalidRequest
from ..request import Control
from .base import drawn_caption
from .conditions import without_text
from .denoising import Denoiser, Noise
from .loop import Figures
from .map_conditions import ALL_KINDS, Kinds, MapConditions
from .prepared import Prepared, some_of
from .settings import Share
from .sheets import lay_out
from .tempering import FEW, TEMPERED, temper


class Options(Noise):
    """Of the control stage."""

    kinds: Kinds = Field(ALL_KINDS, description="One: a ControlNet of its own. All three: one Union model.")
    fresh: bool = Field(
        True, description="Begin with a copy of the UNet; else go on with the bundle's own net."
    )
    drop_text: Share = Field(
        0.5, description="How often the text is left out, so that the map has to tell all."
    )
    tempered: float = TEMPERED


class ControlTask(nn.Module):
    """Learns to paint what maps show.

    Args:
        bundle: whose base stays.
        chosen: which pictures of `prepared` to learn from; those without any of the maps are left out.
        shown: whose maps and captions the sample sheet paints.

    Raises:
        InvalidRequest: kinds are neither one nor all, or no picture has such a map.
    """

    name = "control"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        if len(options.kinds) != 1 and sorted(options.kinds) != sorted(ALL_KINDS):
            raise InvalidRequest(
                f"The control stage trains one kind of map, or {', '.join(ALL_KINDS)} together: with a Union "
                f"model the page offers all of them. Got kinds: {', '.join(options.kinds) or 'none'}."
            )
        self.denoiser = Denoiser(bundle)
        self.guide = MapConditions(bundle, self.denoiser, prepared, options.kinds, fresh=options.fresh)
        self._prepared, self._options = prepared, options
        self._chosen = np.array([i for i in chosen if self.guide.kinds_of(i)], np.int64)
        self._shown = [i for i in shown if len(self.guide.kinds_of(i)) == len(options.kinds)]
        if not len(self._chosen):
            raise InvalidRequest(
                f"No picture in {prepared.folder} that is learned from has a map of {options.kinds[0]}: rendered "
                "people have all kinds, photos have only canny."
            )
        self.tend()

    def tend(self) -> None:
        """Temper attention, if asked to."""
        few = some_of(self._chosen, FEW)
        temper([self.guide.net], lambda: self._denoised(few), self._options.tempered)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The denoising loss of these pictures, each told by some of its maps."""
        return {"loss": self._denoised(self._chosen[list(indices)])}

    def _denoised(self, chosen: np.ndarray) -> torch.Tensor:
        denoiser = self.denoiser
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(denoiser.unet.device)
        records = [self._prepared.records[i] for i in chosen]
        conditions = denoiser.read([drawn_caption(record) for record in records], records)
        dropped = torch.rand(len(chosen), device=latents.device) < self._options.drop_text
        conditions = without_text(conditions, denoiser.read([""]), dropped)
        told = self.guide.drawn(chosen)
        given = self.guide.guided(conditions, chosen, told, vary=True)
        return denoiser.loss(latents, given, self._options)

    def sheet(self) -> Image.Image | None:
        """The pictures; below, each kind of map and what it gives, what all give together, and what none gives."""
        if not self._shown:
            return None
        kinds, count = self._options.kinds, len(self._shown)
        texts = [self._prepared.records[i]["caption"] for i in self._shown]
        told, empty = self.denoiser.read(texts), self.denoiser.read([""] * count)

        def paint(kinds: Kinds) -> np.ndarray:
            sets = [kinds] * count
            given, against = (self.guide.guided(each, self._shown, sets) for each in (told, empty))
            return self.denoiser.paint(given, against)

        rows = [*self._prepared.images(self._shown)]
        for kind in kinds:
            rows += [self.guide.maps.draw(kind, i, Control()) for i in self._shown]
            rows += [*paint((kind,))]
        if len(kinds) > 1:
            rows += [*paint(kinds)]
        return lay_out([*rows, *self.denoiser.paint(told, empty)], columns=count)

    def save(self, bundle: Path) -> None:
        """Write controlnets/KIND, or controlnets/union, which takes the place of all kinds in bundle.json."""
        self.guide.save(bundle)
