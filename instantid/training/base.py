"""The `base` stage: the UNet and the first text encoder learn to make pictures from words."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import nn

from .conditions import without_text
from .denoising import Denoiser, Noise
from .loop import Figures
from .prepared import Prepared, some_of
from .sheets import lay_out
from .starts import write_base
from .tempering import FEW, TEMPERED, temper

KINDS = {"full": 0.5, "short": 0.3, "terse": 0.2}  # of captions, and how often each is read


class Options(Noise):
    """Of the base's stage."""

    drop_text: float = Field(0.1, description="How often the text is left out, which guidance needs.")
    text_encoder: bool = Field(True, description="Train the first text encoder too. SDXL's is left alone.")
    tempered: float = TEMPERED


class BaseTask(nn.Module):
    """Learns to paint what captions say.

    Args:
        bundle: whose base is gone on with; its latents are those of `prepared`.
        chosen: which pictures of `prepared` to learn from.
        shown: whose captions the sample sheet paints.
    """

    name = "base"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        self.denoiser = Denoiser(bundle)
        self.denoiser.unet.requires_grad_(True)
        self.denoiser.text_encoder.requires_grad_(options.text_encoder)
        self._prepared, self._chosen, self._shown, self._options = prepared, chosen, shown, options
        self.tend()

    def tend(self) -> None:
        """Temper attention, if asked to."""
        few = some_of(self._chosen, FEW)
        temper([self.denoiser.unet], lambda: self._denoised(few), self._options.tempered)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The denoising loss of these pictures."""
        return {"loss": self._denoised(self._chosen[list(indices)])}

    def _denoised(self, chosen: np.ndarray) -> torch.Tensor:
        denoiser = self.denoiser
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(denoiser.unet.device)
        records = [self._prepared.records[i] for i in chosen]
        conditions = denoiser.read([drawn_caption(record) for record in records], records)
        dropped = torch.rand(len(chosen), device=latents.device) < self._options.drop_text
        conditions = without_text(conditions, denoiser.read([""]), dropped)
        return denoiser.loss(latents, conditions, self._options)

    def sheet(self) -> Image.Image:
        """Pictures by captions; above them those that the captions are about."""
        texts = [self._prepared.records[i]["caption"] for i in self._shown]
        against = self.denoiser.read([""] * len(texts))
        painted = self.denoiser.paint(self.denoiser.read(texts), against)
        return lay_out([*self._prepared.images(self._shown), *painted], columns=len(texts))

    def save(self, bundle: Path) -> None:
        """Write base/unet, and base/text_encoder if it learned."""
        models = {"unet": self.denoiser.unet}
        if self._options.text_encoder:
            models["text_encoder"] = self.denoiser.text_encoder
        write_base(bundle, models)


def full_caption(record: dict) -> str:
    """A picture's longest caption: short ones are true of other pictures too."""
    return record.get("captions", {}).get("full") or record["caption"]


def drawn_caption(record: dict) -> str:
    """One of a picture's captions, by torch's generator; the only one where there is no choice."""
    told = [kind for kind in KINDS if record.get("captions", {}).get(kind)]
    if not told:
        return record["caption"]
    chances = torch.tensor([KINDS[kind] for kind in told])
    return record["captions"][told[int(torch.multinomial(chances, 1))]]
