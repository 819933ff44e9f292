"""The `decoder` stage: AutoencoderKL's decoder goes on, with what the UNet makes, and gives pictures of that.

Decoders learn from latents of true pictures (autoencoder.py); a small UNet's have smeared eyes and lumps in them, and
are shown so. Here some are made out of noisy true ones, and should give the picture; others out of noise alone, as
the bundle's own pictures are, and should keep their colours. What pictures look like, a patch discriminator says
(2012.09841, 3.1), and what faces look like, one over a face model (face_judge.py). So are faces restored behind a
generator (GFP-GAN, 2101.04061); here by the decoder that runs anyway. Encoder, latents and UNet stay as they are.
"""

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from .. import branches, bundles
from ..errors import InvalidRequest
from .adapters import fitting_adapter
from .autoencoder import as_tensor, patch_discriminator, unlike
from .base import drawn_caption
from .conditions import Conditions
from .contest import contest
from .decoder_options import Options
from .denoising import Denoiser
from .face_conditions import led
from .face_judge import FaceJudge
from .loop import Figures
from .prepared import Prepared
from .recognition import Recognition
from .sheets import lay_out
from .starts import write_base
from .widening import widened

HALF = 0.5  # of the noise schedule: with less, what is made is still the picture
AGAIN = 0.5  # share of what is made so that is made once more, out of itself
ABOUT = 12  # pixels that squares lie beside the middle of a face, at most
TREMBLE = 0.2  # of pixels, -1 to 1: noise over all that the discriminator sees
TOGETHER = 16  # pictures that latents are made of together, which are kept
COARSE = 2  # of a latent's side: the mean colour of such parts is kept
FRAME, BESIDE = 16, 4  # pixels along borders that zeros beyond them reach, and of those next to them
Make = Callable[[np.ndarray], torch.Tensor]  # pictures, by number → latents


