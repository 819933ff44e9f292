"""How well pictures in the making show what their captions say, by a bundle's image encoder.

A reward as in DRaFT (2309.17400), but of CLIP's own kind: among many captions the right one is to be found. Rewarded
by its similarity alone, every picture would become one that all captions like.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional as F
from transformers import CLIPImageProcessor

from .. import loading
from ..bundles import Bundle
from ..errors import BundleError
from .denoising import Denoiser
from .telling_apart import told_apart

RIVALS = 512  # other captions, among which a picture's is to be found
WARMTH = 0.05  # of the cosines, where they are told apart


class Wording(nn.Module):
    """Finds captions for pictures. It does not learn.

    Args:
        bundle: whose image encoder looks, in the space of its second text encoder.
        captions: from which rivals are drawn.

    Raises:
        BundleError: the bundle has no image encoder, or one that does not go with its text encoder.
    """

    def __init__(self, bundle: Bundle, denoiser: Denoiser, captions: Sequence[str]):
        super().__init__()
        self.encoder = loading.load_image_encoder(bundle, torch.float32)
        wide, wanted = self.encoder.config.projection_dim, denoiser.text_encoder_2.config.projection_dim
        if wide != wanted:
            raise BundleError(
                f"The image encoder of {bundle.folder} gives {wide} numbers for a picture, its second text encoder "
                f"{wanted} for a text: captions cannot be found in pictures. Use the one that was trained with it, "
                "or leave wording at 0."
            )
        self._denoiser = [denoiser]  # in a list: its weights are the task's
        self._captions = sorted(set(captions))
        usual = CLIPImageProcessor()
        for name, numbers in (("middle", usual.image_mean), ("scale", usual.image_std)):
            self.register_buffer(name, torch.tensor(numbers)[:, None, None], persistent=False)

    def forward(self, pictures: torch.Tensor, captions: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, 3, s, s), about -1 to 1, and a caption each → how little it is found there, and what share of other
        captions is found less."""
        side = self.encoder.config.image_size
        values = F.interpolate(
            (pictures.float().clamp(-1, 1) + 1) / 2, (side, side), mode="bilinear", antialias=True
        )
        seen = F.normalize(self.encoder((values - self.middle) / self.scale).image_embeds.float(), dim=1)
        drawn = torch.randint(len(self._captions), (RIVALS,)).tolist()
        rivals = [self._captions[i] for i in drawn]
        own, others = (
            F.normalize(self._denoiser[0].pooled(texts).float(), dim=1) for texts in (captions, rivals)
        )
        same = torch.tensor([[rival == caption for rival in rivals] for caption in captions])
        _, missed, share = told_apart(seen, own, others, same, WARMTH)
        return missed, share
