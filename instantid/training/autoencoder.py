"""The `autoencoder` stage: AutoencoderKL, from pictures alone (Rombach et al. 2022, 2112.10752, section 3.1).

SDXL users have one. The perceptual network that is usual in its loss cannot be had freely everywhere; differences of
edges at three scales stand in for it, and a patch discriminator where there is time for one.
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import nn
from torch.nn import functional as F

from .. import bundles, loading
from ..people import Frozen
from .components import write_components
from .loop import Figures
from .prepared import Prepared
from .sheets import lay_out
from .starts import write_base


class Options(Frozen):
    """Of the autoencoder's stage."""

    crop: int = Field(64, description="Side of the squares that are learned from; 0: whole pictures.")
    edges: float = Field(1.0, description="Weight of differences between edges, at three scales.")
    colours: float = Field(
        0.5, description="Weight of differences in hue, which brightness otherwise drowns."
    )
    tint: float = Field(
        0.5, description="Weight of mean colours, as a linear map reads them off pooled latents."
    )
    kl: float = Field(1e-6, description="Pull of the latents towards a normal distribution.")
    components: bool = Field(
        False,
        description="The encoder gives the principal components of patches (`components`), and does not learn.",
    )
    decoder_only: bool = Field(False, description="Leave the encoder as it is: latents stay what they were.")
    adversarial: float = Field(0.0, description="Weight of the patch discriminator; 0: there is none.")


class AutoencoderTask(nn.Module):
    """Learns to give pictures back from a few numbers.

    Args:
        bundle: whose base's VAE is gone on with.
        chosen: which pictures of `prepared` to learn from.
        shown: which of them the sample sheet shows.
    """

    name = "autoencoder"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        self.vae = loading.load_vae(bundles.open_bundle(bundle), torch.float32)
        if options.components:
            write_components(self.vae, as_tensor(_spread(prepared, chosen, 512)))
        if options.components or options.decoder_only:
            self.vae.encoder.requires_grad_(False)
            self.vae.quant_conv.requires_grad_(False)
        # Thrown away after training. Without it, 2,000 steps taught brightness and one axis of hue, and no green.
        self.tint = nn.Conv2d(self.vae.config.latent_channels, 3, 1)
        self.judge = patch_discriminator() if options.adversarial else None
        self._prepared, self._chosen, self._shown, self._options = prepared, chosen, shown, options

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The loss of these pictures, or of a square out of each."""
        pictures = as_tensor(self._squares(self._chosen[list(indices)])).to(self.vae.device)
        posterior = self.vae.encode(pictures).latent_dist
        decoded = self.vae.decode(posterior.sample()).sample
        options = self._options
        loss, figures = unlike(decoded, pictures, options.edges, options.colours)
        figures["tint"] = self._tint(posterior.mean, pictures)
        figures["kl"] = posterior.kl().mean() / posterior.mean[0].numel()
        loss = loss + options.tint * figures["tint"] + options.kl * figures["kl"]
        if self.judge is not None:
            figures |= self._contest(decoded, pictures)
            loss = loss + options.adversarial * figures["fooling"] + figures["telling"]
        return {"loss": loss} | figures

    def sheet(self) -> Image.Image:
        """Pictures above what became of them."""
        pictures = self._prepared.images(self._shown)
        return lay_out([*pictures, *self.rebuild(pictures)], columns=len(pictures))

    @torch.no_grad()
    def rebuild(self, pictures: np.ndarray) -> np.ndarray:
        """Encode and decode (n, s, s, 3) uint8 pictures."""
        latents = self.vae.encode(as_tensor(pictures).to(self.vae.device)).latent_dist.mode()
        return as_pictures(self.vae.decode(latents).sample)

    @torch.no_grad()
    def save(self, bundle: Path) -> None:
        """Write base/vae, its latents scaled to a standard deviation of 1."""
        if not self._options.decoder_only:
            pictures = as_tensor(_spread(self._prepared, self._chosen, 64))
            latents = self.vae.encode(pictures.to(self.vae.device)).latent_dist.mode()
            self.vae.register_to_config(scaling_factor=round(float(1 / latents.std()), 5))
        write_base(bundle, {"vae": self.vae})

    def _squares(self, chosen: np.ndarray) -> np.ndarray:
        """A square of each picture: half of the time with the face in its middle, else anywhere."""
        pictures, side = self._prepared.images(chosen), self._options.crop
        if not side or side >= pictures.shape[1]:
            return pictures
        most = pictures.shape[1] - side
        corners = torch.randint(most + 1, (len(chosen), 2)).numpy()
        faces = self._prepared.keypoints[chosen].mean(axis=1) - side / 2
        at_face = self._prepared.found[chosen] & (torch.rand(len(chosen)).numpy() < 0.5)
        corners = np.where(at_face[:, None], faces.round().astype(int).clip(0, most), corners)
        return np.stack([p[y : y + side, x : x + side] for p, (x, y) in zip(pictures, corners, strict=True)])

    def _tint(self, latents: torch.Tensor, pictures: torch.Tensor) -> torch.Tensor:
        """Mean difference of the colours of areas of 4 × 4 latents from what these say linearly."""
        told = self.tint(F.avg_pool2d(latents, 4))
        return (told - opponents(F.adaptive_avg_pool2d(pictures, told.shape[-2:]))).abs().mean()

    def _contest(self, decoded: torch.Tensor, pictures: torch.Tensor) -> Figures:
        """Hinge losses: the discriminator's own, and that of fooling it, which leaves its weights alone."""
        still = {name: weight.detach() for name, weight in self.judge.named_parameters()}
        fooling = -torch.func.functional_call(self.judge, still, (decoded,)).mean()
        telling = hinge(self.judge(pictures), self.judge(decoded.detach()))
        return {"fooling": fooling, "telling": telling}


