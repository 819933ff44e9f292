"""A discriminator over what a face model sees of faces: Projected GANs (Sauer et al. 2021, 2111.01007).

One that has to learn first what faces are is soon right by something else and teaches little; one that begins with
what a face model tells apart says from the first step on what a smeared eye lacks.
"""

import numpy as np
import torch
from torch import nn

from ..face_measures import PLACES, SIDE
from .autoencoder import halving
from .recogniser import Recogniser

WIDTH = 32  # of what a level's channels are mixed to, and of the heads
COARSE = 14  # places a side, at most, that a head says something of
INNER = (0.3, 1.0, 0.15, 0.85)  # top, bottom, left, right, of a face as it is cut out: eyes, nose and mouth
ASIDE = 3.0  # pixels beside their places that faces are cut out, at most: never twice the same


class FaceJudge(nn.Module):
    """Tells faces in pictures from faces that are made. Heads learn, on a random mixture of each level's channels:
    else they would look at a few (3.2 there). The face model stays as it is.

    Args:
        inner: only what lies between brows, cheeks and chin is told apart. Where hair begins it is told most easily,
            and a painter that cannot draw that learned, measured, to paint stripes there.
    """

    def __init__(self, recogniser: Recogniser, *, inner: bool = False):
        super().__init__()
        self._inner = inner
        self._look = recogniser.levels  # its weights are the bundle's, none of a run's
        levels = self._look(torch.zeros(1, 3, SIDE, SIDE), PLACES[None])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.mixtures = nn.ModuleList(nn.Conv2d(each.shape[1], WIDTH, 1, bias=False) for each in levels)
            self.heads = nn.ModuleList(_head(each.shape[-1]) for each in levels)
            for mixture in self.mixtures:
                nn.init.kaiming_normal_(mixture.weight, nonlinearity="linear")
        self.mixtures.requires_grad_(False)

    def look(self, pictures: torch.Tensor, places: np.ndarray) -> list[torch.Tensor]:
        """What the face model sees in (b, 3, h, w), -1 to 1, of faces whose keypoints, (b, 5, 2) in pixels, are
        here."""
        return self._look(pictures, places + ASIDE * (2 * torch.rand(len(places), 1, 2).numpy() - 1))

    def forward(self, *levels: torch.Tensor) -> torch.Tensor:
        """How true that looks, (b, n): above 0 true, below it made."""
        said = (
            head(mixture(level / level.detach().std().clamp(min=1e-3)))
            for level, mixture, head in zip(levels, self.mixtures, self.heads, strict=True)
        )
        if self._inner:
            said = map(_within, said)
        return torch.cat([each.flatten(1) for each in said], dim=1)


def _within(said: torch.Tensor) -> torch.Tensor:
    """What is said, (b, 1, h, w), of the inner face."""
    height, width = said.shape[-2:]
    top, bottom, left, right = INNER
    return said[..., int(top * height) : int(bottom * height), int(left * width) : int(right * width)]


def _head(side: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    while side > COARSE:
        layers += halving(WIDTH, WIDTH)
        side //= 2
    layers += [nn.Conv2d(WIDTH, WIDTH, 3, 1, 1), nn.LeakyReLU(0.2)]
    return nn.Sequential(*layers, nn.Conv2d(WIDTH, 1, 1))
