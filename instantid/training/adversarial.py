"""The `adversarial` stage: pictures in a few steps that look like pictures, not like the mean of all that fit.

Taking noise out in four steps, a small base paints what many pictures have in common, and that is soft. Here what it
makes of noise in one step is shown, noisy again, to a discriminator that learns along: latent adversarial diffusion
distillation (Sauer et al. 2024, 2403.12015), with its own pictures in place of a teacher's, since a teacher that
paints softly is nothing to learn from. As there, no guidance is needed any more, and LCM's sampler is the one
to paint by: each step makes a whole picture, and noise is laid over it anew. The plain error stays beside, weighed
against by gradient, and people must be recognised as in the likeness stage: without, they are lost.
"""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from .adapters import plain_unet
from .beginnings import begin_controlnet
from .bundle_file import set_defaults
from .conditions import Conditions
from .contest import pulled
from .denoising import Denoiser
from .face_conditions import keypoint_maps
from .likeness import LikenessTask
from .likeness import Options as LikenessOptions
from .loop import Figures
from .prepared import Prepared
from .settings import Share
from .thing_reader import READ, ThingReader

SAMPLER = "LCM"
# Of pictures. With more, faces stand higher than asked, several photos are worth no more than one, and a step takes
# twice as long.
GUIDANCE = 1.0
STEPS = (999, 759, 499, 259)  # where that sampler looks, in four steps
BETWEEN = 0.4  # share of pictures in noise of any other strength, for other steps and pictures to start from
WIDTH = 96  # of the discriminator's heads
SLOPE = 0.2  # of their leaky rectifiers
MOST_NOISE = 0.8  # of the schedule, over what the discriminator sees
WRONG = 0.5  # weight of telling that a picture and what is said of it do not belong together


class Options(LikenessOptions):
    """Of the adversarial stage: the likeness stage's, and how what is made is judged."""

    guidance: float = Field(1.0, ge=1, description="Of text and face, while somebody is to be recognised.")
    judged: Share = Field(
        0.7, gt=0, description="Share of batches that the discriminator judges; the others keep it a base."
    )
    realism: float = Field(
        2.0,
        gt=0,
        description="How much more not being taken for a picture counts than the plain error, by gradient.",
    )
    simulated: Share = Field(
        0.0,
        description="Share of these batches in which a later step goes on from what it made itself until then, as "
        "where pictures are made: from true pictures alone it never learns to mend its own.",
    )
    read: float = READ