def _spread(prepared: Prepared, chosen: np.ndarray, count: int) -> np.ndarray:
    """About so many of the chosen pictures, evenly."""
    return prepared.images(chosen[:: max(1, len(chosen) // count)])


def unlike(
    decoded: torch.Tensor, pictures: torch.Tensor, edges: float, colours: float
) -> tuple[torch.Tensor, Figures]:
    """How far (b, 3, h, w) are from these pictures: in all, by these weights, and by pixels, edges and colours."""
    figures = {
        "pixels": F.l1_loss(decoded, pictures),
        "edges": _edges(decoded, pictures),
        "colours": _colours(decoded, pictures),
    }
    return figures["pixels"] + edges * figures["edges"] + colours * figures["colours"], figures


def _edges(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean difference of the slopes, at full, half and quarter size."""
    total = one.new_zeros(())
    difference = one - other
    for _ in range(3):
        total = total + difference.diff(dim=-1).abs().mean() + difference.diff(dim=-2).abs().mean()
        difference = F.avg_pool2d(difference, 2)
    return total / 3


def _colours(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Mean difference of the two opponent colours over patches of 4 × 4, where eyes look for no detail."""
    return opponents(F.avg_pool2d(one - other, 4))[:, 1:].abs().mean()


def opponents(pictures: torch.Tensor) -> torch.Tensor:
    """(n, 3, h, w) RGB → brightness, red against blue, green against both, each about as strong in photos.

    Green against magenta varies a fourth as much as brightness does; unscaled, no network took notice of it.
    """
    red, green, blue = pictures.unbind(dim=1)
    return torch.stack([(red + green + blue) / 3, 1.5 * (red - blue), 4 * (green - (red + blue) / 2)], dim=1)


def hinge(real: torch.Tensor, made: torch.Tensor) -> torch.Tensor:
    """What a discriminator loses that says this of pictures and of what is made: above 0, that it is true."""
    return (F.relu(1 - real).mean() + F.relu(1 + made).mean()) / 2


def patch_discriminator(levels: int = 3, width: int = 32) -> nn.Sequential:
    """Says of patches whether they are real (Isola et al. 2017, 1611.07004).

    Args:
        levels: how often they are halved: 3 see 38 pixels a side, 4 see 78.
    """
    first = [nn.Conv2d(3, width, 4, 2, 1), nn.LeakyReLU(0.2)]
    widths = [width * 2**level for level in range(levels)]
    wider = [part for into, out in pairwise(widths) for part in halving(into, out)]
    return nn.Sequential(*first, *wider, nn.Conv2d(widths[-1], 1, 3, 1, 1))


def halving(into: int, out: int) -> list[nn.Module]:
    """The layers by which discriminators halve what they see."""
    return [nn.Conv2d(into, out, 4, 2, 1), nn.GroupNorm(8, out), nn.LeakyReLU(0.2)]


def as_tensor(pictures: np.ndarray) -> torch.Tensor:
    """(n, h, w, 3) uint8 → (n, 3, h, w) float32, -1 to 1."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


def as_pictures(tensor: torch.Tensor) -> np.ndarray:
    """(n, 3, h, w), -1 to 1 → (n, h, w, 3) uint8."""
    return ((tensor.float().clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).cpu().numpy()
