"""The `clip` stage: both text encoders and the image encoder, from pictures and their captions (Radford et al. 2021,
2103.00020).

As in SDXL, the image encoder speaks of the second text encoder's space: InstantStyle takes words out of pictures
there. The first text encoder, whose states only the UNet reads, learns beside them, through a projection that is
thrown away.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from annotated_types import Gt, Le
from PIL import Image
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from transformers import (
    CLIPImageProcessor,
    CLIPTextModel,
    CLIPTextModelWithProjection,
    CLIPTokenizer,
    CLIPVisionModelWithProjection,
)

from .. import bundles, mini
from ..people import Frozen
from ..styles import Style, load_styles
from .bundle_file import name_part
from .loop import Figures
from .prepared import Prepared
from .settings import Share
from .sheets import lay_out
from .starts import write_base

WARMEST = math.log(100)  # of the temperature's logarithm, as in CLIP
TEXTS_AT_ONCE = 32  # of similar length: less padding to compute
PRESET = "preset"


class Options(Frozen):
    """Of the CLIP stage."""

    full: Share = Field(
        0.4, description="How often a picture is told by its full caption, and the others likewise."
    )
    short: Share = 0.3
    terse: Share = 0.1
    preset: Share = Field(0.25, description="All words of the preset that a look is of, around “a person”.")
    crop: Share = Field(
        0.85, description="Smallest part of the side that is seen; 1: always the whole picture."
    )
    patches: Annotated[float, Gt(0), Le(1)] = Field(
        0.5,
        description="Part of a picture's patches that is read in training: half costs half (FLIP, 2212.00794).",
    )
    light: Share = Field(0.15, description="Largest change of brightness and of contrast.")
    first: float = Field(1.0, ge=0, description="Weight of the first text encoder's loss.")
    fresh: bool = Field(
        False, description="Begin with a small image encoder that knows nothing: for a bundle that has none."
    )
    locked: bool = Field(
        False,
        description="Only the image encoder learns (LiT the other way round, 2111.07991): a UNet that has learned "
        "from the text encoders keeps hearing what it knows.",
    )


class ClipTask(nn.Module):
    """Learns which words go with which picture.

    Pictures are never mirrored: captions tell left from right.

    Args:
        bundle: whose `base/text_encoder`, `base/text_encoder_2` and `image_encoder` are gone on with.
        chosen: which pictures of `prepared` to learn from; those without any words are left out.
        shown: which of them the sample sheet picks from.
    """

    name = "clip"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        opened = bundles.open_bundle(bundle)
        base = opened.require("base")
        self.text_encoder = CLIPTextModel.from_pretrained(base / "text_encoder")
        self.text_encoder_2 = CLIPTextModelWithProjection.from_pretrained(base / "text_encoder_2")
        space = self.text_encoder_2.config.projection_dim
        if options.fresh:
            self.image_encoder = fresh_image_encoder(space)
        else:
            self.image_encoder = CLIPVisionModelWithProjection.from_pretrained(
                opened.require("image_encoder")
            )
        self.projection = nn.Linear(self.text_encoder.config.hidden_size, space, bias=False)
        nn.init.eye_(self.projection.weight)
        self.warmth = nn.Parameter(torch.full((2,), math.log(1 / 0.07)))  # of each text encoder
        self._tokenizer = CLIPTokenizer.from_pretrained(base / "tokenizer")
        self._tokenizer_2 = CLIPTokenizer.from_pretrained(base / "tokenizer_2")
        side = self.image_encoder.config.image_size
        self._processor = CLIPImageProcessor(size=side, crop_size=side)
        if options.locked:
            for part in (self.text_encoder, self.text_encoder_2, self.projection):
                part.requires_grad_(False)
        self._prepared, self._shown, self._options = prepared, shown, options
        styles = load_styles()
        everything = {int(i): texts_of(prepared.records[i], styles) for i in (*chosen, *shown)}
        self._texts = {i: texts for i, texts in everything.items() if texts}
        self._chosen = np.array([i for i in chosen if int(i) in self._texts], np.int64)

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The loss of telling these pictures and their texts apart, by each text encoder."""
        chosen = self._chosen[list(indices)]
        told = [self._texts[i] for i in chosen.tolist()]
        texts = [self._draw(each) for each in told]
        # Several pictures are called “a woman”: what is true of a picture is no mistake to find beside it.
        true = torch.tensor(
            [[text in known for text in texts] for known in (set(each.values()) for each in told)],
            device=self.warmth.device,
        )
        pictures = self._augmented(self._prepared.images(chosen))
        with self.image_encoder.vision_model.embeddings.register_forward_hook(self._keep_some):
            seen = F.normalize(self.image_encoder(pictures).image_embeds.float(), dim=-1)  # (n, space)
        words = self.embed_texts(texts)
        warmth = self.warmth.clamp(max=WARMEST).exp()
        # Made a hundred times larger, half precision's steps are coarse.
        with torch.autocast(seen.device.type, enabled=False):
            logits = warmth[0] * seen @ words.T  # (n pictures, n texts)
        loss = second = _contrast(logits, true)
        figures = {"second": second, "warmth": warmth[0]}
        figures["found"] = true.gather(1, logits.argmax(dim=1, keepdim=True)).float().mean()
        if not self._options.locked:
            others = self._embed_first(texts)
            with torch.autocast(seen.device.type, enabled=False):
                # The image encoder follows the second text encoder alone, as SDXL's does.
                figures["first"] = _contrast(warmth[1] * seen.detach() @ others.T, true)
            loss = second + self._options.first * figures["first"]
        return {"loss": loss, **figures}

    def embed_texts(self, texts: Sequence[str]) -> torch.Tensor:
        """(n, space) float, of length 1, by the second text encoder."""
        return _embed(
            texts, self._tokenizer_2, lambda ids: self.text_encoder_2(ids).text_embeds, self.warmth.device
        )

    @torch.no_grad()
    def embed_pictures(self, pictures: np.ndarray) -> torch.Tensor:
        """(n, h, w, 3) uint8 RGB → (n, space) float, of length 1; prepared as the style reference does."""
        device = self.warmth.device
        parts = [
            self._processor(list(pictures[i : i + TEXTS_AT_ONCE]), return_tensors="pt").pixel_values
            for i in range(0, len(pictures), TEXTS_AT_ONCE)
        ]
        return F.normalize(
            torch.cat([self.image_encoder(part.to(device)).image_embeds for part in parts]), dim=-1
        )

    @torch.no_grad()
    def sheet(self, texts: int = 6, columns: int = 6) -> Image.Image:
        """A row for each of some pictures: itself, then those among `shown` that its full caption finds first."""
        pictures = self._prepared.images(self._shown)
        told = {place: self._texts[int(i)] for place, i in enumerate(self._shown) if int(i) in self._texts}
        asked = list(told)[:texts]
        words = self.embed_texts([next(iter(told[place].values())) for place in asked])
        best = (words @ self.embed_pictures(pictures).T).topk(min(columns, len(pictures)), dim=1).indices
        rows = [[pictures[place], *pictures[found]] for place, found in zip(asked, best.cpu().numpy())]
        return lay_out([picture for row in rows for picture in row], columns=1 + best.shape[1])

    def save(self, bundle: Path) -> None:
        """Write image_encoder; unless they are locked, also base/text_encoder and base/text_encoder_2."""
        if not self._options.locked:
            write_base(bundle, {"text_encoder": self.text_encoder, "text_encoder_2": self.text_encoder_2})
        self.image_encoder.save_pretrained(bundle / "image_encoder")
        began_as = "base" if self._options.fresh else "image_encoder"
        name_part(bundle, "image_encoder", "image_encoder", began_as=began_as)

    def _draw(self, texts: dict[str, str]) -> str:
        """One of a picture's texts; kinds that nobody gave a share count as full captions."""
        shares = self._options.model_dump(include={"full", "short", "terse", PRESET})
        weights = torch.tensor([shares.get(kind, self._options.full) for kind in texts]) + 1e-6
        return list(texts.values())[int(weights.multinomial(1))]

    def _embed_first(self, texts: Sequence[str]) -> torch.Tensor:
        def encode(ids: torch.Tensor) -> torch.Tensor:
            return self.projection(self.text_encoder(ids).pooler_output)

        return _embed(texts, self._tokenizer, encode, self.warmth.device)

    def _keep_some(self, module: nn.Module, inputs: tuple, tokens: torch.Tensor) -> torch.Tensor:
        """(n, 1 + patches, width) → (n, 1 + some, width): the class token, and other patches of each picture."""
        count, patches, width = tokens.shape[0], tokens.shape[1] - 1, tokens.shape[2]
        kept = torch.rand(count, patches).argsort(dim=1)[:, : math.ceil(self._options.patches * patches)] + 1
        kept = F.pad(kept, (1, 0)).to(tokens.device)
        return tokens.gather(1, kept[..., None].expand(-1, -1, width))

    def _augmented(self, pictures: np.ndarray) -> torch.Tensor:
        """(n, s, s, 3) uint8 RGB → (n, 3, side, side): part of each, a little lighter or darker, as CLIP wants it."""
        count, size = pictures.shape[:2]
        least = math.ceil(self._options.crop * size)
        part = int(torch.randint(least, size + 1, ()))
        corners = torch.randint(size - part + 1, (count, 2)).tolist()
        cut = np.stack([p[y : y + part, x : x + part] for p, (x, y) in zip(pictures, corners, strict=True)])
        values = torch.from_numpy(cut).to(self.warmth.device).permute(0, 3, 1, 2).float() / 255
        side = self._processor.crop_size["height"]
        values = F.interpolate(values, size=(side, side), mode="bilinear", antialias=True)
        contrast, brightness = (self._options.light * (2 * torch.rand(2, count, 1, 1, 1) - 1)).to(
            values.device
        )
        values = ((values - 0.5) * (1 + contrast) + 0.5 + brightness).clamp(0, 1)
        mean, deviation = (
            torch.tensor(numbers, device=values.device)[:, None, None]
            for numbers in (self._processor.image_mean, self._processor.image_std)
        )
        return (values - mean) / deviation