class DecoderTask(nn.Module):
    """Learns to show as a picture what the UNet made.

    Args:
        bundle: whose decoder learns; its face models judge, which must be those that the data was prepared with.
        chosen: which pictures of `prepared` to learn from; those without a face are left out.
        shown: whose latents the sample sheet decodes.

    Raises:
        BundleError: the bundle has no IdentityNet or identity adapter, or its face models do not fit.
        InvalidRequest: squares do not lie on latents' edges; the coarsest level cannot be so wide; or onnx2torch is
            not installed.
    """

    name = "decoder"
    # As fast as the decoder they would be right at once, and always.
    paces: ClassVar = {"judge.": 0.35, "face_judge.": 0.35}
    stays = ("before.",)

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        denoiser = self.denoiser = Denoiser(bundle, faces=True)
        self._latent = denoiser.pipeline.vae_scale_factor  # pixels a side
        if options.crop % self._latent:
            raise InvalidRequest(
                f"crop must be a multiple of {self._latent}, the side of a latent in pixels."
            )
        branches.attach(denoiser.pipeline, [fitting_adapter(bundle, denoiser.unet, prepared)])
        if options.coarsest:
            denoiser.vae = denoiser.pipeline.vae = widened(denoiser.vae, options.coarsest)
        denoiser.requires_grad_(False)
        self.before = copy.deepcopy(denoiser.vae)
        self.before.encoder = None  # nor would checkpoints want it
        for part in (denoiser.vae.decoder, denoiser.vae.post_quant_conv):
            if part is not None:
                part.requires_grad_(True)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.judge = patch_discriminator(len(denoiser.vae.config.block_out_channels) - 1)
        self._chosen = chosen[prepared.found[chosen]]
        recognised = options.likeness or options.lifelike
        self.recognition = Recognition(bundle, prepared, self._chosen) if recognised else None
        self.face_judge = FaceJudge(self.recognition.recogniser) if options.lifelike else None
        self._prepared, self._shown, self._options = prepared, shown, options
        self._defaults = bundles.open_bundle(bundle).defaults
        self._remembered: dict[tuple[Make, int], torch.Tensor] = {}  # by their first
        # Of squares, in latents.
        self._side = min(options.crop // self._latent or denoiser.side, denoiser.side)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """How far from their pictures latents are shown that should be like these; and of all, how little they are
        taken for pictures and recognised."""
        chosen, options = self._chosen[list(indices)], self._options
        latents, like = self._latents(chosen)
        corners = self._corners(chosen)
        pictures = as_tensor(self._prepared.images(chosen)).to(latents.device)
        pictures = _squares(pictures, corners * self._latent, self._side * self._latent)
        latents = _squares(latents, corners, self._side)
        shown = self.denoiser.pixels(latents)
        figures, loss = {}, shown.new_zeros(())
        if like:
            loss, figures = unlike(shown[:like], pictures[:like], options.edges, options.colours)
        if like < len(shown):
            figures["kept"] = self._recoloured(shown[like:], self._before(latents[like:]))
            loss = loss + figures["kept"]
        if options.borders:
            figures["borders"] = (_frame(shown) - _frame(pictures)).abs().mean()
            loss = loss + options.borders * figures["borders"]
        places = self._prepared.keypoints[chosen] - self._latent * corners[:, None]
        if options.realism:
            fooling, telling, right = contest(_trembling, self.judge, shown, pictures)
            loss = loss + options.realism * fooling + telling
            figures |= {"telling": telling, "right": right}
        if options.lifelike:
            look = partial(self.face_judge.look, places=places)
            fooling, telling, right = contest(look, self.face_judge, shown, pictures)
            loss = loss + options.lifelike * fooling + telling
            figures |= {"faces_telling": telling, "faces_right": right}
        if options.likeness:
            faces = torch.from_numpy(self._prepared.embeddings[chosen]).to(shown.device)
            lost, found = self.recognition(shown, faces, chosen, places)
            loss, figures = loss + options.likeness * lost, figures | found
        return {"loss": loss} | figures

    def sheet(self) -> Image.Image:
        """The pictures; below, what the decoder shows of their latents, of those made out of noisy ones, and of those
        made of noise."""
        rows = [*self._prepared.images(self._shown)]
        with torch.random.fork_rng():
            torch.manual_seed(0)
            for make in (self._true, self._near, self._far):
                rows += [*self.denoiser.decode(make(self._shown))]
        return lay_out(rows, columns=len(self._shown))

    def save(self, bundle: Path) -> None:
        """Write the VAE, whose encoder is as it was."""
        write_base(bundle, {"vae": self.denoiser.vae})

    @torch.no_grad()
    def _latents(self, chosen: np.ndarray) -> tuple[torch.Tensor, int]:
        """(b, c, h, w), and how many of them, the first, should give their pictures."""
        count, options = len(chosen), self._options
        true = round(options.real * count)
        like = min(count, true + round(options.near * count))
        kinds = ((self._true, chosen[:true]), (self._near, chosen[true:like]), (self._far, chosen[like:]))
        return torch.cat([self._made(make, part) for make, part in kinds if len(part)]), like

    def _made(self, make: Make, chosen: np.ndarray) -> torch.Tensor:
        if make == self._true or not self._options.once:
            return make(chosen)
        places = np.searchsorted(self._chosen, chosen)
        for first in np.unique(places // TOGETHER * TOGETHER).tolist():
            if (make, first) not in self._remembered:
                # The same whenever it is made: a run that goes on remembers nothing.
                with torch.random.fork_rng():
                    torch.manual_seed(first)
                    self._remembered[make, first] = make(self._chosen[first : first + TOGETHER])
        return torch.stack([self._remembered[make, i - i % TOGETHER][i % TOGETHER] for i in places.tolist()])

    def _true(self, chosen: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self._prepared.latents(chosen)).float().to(self.denoiser.unet.device)

    def _near(self, chosen: np.ndarray) -> torch.Tensor:
        """Made out of true ones in some noise, half of them twice: mistakes that the first step made lie under the
        noise of the second one."""
        denoiser, (given, _) = self.denoiser, self._led(chosen)
        latents = self._true(chosen)
        for share in (1.0, AGAIN):
            at = (HALF * denoiser.timesteps(len(chosen), 1.0)).long().to(latents.device)
            made = denoiser.made(latents, torch.randn_like(latents), at, given)
            latents = torch.where(torch.rand_like(latents[:, :1, :1, :1]) < share, made, latents)
        return latents

    def _far(self, chosen: np.ndarray) -> torch.Tensor:
        """Made as the bundle's own pictures are."""
        steps, guidance = self._defaults.steps, self._defaults.guidance_scale
        return self.denoiser.lead(*self._led(chosen), steps, guidance, steps)

    def _led(self, chosen: np.ndarray) -> tuple[Conditions, Conditions]:
        """What pictures of these people in these places are led towards, and away from."""
        denoiser, prepared = self.denoiser, self._prepared
        faces = torch.from_numpy(prepared.embeddings[chosen]).to(denoiser.unet.device)
        captions = [drawn_caption(prepared.records[i]) for i in chosen]
        return led(denoiser, prepared, denoiser.read(captions), faces, chosen)

    def _corners(self, chosen: np.ndarray) -> np.ndarray:
        """(b, 2) x, y, in latents: where squares about the faces begin."""
        side, middles = self._side, self._prepared.keypoints[chosen].mean(axis=1)
        beside = ABOUT * (2 * torch.rand(len(chosen), 2).numpy() - 1)
        corners = ((middles + beside) / self._latent - side / 2).round().astype(int)
        return corners.clip(0, self.denoiser.side - side)

    def _recoloured(self, shown: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """How far what is shown is from the colours that the decoder of before gave."""
        part = self._latent // COARSE
        return F.l1_loss(F.avg_pool2d(shown, part), F.avg_pool2d(before, part))

    @torch.no_grad()
    def _before(self, latents: torch.Tensor) -> torch.Tensor:
        """What the decoder of before gave."""
        return self.before.decode(latents / self.before.config.scaling_factor).sample


def _frame(shown: torch.Tensor) -> torch.Tensor:
    """(4, 3, n): how much brighter than beside it (b, 3, h, w) pictures are in each line along a border, in the mean.

    In single pictures something may end there; in all of them alike, it is the decoder's.
    """
    sides = (shown, shown.flip(2), shown.transpose(2, 3), shown.transpose(2, 3).flip(2))
    beside = (each[:, :, FRAME : FRAME + BESIDE].mean(dim=2, keepdim=True).detach() for each in sides)
    return torch.stack(
        [(each[:, :, :FRAME] - inner).mean(dim=(0, 3)) for each, inner in zip(sides, beside, strict=True)]
    )


def _trembling(pictures: torch.Tensor) -> list[torch.Tensor]:
    """With noise over them (1610.04490): else a discriminator is soon right by what nobody sees and teaches nothing.

    Measured: without it right always after 540 steps, and pictures smoother than before.
    """
    return [pictures + TREMBLE * torch.randn_like(pictures)]


def _squares(each: torch.Tensor, corners: np.ndarray, side: int) -> torch.Tensor:
    """One out of each of (b, c, h, w), from (b, 2) x, y on."""
    return torch.stack(
        [one[:, y : y + side, x : x + side] for one, (x, y) in zip(each, corners, strict=True)]
    )
