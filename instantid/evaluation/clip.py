"""Pictures and words in one space: a bundle's own CLIP towers, or a published CLIP model.

CLIP-T and CLIP-I are cosines in such a space, and mean nothing without its name: no two give the same values.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from PIL import Image
from transformers import CLIPImageProcessor

from .. import loading
from ..bundles import Bundle
from ..errors import BundleError, DownloadError, InvalidRequest

BATCH = 32
PUBLISHED = "openai/clip-vit-large-patch14"  # what papers' CLIP scores mostly are by; 1.7 GB


class Clip(Protocol):
    """Embeds pictures and words, of unit length."""

    name: str

    def embed_pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        """RGB pictures to (n, d) float32."""

    def embed_words(self, texts: Sequence[str]) -> np.ndarray:
        """Texts to (n, d) float32; what is too long is cut off, as CLIP does."""


class BundleClip:
    """The image encoder of the style adapter with the base model's second text encoder: trained together.

    The generator reads its prompts by the same text encoder, which flatters it: compare runs, not methods.

    Raises:
        BundleError: the bundle has no image encoder, or the two do not share a space.
        DownloadError: they have not been fetched.
    """

    def __init__(self, bundle: Bundle, device: torch.device | str = "cpu"):
        if not bundle.has("image_encoder"):
            raise BundleError(f"the bundle “{bundle.name}” has no image encoder")
        self.name = f"{bundle.name}’s own CLIP"
        self._device = device
        self._pictures = loading.load_image_encoder(bundle, torch.float32).to(device).eval()
        pipeline = loading.load_pipeline(bundle, torch.float32)
        self._tokenizer, self._text = pipeline.tokenizer_2, pipeline.text_encoder_2.to(device).eval()
        speaks, sees = self._text.config.projection_dim, self._pictures.config.projection_dim
        if speaks != sees:
            raise BundleError(
                f"the image encoder of the bundle “{bundle.name}” gives {sees} numbers, its text encoder {speaks}"
            )
        side = self._pictures.config.image_size
        self._prepare = CLIPImageProcessor(size=side, crop_size=side)

    @torch.no_grad()
    def embed_pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        return _in_batches(pictures, lambda some: self._pictures(self._pixels(some)).image_embeds)

    @torch.no_grad()
    def embed_words(self, texts: Sequence[str]) -> np.ndarray:
        return _in_batches(texts, lambda some: self._text(self._ids(some))[0])

    def _pixels(self, pictures: Sequence[Image.Image]) -> torch.Tensor:
        return self._prepare(list(pictures), return_tensors="pt").pixel_values.to(self._device)

    def _ids(self, texts: Sequence[str]) -> torch.Tensor:
        longest = self._tokenizer.model_max_length
        told = self._tokenizer(
            list(texts), padding="max_length", max_length=longest, truncation=True, return_tensors="pt"
        )
        return told.input_ids.to(self._device)


class PublishedClip:
    """A CLIP model in transformers' layout: a folder, or a repository on the hub.

    Args:
        fetch: whether it may be downloaded, which takes an address that the user named.

    Raises:
        DownloadError: it is not on this machine, or cannot be fetched.
    """

    def __init__(self, source: str, device: torch.device | str = "cpu", *, fetch: bool = False):
        from transformers import CLIPModel, CLIPProcessor

        self.name = f"CLIP {source}"
        self._device = device
        try:
            self._model = CLIPModel.from_pretrained(source, local_files_only=not fetch).to(device).eval()
            self._processor = CLIPProcessor.from_pretrained(source, local_files_only=not fetch)
        except (OSError, ValueError) as error:
            raise DownloadError(
                f"the CLIP model “{source}” is not on this machine; --clip {source} fetches it"
            ) from error

    @torch.no_grad()
    def embed_pictures(self, pictures: Sequence[Image.Image]) -> np.ndarray:
        def embed(some: Sequence[Image.Image]) -> torch.Tensor:
            pixels = self._processor(images=list(some), return_tensors="pt").pixel_values
            return _projected(self._model.get_image_features(pixel_values=pixels.to(self._device)))

        return _in_batches(pictures, embed)

    @torch.no_grad()
    def embed_words(self, texts: Sequence[str]) -> np.ndarray:
        def embed(some: Sequence[str]) -> torch.Tensor:
            told = self._processor(text=list(some), padding=True, truncation=True, return_tensors="pt")
            return _projected(self._model.get_text_features(**told.to(self._device)))

        return _in_batches(texts, embed)


def open_clip(source: str | None, bundle: Bundle, device: torch.device | str = "cpu") -> Clip:
    """The CLIP to judge by.

    Args:
        source: “bundle”; a folder or hub repository; None: the published one where it has been fetched, else the
            bundle's own.

    Raises:
        InvalidRequest: neither is there; the message says what to do.
    """
    if source not in (None, "bundle"):
        return PublishedClip(source, device, fetch=True)
    told = []
    if source is None:
        try:
            return PublishedClip(PUBLISHED, device)
        except DownloadError as error:
            told.append(str(error))
    try:
        return BundleClip(bundle, device)
    except (BundleError, DownloadError) as error:
        told.append(str(error))
    raise InvalidRequest("; ".join(told))


def clip_t(pictures: np.ndarray, words: np.ndarray) -> np.ndarray:
    """100 times the cosine, as papers have it, of each picture and its own prompt: (n, d) and (n, d) to (n,)."""
    return 100 * (pictures * words).sum(axis=1)


def clip_i(pictures: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Cosine of each picture and the one it is compared with, (n, d) and (n, d) to (n,)."""
    return (pictures * others).sum(axis=1)


def _projected(output: torch.Tensor | object) -> torch.Tensor:
    """transformers 5 wraps what earlier ones gave bare."""
    return output if isinstance(output, torch.Tensor) else output.pooler_output


def _in_batches(things: Sequence, embed) -> np.ndarray:
    parts = [embed(things[i : i + BATCH]).float().cpu().numpy() for i in range(0, len(things), BATCH)]
    found = np.concatenate(parts)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12)