def fresh_image_encoder(space: int) -> CLIPVisionModelWithProjection:
    """The same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return mini.image_encoder(space)


def texts_of(record: dict, styles: Mapping[str, Style]) -> dict[str, str]:
    """What can be said of a picture, by kind: its captions, and the preset of its look; nothing empty."""
    texts = {kind: text for kind, text in record.get("captions", {}).items() if text}
    if not texts and record.get("caption"):
        texts = {"full": record["caption"]}
    if texts and record.get("look") in styles:
        texts[PRESET], _ = styles[record["look"]].apply("", "")
    return texts


def _embed(
    texts: Sequence[str],
    tokenizer: CLIPTokenizer,
    encode: Callable[[torch.Tensor], torch.Tensor],
    device: torch.device,
) -> torch.Tensor:
    """(n, space) float, of length 1. Texts of like length go together; what follows a text's end is not seen."""
    ids = tokenizer(list(texts), truncation=True).input_ids
    order = sorted(range(len(ids)), key=lambda i: len(ids[i]))
    parts = []
    for start in range(0, len(order), TEXTS_AT_ONCE):
        some = {"input_ids": [ids[i] for i in order[start : start + TEXTS_AT_ONCE]]}
        parts.append(encode(tokenizer.pad(some, return_tensors="pt").input_ids.to(device)))
    back = torch.tensor(order).argsort().to(device)
    return F.normalize(torch.cat(parts)[back].float(), dim=-1)


def _contrast(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """Cross-entropy in both directions; where several are true, each is as good as another."""

    def one_way(logits: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
        wanted = true.float() / true.sum(dim=1, keepdim=True)
        return -(wanted * F.log_softmax(logits.float(), dim=1)).sum(dim=1).mean()

    return (one_way(logits, true) + one_way(logits.T, true.T)) / 2
