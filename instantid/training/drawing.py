"""The `drawing` stage: the Union ControlNet learns, without the UNet, what pictures with such maps look like.

As placing does for faces: of edges, depth and skeletons much of a picture may be foretold at once, and a small UNet
that is to find out from noise what a silent net might say learns hardly anything. The net learns to write it down;
the UNet then learns to read (identity's `guided`).
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import nn

from ..people import Frozen
from .base import drawn_caption
from .beginnings import upper_part
from .conditions import without_text
from .denoising import Denoiser
from .loop import Figures
from .map_code import AT
from .map_conditions import ALL_KINDS, Kinds, MapConditions
from .prepared import Prepared
from .sheets import lay_out

WORDLESS = 0.5  # share of pictures without a caption


class Options(Frozen):
    """Of the drawing stage."""

    fresh: bool = Field(
        True, description="Begin with a copy of the UNet; else go on with the bundle's own net."
    )


class DrawingTask(nn.Module):
    """Learns to write the code of pictures from their maps.

    Args:
        bundle: whose UNet the net is for; it stays.
        chosen: which pictures of `prepared` to learn from.
        shown: what the sample sheet draws.
    """

    name = "drawing"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        self.denoiser = Denoiser(bundle)
        self.guide = MapConditions(bundle, self.denoiser, prepared, ALL_KINDS, fresh=options.fresh)
        self._prepared = prepared
        self._chosen = np.array([i for i in chosen if self.guide.kinds_of(i)], np.int64)
        self._shown = [i for i in shown if len(self.guide.kinds_of(i)) == len(ALL_KINDS)]
        net = self.guide.net
        written, way_in = net.controlnet_down_blocks[AT], net.controlnet_cond_embedding.conv_out
        if not written.weight.any():  # silent so as not to disturb a UNet; none listens here
            nn.init.dirac_(written.weight)
            with torch.random.fork_rng(devices=[]):
                torch.manual_seed(0)
                nn.init.kaiming_normal_(way_in.weight, nonlinearity="linear")
        self._code = self.guide.code  # refuses a residual too narrow
        net.requires_grad_(False)
        upper_part(net, AT, levels=1).requires_grad_(True)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The error of what is said of each picture, as a share of how much pictures vary."""
        chosen, denoiser = self._chosen[list(indices)], self.denoiser
        device = denoiser.unet.device
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(device)
        said = self._say(chosen, self.guide.drawn(chosen), vary=True)
        pictures, spread = (said - self._code.of(latents)).square().mean(dim=(0, 2, 3)).chunk(2)
        return {"loss": pictures.mean() + spread.mean(), "pictures": pictures.mean(), "spread": spread.mean()}

    def _say(self, chosen: Sequence[int], kinds: Sequence[Kinds], *, vary: bool = False) -> torch.Tensor:
        """The code that the net writes, out of noise of any strength over other pictures: of this one it is told by
        its maps alone."""
        denoiser, n = self.denoiser, len(chosen)
        device = denoiser.unet.device
        records = [self._prepared.records[i] for i in chosen]
        conditions = denoiser.read([drawn_caption(record) for record in records], records)
        dropped = torch.rand(n, device=device) < WORDLESS
        conditions = without_text(conditions, denoiser.read([""]), dropped)
        at = denoiser.timesteps(n, 1.0).to(device)
        others = self._chosen[torch.randint(len(self._chosen), (n,)).numpy()]
        noisy = denoiser.disturbed(torch.from_numpy(self._prepared.latents(others)).float().to(device), at)
        return self.guide.say(denoiser, conditions, chosen, kinds, noisy, at, vary=vary)

    def sheet(self) -> Image.Image | None:
        """Pictures; below, what is foretold of each from edges, depth, the skeleton, and from all."""
        if not self._shown:
            return None
        shown = self._shown
        rows = [*self._prepared.images(shown)]
        for kinds in (*((kind,) for kind in ALL_KINDS), ALL_KINDS):
            said = self._say(shown, [kinds] * len(shown))
            rows += [*self.denoiser.decode(self._code.latents_of(said))]
        return lay_out(rows, columns=len(shown))

    def save(self, bundle: Path) -> None:
        """Write controlnets/union."""
        self.guide.save(bundle)
