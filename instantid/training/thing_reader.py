"""A classifier of latents that learns along, for whoever paints what captions tell of: AC-GAN (1610.09585).

It learns from true pictures alone: those through noise, as what guides a sampler must (2105.05233), for what is said
of clean latents a painter can please by specks that nobody sees; and softened, for what is made in one step is soft,
and to who has seen sharp ones only that says anything.
"""

from collections.abc import Sequence

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from ..errors import InvalidRequest
from .denoising import Denoiser
from .loop import Figures
from .prepared import Prepared
from .things import Things

WIDTHS = (96, 160)  # at latents' own size, and at half of it
PLACES = 4  # a side, of which it is known where they are: hair is above, places are beside
DROPPED = 0.3
SEEN = 48  # true pictures that it learns from in a step
BLURS = 2  # by three places each
MOST_NOISE = 0.3  # of the schedule, over what it sees
READ = Field(
    0.0,
    ge=0,
    description="How much it counts, by gradient, that what captions tell is not read in what is made of them by a "
    "classifier that learns along; beside what else is wrong with it. Above 0, it needs data of rendered people.",
)


class ThingReader(nn.Module):
    """Says of latents how likely they show each of the things that pictures show.

    Args:
        denoiser: whose latents and noise.
        chosen: of which pictures of `prepared` it learns: of rendered ones with one person. Of others nothing is
            known or asked.

    Raises:
        InvalidRequest: there are no such pictures.
    """

    def __init__(self, denoiser: Denoiser, prepared: Prepared, chosen: np.ndarray):
        super().__init__()
        self._denoiser = [denoiser]  # in a list: its weights are the task's
        self._prepared = prepared
        self._scenes = [i for i in chosen.tolist() if len(prepared.records[i].get("figures", [])) == 1]
        if not self._scenes:
            raise InvalidRequest(
                f"{prepared.folder} holds no rendered pictures of one person: what others show nobody knows. Set "
                "read: 0, or make data: python -m instantid data make FOLDER."
            )
        things = self._things = Things(prepared.records, np.array(self._scenes))
        self._shown = {i: torch.from_numpy(things.shown(i)) for i in self._scenes}
        often = torch.stack([*self._shown.values()]).mean(dim=0).clamp(1e-3, 1 - 1e-3)
        self.register_buffer("_usual", often.logit(), persistent=False)
        fine, coarse = WIDTHS
        channels = denoiser.unet.config.in_channels
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.body = nn.Sequential(
                *_layer(channels, fine), *_layer(fine, coarse, stride=2), *_layer(coarse, coarse)
            )
            self.says = nn.Linear(coarse * PLACES**2, len(often))
        nn.init.zeros_(self.says.weight)
        nn.init.zeros_(self.says.bias)

    def forward(
        self, made: torch.Tensor, whose: np.ndarray, captions: Sequence[str], wrong: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, Figures]:
        """What it loses that learns from true pictures; how little it reads what captions tell in (b, c, h, w) made
        of them, by gradient as much as what else is wrong with these; and both as shares of what one would guess.

        Args:
            whose: (b,) the pictures that the captions are of.
        """
        some = [self._scenes[i] for i in torch.randint(len(self._scenes), (SEEN,))]
        true = torch.from_numpy(self._prepared.latents(some)).float().to(made.device)
        shown = self._showing(some).to(made.device)
        learned, unread = self._missed(self._softened(true), shown, torch.ones_like(shown))
        painted = made.detach().requires_grad_()
        should, asked = self._asked(whose.tolist(), captions)
        missed, unheard = self._missed(painted, should.to(made.device), asked.to(made.device))
        # It is not to learn from what is made: both would agree on what no picture shows. Who guesses has nothing to
        # teach; and of what is read already there is nothing to learn.
        [worse] = torch.autograd.grad(missed, painted)
        [slope] = torch.autograd.grad(wrong, made, retain_graph=True)
        size = (1 - unread).clamp(min=0) * unheard.clamp(max=1) * slope.norm() / worse.norm().clamp(min=1e-12)
        return learned, size * (worse * made).sum(), {"unread": unread, "unheard": unheard}

    def _showing(self, pictures: Sequence[int]) -> torch.Tensor:
        return torch.stack([self._shown[i] for i in pictures])

    def _asked(self, whose: Sequence[int], captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, n) what these pictures show, and which of it their captions tell."""
        should, told = torch.zeros(2, len(whose), len(self._things))
        for row, (picture, caption) in enumerate(zip(whose, captions, strict=True)):
            if picture in self._shown:
                should[row] = self._shown[picture]
                told[row] = torch.from_numpy(self._things.told(picture, caption))
        return should, told

    def _said(self, latents: torch.Tensor) -> torch.Tensor:
        """(b, c, h, w) without noise → (b, n), above 0: more likely there than not."""
        denoiser = self._denoiser[0]
        timesteps = (MOST_NOISE * denoiser.timesteps(len(latents), 1.0)).long().to(latents.device)
        seen = F.adaptive_avg_pool2d(self.body(denoiser.disturbed(latents, timesteps)), PLACES)
        return self._usual + self.says(F.dropout(seen.flatten(1), DROPPED, self.training)).float()

    def _softened(self, latents: torch.Tensor) -> torch.Tensor:
        """Latents as far on the way to a blur as chance has it."""
        blurred = latents
        for _ in range(BLURS):
            blurred = F.avg_pool2d(F.pad(blurred, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
        return torch.lerp(latents, blurred, torch.rand_like(latents[:, :1, :1, :1]))

    def _missed(
        self, latents: torch.Tensor, shown: torch.Tensor, told: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """How little what is told is read in these latents, and as a share of how little one would guess it.

        Args:
            shown: (b, n) 1 for things that should be there, 0 for those that should not.
            told: (b, n) 1 for those of both that count.
        """
        everything = told.sum().clamp(min=1)
        read, guessed = (
            (told * F.binary_cross_entropy_with_logits(said, shown, reduction="none")).sum() / everything
            for said in (self._said(latents), self._usual.expand_as(shown))
        )
        return read, (read / guessed.clamp(min=1e-6)).detach()


def _layer(into: int, out: int, *, stride: int = 1) -> tuple[nn.Module, ...]:
    return nn.Conv2d(into, out, 3, stride, 1), nn.GroupNorm(8, out), nn.SiLU()
