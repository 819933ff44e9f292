"""The `style` stage: an IP-Adapter that reads a picture's embedding, while the UNet stays as it is (2308.06721,
section 3.2).

InstantStyle (2404.02733) finds style in one block of a large UNet that was trained on everything. A small one's
blocks have no such callings: here each of the engine's modes is learned as it is used, and for style the picture is
mostly another one, of somebody else in the same look. So what the two have in common is all there is to learn.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection
from PIL import Image
from pydantic import Field, model_validator
from safetensors.torch import save_file
from torch import nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from .. import acceleration, branches, bundles, loading
from ..adapter_file import STYLE_TOKENS, StateDict, check_style_fit, read_style_adapter, style_width
from ..bundles import Bundle, StyleBlocks
from ..errors import BundleError
from ..request import StyleMode
from ..style_reference import acts_in
from .adapters import attention_like_text, learn_adapter, published
from .base import drawn_caption
from .bundle_file import describe, name_part
from .conditions import Conditions, without_text
from .denoising import Denoiser, Noise
from .look_foretelling import LookForetelling
from .loop import Figures
from .people.captions import COUNTS
from .prepared import Prepared, embed_pictures
from .settings import Share
from .sheets import lay_out

ADAPTER = "ip-adapter-style.safetensors"
WITH_LAYOUT = ("layout", "style and layout")  # modes that only the picture itself can teach


class Options(Noise):
    """Of the style stage."""

    fresh: bool = Field(
        True, description="Begin with attention copied from the text's; else with the bundle's own adapter."
    )
    modes: dict[StyleMode, float] = Field(
        {"style": 0.5, "whole image": 0.3, "layout": 0.2},
        min_length=1,
        description="How often the adapter acts in which blocks, as a request's style_mode chooses them. "
        "{“style”: 1}: where no mode ever acts, nothing is learned, and zeros are written.",
    )
    blocks: StyleBlocks | None = Field(
        None,
        description="Where style and layout act, written to bundle.json; none: where the bundle says so.",
    )
    same_look: Share = Field(
        0.7,
        description="How often the picture read is of another person in the same look, which gives style only.",
    )
    unnamed: Share = Field(
        0.5, description="How often the text says who is shown and nothing of the look: the picture has to."
    )
    foretold: Share = Field(
        0.0,
        description="Share of batches that learn, out of the strongest noise, what may be foretold of pictures from "
        "the one that is read: looks come sooner than by taking noise out alone. For a base that predicts v.",
    )
    drop_image: Share = 0.05
    drop_text: Share = 0.05
    drop_both: Share = 0.05

    @model_validator(mode="after")
    def _shares(self) -> "Options":
        if self.drop_image + self.drop_text + self.drop_both > 1:
            raise ValueError("drop_image, drop_text and drop_both are more than 1 together")
        if min(self.modes.values()) < 0 or not any(self.modes.values()):
            raise ValueError("modes want shares of 0 or more, one of them above 0")
        return self


class StyleTask(nn.Module):
    """Learns to paint in the style of a given picture.

    Args:
        bundle: whose base and image encoder stay.
        chosen: which pictures of `prepared` to learn from.
        shown: whose people the sample sheet paints, in styles of those learned from.

    Raises:
        BundleError: the bundle has no image encoder, or its adapter, where that is gone on with, does not fit.
        InvalidRequest: something is to be foretold by a base that predicts noise.
    """

    name = "style"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        opened = bundles.open_bundle(bundle)
        encoder = loading.load_image_encoder(opened, torch.float32)
        denoiser = self.denoiser = Denoiser(bundle)
        if options.foretold:
            denoiser.require_velocity("foretold")
        _embed(prepared, encoder)
        width = encoder.config.projection_dim
        weights = _fresh(denoiser.unet, width) if options.fresh else _own(opened, denoiser.unet, width)
        branches.attach(denoiser.pipeline, [weights])
        denoiser.requires_grad_(False)
        learn_adapter(denoiser.unet)
        self._prepared, self._chosen, self._shown, self._options = prepared, chosen, shown, options
        self._blocks = options.blocks or opened.style_blocks
        self._modes = tuple(mode for mode, share in options.modes.items() if share > 0)
        self._acts = {mode: acts_in(denoiser.unet, mode, self._blocks) for mode in self._modes}
        self._silence()
        self._looks = self._sorted_by_look()
        self._told = LookForetelling(prepared, chosen, self._alike) if options.foretold else None

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The denoising loss of these pictures, each told by a picture of its look, or by itself."""
        chosen, denoiser, options = self._chosen[list(indices)], self.denoiser, self._options
        if random.random() < options.foretold:
            return self._foretold(chosen)
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(denoiser.unet.device)
        mode = self._mode()
        share = 0.0 if mode in WITH_LAYOUT else options.same_look
        read = [self._alike(i) if float(torch.rand(())) < share else i for i in chosen]
        records = self._records(chosen)
        drops = (options.drop_image, options.drop_text, options.drop_both)
        dropped = torch.tensor([_drawn([*drops, 1 - sum(drops)]) for _ in chosen], device=latents.device)
        conditions = without_text(
            denoiser.read([self._text(record) for record in records], records),
            denoiser.read([""]),
            (dropped == 1) | (dropped == 2),
        )
        pictures = self._embeddings(read) * ((dropped == 1) | (dropped == 3))[:, None]
        self._act(mode)
        return {"loss": denoiser.loss(latents, _given(conditions, pictures), options)}

    def _mode(self) -> StyleMode:
        return self._modes[_drawn([self._options.modes[mode] for mode in self._modes])]

    def _foretold(self, chosen: np.ndarray) -> Figures:
        """How far what is made out of the same noise, by the same words, after two pictures, differs otherwise than
        pictures do that are like the one and the other."""
        denoiser, mode, n = self.denoiser, self._mode(), -(-len(chosen) // 2)
        once = chosen[:n]
        read = self._embeddings([*once, *np.roll(once, 1)])
        latents = self._told.latents(read, own=mode in WITH_LAYOUT)
        conditions = denoiser.read([self._text(record) for record in self._records(once)] * 2)
        self._act(mode)
        _, apart = denoiser.compared(latents, torch.ones_like(latents[:, :1]), _given(conditions, read))
        return {"loss": apart, "apart": apart}

    def sheet(self) -> Image.Image:
        """Style pictures; below, people painted after them in each mode that is learned, and after none."""
        denoiser, styles = self.denoiser, self._style_pictures()
        texts = [unstyled(record) or record["caption"] for record in self._records(self._shown)]
        told, empty = denoiser.read(texts), denoiser.read([""] * len(texts))
        pictures = self._embeddings(styles)
        rows = [*self._prepared.images(styles)]
        for mode in (*self._modes, None):
            self._act(mode)
            given, against = _given(told, pictures), _given(empty, torch.zeros_like(pictures))
            rows += [*denoiser.paint(given, against)]
        return lay_out(rows, columns=len(texts))

    def save(self, bundle: Path) -> None:
        """Write ip-adapter-style.safetensors, and name it in bundle.json."""
        parts = published(self.denoiser.unet)
        flat = {f"{part}.{name}": tensor for part, told in parts.items() for name, tensor in told.items()}
        save_file(flat, bundle / ADAPTER)
        began_as = "base" if self._options.fresh else "style_adapter"
        name_part(bundle, "style_adapter", ADAPTER, began_as=began_as)
        if self._options.blocks:
            describe(bundle, "style_blocks", self._options.blocks.model_dump(mode="json"))

    def _act(self, mode: StyleMode | None) -> None:
        """Let the adapter act where that mode does; None: nowhere."""
        acts = self._acts[mode] if mode else lambda name: False
        for name, processor in _processors(self.denoiser.unet):
            processor.scale = [1.0 if acts(name) else 0.0]

    @torch.no_grad()
    def _silence(self) -> None:
        """Where no mode acts, zeros that stay."""
        for name, processor in _processors(self.denoiser.unet):
            if not any(acts(name) for acts in self._acts.values()):
                for layer in (processor.to_k_ip[0], processor.to_v_ip[0]):
                    layer.requires_grad_(False).weight.zero_()

    def _sorted_by_look(self) -> dict[str, np.ndarray]:
        found: dict[str, list[int]] = {}
        for i, record in zip(self._chosen, self._records(self._chosen), strict=True):
            if look := record.get("look"):
                found.setdefault(look, []).append(int(i))
        return {look: np.array(places) for look, places in sorted(found.items())}

    def _alike(self, index: int) -> int:
        """A picture of another person in the same look; the picture itself where its look is its own."""
        alike = self._looks.get(self._prepared.records[index].get("look"), np.empty(0, np.int64))
        others = alike[self._prepared.persons[alike] != self._prepared.persons[index]]
        return int(others[int(torch.randint(len(others), ()))]) if len(others) else int(index)

    def _text(self, record: dict) -> str:
        plain = unstyled(record) if float(torch.rand(())) < self._options.unnamed else None
        return plain or drawn_caption(record)

    def _style_pictures(self) -> list[int]:
        """As many pictures as are shown, of different looks if there are."""
        count = len(self._shown)
        if len(self._looks) < 2:
            return [int(i) for i in self._chosen[:: max(1, len(self._chosen) // count)][:count]]
        looks = list(self._looks.values())
        return [int(looks[(i * len(looks)) // count % len(looks)][0]) for i in range(count)]

    def _embeddings(self, pictures: Sequence[int]) -> torch.Tensor:
        """(b, w)."""
        read = self._prepared.picture_embeddings[list(pictures)]
        return torch.from_numpy(read).to(self.denoiser.unet.device)

    def _records(self, chosen: np.ndarray) -> list[dict]:
        return [self._prepared.records[i] for i in chosen]


def unstyled(record: dict) -> str | None:
    """Who is on a rendered picture, without a word on its look: “a woman with long red hair”; None for others."""
    people = [figure["attributes"] for figure in record.get("figures", []) if "attributes" in figure]
    if len(people) > 1:
        return f"{COUNTS.get(len(people), 'several')} people"
    return next(
        (f"a {who['noun']}" + (f" with {who['hair']}" if who["hair"] else "") for who in people), None
    )


def _given(conditions: Conditions, pictures: torch.Tensor) -> Conditions:
    return replace(conditions, adapters=(pictures[:, None, None],))


def _processors(unet: UNet2DConditionModel) -> list[tuple[str, nn.Module]]:
    return [
        (name, processor) for name, processor in unet.attn_processors.items() if hasattr(processor, "to_k_ip")
    ]


def _fresh(unet: UNet2DConditionModel, width: int) -> StateDict:
    """An adapter that nothing has been learned by; the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        projector = ImageProjection(width, unet.config.cross_attention_dim, STYLE_TOKENS).state_dict()
    renamed = {name.replace("image_embeds", "proj"): tensor for name, tensor in projector.items()}
    return {"image_proj": renamed, "ip_adapter": attention_like_text(unet)}


def _own(bundle: Bundle, unet: UNet2DConditionModel, width: int) -> StateDict:
    file = bundle.require("style_adapter")
    weights = read_style_adapter(file)
    check_style_fit(weights, unet, file)
    if style_width(weights) != width:
        raise BundleError(
            f"{file} reads {style_width(weights)} numbers for a picture, the bundle's image encoder gives {width}: "
            "they do not belong together. Begin with a new adapter: fresh: true."
        )
    return weights


@torch.no_grad()
def _embed(prepared: Prepared, encoder: CLIPVisionModelWithProjection) -> None:
    """Let the image encoder read all pictures once, as the style reference does, and keep what it says."""
    side = encoder.config.image_size
    prepare, device = CLIPImageProcessor(size=side, crop_size=side), acceleration.choose_device()
    sums = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        sums.update(name.encode() + tensor.numpy().tobytes())
    encoder.to(device)

    def embed(pictures: np.ndarray) -> np.ndarray:
        pixels = prepare([Image.fromarray(picture) for picture in pictures], return_tensors="pt").pixel_values
        return encoder(pixels.to(device)).image_embeds.float().cpu().numpy()

    embed_pictures(prepared, embed, mark=sums.hexdigest())


def _drawn(chances: Sequence[float]) -> int:
    return int(torch.multinomial(torch.tensor(chances), 1))