class Discriminator(nn.Module):
    """Tells latents from what is made, and whether text and keypoints are theirs.

    It sees them as the UNet's own first half does, which stays as it is and is told nothing of them; what learns are
    heads over all that this says, as in the paper.
    """

    def __init__(self, denoiser: Denoiser):
        super().__init__()
        net = begin_controlnet(plain_unet(denoiser.unet), denoiser.vae)
        widths = [layer.in_channels for layer in (*net.controlnet_down_blocks, net.controlnet_mid_block)]
        net.controlnet_down_blocks = nn.ModuleList(nn.Identity() for _ in net.controlnet_down_blocks)
        net.controlnet_mid_block = nn.Identity()
        self.backbone = net.requires_grad_(False)
        self._pixels = denoiser.pipeline.vae_scale_factor
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            text = denoiser.text_encoder_2.config.projection_dim
            self.heads = nn.ModuleList(_Head(width, text) for width in widths)

    def look(
        self,
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        hidden: torch.Tensor,
        added: dict[str, torch.Tensor],
    ) -> list[torch.Tensor]:
        """What is to be seen in (b, c, h, w) latents with noise.

        Args:
            hidden, added: what the text encoders make of no text, and what goes beside it.
        """
        nothing = noisy.new_zeros(len(noisy), 3, *(self._pixels * side for side in noisy.shape[-2:]))
        down, middle = self.backbone(
            noisy, timesteps, hidden, controlnet_cond=nothing, added_cond_kwargs=added, return_dict=False
        )
        return [*down, middle]

    def forward(self, seen: Sequence[torch.Tensor], pooled: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        """How true what is to be seen looks, (b, n): above 0 true, below it made.

        Args:
            pooled: (b, p), of the text.
            maps: (b, 3, s, s), 0 to 1, of the keypoints.
        """
        said = (head(level, pooled, maps) for head, level in zip(self.heads, seen, strict=True))
        return torch.cat([each.flatten(1).float() for each in said], dim=1)


class _Head(nn.Module):
    """Of one of the backbone's levels."""

    def __init__(self, width: int, text: int):
        super().__init__()
        self.way_in, self.out = nn.Conv2d(width + 3, WIDTH, 3, padding=1), nn.Conv2d(WIDTH, 1, 1)
        for layer in (self.way_in, self.out):
            # torch's own start makes so little of features that nothing is learned for long.
            nn.init.kaiming_normal_(layer.weight, SLOPE)
            nn.init.zeros_(layer.bias)
        self.says = nn.Linear(text, WIDTH)
        nn.init.zeros_(self.says.weight)
        nn.init.zeros_(self.says.bias)

    def forward(self, level: torch.Tensor, pooled: torch.Tensor, maps: torch.Tensor) -> torch.Tensor:
        maps = F.adaptive_avg_pool2d(maps, level.shape[-2:])
        seen = F.leaky_relu(
            self.way_in(torch.cat([level / level.detach().std().clamp(min=1e-3), maps], dim=1)), SLOPE
        )
        fits = (seen * self.says(pooled)[:, :, None, None]).sum(dim=1, keepdim=True)
        return self.out(seen) + fits / WIDTH**0.5


@torch.no_grad()
def made_until(step: int, denoiser: Denoiser, given: Conditions) -> torch.Tensor:
    """What is made in so many of the steps to a picture, (b, c, h, w) latents without noise."""
    return denoiser.lead(given, given, len(STEPS), GUIDANCE, step, sampler=SAMPLER)


class AdversarialTask(LikenessTask):
    """Learns to paint in a few steps what is taken for a picture, and for a picture of whom it should be of."""

    name, sampler = "adversarial", SAMPLER
    paces: ClassVar = {**LikenessTask.paces, "discriminator.": 8.0, "reader.": 6.0}
    stays = ("discriminator.backbone.",)

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__(bundle, prepared, chosen, shown, options)
        self.denoiser.require_velocity()
        self.discriminator = Discriminator(self.denoiser)
        self.reader = None
        if options.read:
            self.reader = ThingReader(self.denoiser, prepared, chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The discriminator's loss; of what is made in one step, that it is told and how far it is from the picture;
        and of some of the pictures, how little those in the making are recognised."""
        strengths = self._strengths()
        judged = random.random() < self._options.judged
        figures = (self._made if judged else self._denoised)(indices, strengths)
        if any(strengths):
            lost, found = self._painted(indices, strengths)
            figures |= found | {"loss": figures["loss"] + lost}
        return figures

    def _made(self, indices: Sequence[int], strengths: tuple[float, float]) -> Figures:
        chosen = self._chosen[list(indices)]
        latents, given, captions = self._told(chosen, strengths)
        simulated = random.random() < self._options.simulated
        if simulated:
            begun, timesteps = self._begun(given)
        else:
            timesteps = self._timesteps(len(latents)).to(latents.device)
            # A picture begins with noise alone, of which the strongest here is not quite.
            begun = latents * (timesteps < STEPS[0])[:, None, None, None]
        made = self.denoiser.made(begun, torch.randn_like(latents), timesteps, given)
        realism, told, figures = self._judged(latents, made, given, timesteps, chosen, strengths)
        kept = F.mse_loss(made, latents)
        loss = told + self._options.realism * realism
        if not simulated:  # which is not to become this very picture
            loss, figures = loss + kept, figures | {"kept": kept.detach()}
        if self.reader:
            learned, unheard, read = self.reader(made, chosen, captions, kept)
            figures, loss = figures | read, loss + learned + self._options.read * unheard
        return figures | {"loss": loss, "told": told.detach()}

    def _begun(self, given: Conditions) -> tuple[torch.Tensor, torch.Tensor]:
        """What it makes itself in one to three steps, and the step that is next: DMD2's backward simulation
        (2405.14867, section 4.5)."""
        step = random.randrange(1, len(STEPS))
        begun = made_until(step, self.denoiser, given)
        return begun, torch.full((len(begun),), STEPS[step], device=begun.device)

    def save(self, bundle: Path) -> None:
        """As the identity stage; and bundle.json says how pictures are made from now on."""
        super().save(bundle)
        set_defaults(bundle, {"scheduler": SAMPLER, "steps": len(STEPS), "guidance_scale": GUIDANCE})

    def _paint(self, given: Conditions, against: Conditions) -> np.ndarray:
        return self.denoiser.paint(given, against, steps=len(STEPS), guidance=GUIDANCE, sampler=SAMPLER)

    def _timesteps(self, count: int) -> torch.Tensor:
        steps = torch.tensor(STEPS)[torch.randint(len(STEPS), (count,))]
        anywhere = self.denoiser.timesteps(count, 1.0)
        return torch.where(torch.rand(count) < BETWEEN, anywhere, steps)

    def _judged(
        self,
        latents: torch.Tensor,
        made: torch.Tensor,
        given: Conditions,
        at: torch.Tensor,
        chosen: np.ndarray,
        strengths: tuple[float, float],
    ) -> tuple[torch.Tensor, torch.Tensor, Figures]:
        """What the painter loses and what the discriminator does (hinge losses), and how often that is right."""
        denoiser, discriminator, net = self.denoiser, self.discriminator, strengths[1]
        maps = keypoint_maps(self._prepared, chosen, denoiser.map_pixel).to(latents.device)
        if not net:
            maps = torch.zeros_like(maps)  # nobody said where
        pooled = given.pooled.detach()
        nothing = denoiser.read([""] * len(latents))
        added = denoiser.beside(latents, nothing)
        timesteps = (MOST_NOISE * denoiser.timesteps(len(latents), 1.0)).long().to(latents.device)
        noise = torch.randn_like(latents)

        def look(pictures: torch.Tensor) -> list[torch.Tensor]:
            noisy = denoiser.noised(pictures, noise, timesteps)
            return discriminator.look(noisy, timesteps, nothing.hidden, added)

        shown = made.detach().requires_grad_()
        seen_of_made = look(shown)
        with torch.no_grad():
            seen_of_true = look(latents)
        [better] = torch.autograd.grad(-discriminator(seen_of_made, pooled, maps).mean(), shown)
        of_true, of_made, of_others = (
            discriminator([level.detach() for level in seen], pooled.roll(turned, 0), maps.roll(turned, 0))
            for seen, turned in ((seen_of_true, 0), (seen_of_made, 0), (seen_of_true, 1))
        )
        false = F.relu(1 + of_made).mean() + WRONG * F.relu(1 + of_others).mean()
        told = F.relu(1 - of_true).mean() + false / (1 + WRONG)
        right, fits = (
            (of_true.mean(dim=1) > other.mean(dim=1)).float().mean() for other in (of_made, of_others)
        )
        # A discriminator's gradient grows as it learns, and the less noise it looks through; of one that cannot tell
        # there is nothing to learn. Plain errors are about as large as the noise is strong.
        size = 2 * denoiser.strength(at) / (len(latents) * latents[0].numel() ** 0.5)
        size = size * (2 * right - 1).clamp(min=0)
        return pulled(made, better, size), told, {"right": right, "fits": fits}
