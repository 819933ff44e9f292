"""InstantStyle: the look of a picture, its layout or both, through the style adapter (arXiv 2404.02733).

One adapter, told apart by where it acts: style in one block of the UNet, layout in another. What the style picture
shows can be taken out of its features by words. Knows neither masks nor how adapters are attached.
"""

from collections.abc import Callable

import torch
from diffusers import DiffusionPipeline, UNet2DConditionModel
from diffusers.models.embeddings import ImageProjection
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.utils.torch_utils import get_module_execution_device
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from .branches import Source
from .bundles import STYLE_PARTS, Bundle, StyleBlocks
from .errors import BundleError, InvalidRequest
from .images import fingerprint, open_image
from .memo import Memo
from .request import Request, StyleMode

STYLE_PLACE = 1  # in the first up block, which has one attention more than its layers (section 3.3)


class StyleEncoder:
    """Turns a picture, and words for what to leave out of it, into the embedding that the style adapter reads.

    The words are read by the pipeline's second text encoder: the published image encoder for SDXL was trained
    together with it, so both speak of the same space.

    Args:
        image_encoder: as `loading.load_image_encoder` gives it, on the CPU.
        pipeline: whose `tokenizer_2` and `text_encoder_2` to use, wherever offloading keeps them.
        device: where pictures are read.
        resident: the image encoder stays on `device`; else it is there only while it reads.
    """

    def __init__(
        self,
        image_encoder: CLIPVisionModelWithProjection,
        pipeline: DiffusionPipeline,
        *,
        device: torch.device,
        resident: bool,
    ):
        self.image_encoder = image_encoder
        self._pipeline = pipeline
        self._device = device
        self._resident = resident
        self._known: Memo[torch.Tensor] = Memo(16)
        # The published folder says nothing of how pictures are prepared: CLIP's own way, as diffusers does.
        side = image_encoder.config.image_size
        self._prepare = CLIPImageProcessor(size=side, crop_size=side)

    @property
    def width(self) -> int:
        """Of the embeddings."""
        return self.image_encoder.config.projection_dim

    @torch.no_grad()
    def embed(
        self, picture: Image.Image, *, content: str = "", content_strength: float = 0.0
    ) -> torch.Tensor:
        """`CLIP_image(picture) − content_strength · CLIP_text(content)`, neither of them normalised.

        Args:
            picture: RGB; its middle square is read.
            content: what the picture shows and its embedding should not; empty: nothing is taken out.

        Returns:
            (width,) float32 on the CPU.

        Raises:
            InvalidRequest: `content` is too long, or the bundle's encoders do not share a space.
        """
        words = self._embed_words(content) if content.strip() and content_strength else None
        embedding = self._known(fingerprint(picture), lambda: self._embed_picture(picture))
        return embedding if words is None else embedding - content_strength * words

    def _embed_picture(self, picture: Image.Image) -> torch.Tensor:
        """(width,) float32 on the CPU."""
        pixels = self._prepare(picture, return_tensors="pt").pixel_values  # (1, 3, side, side)
        try:
            encoder = self.image_encoder.to(self._device)
            return encoder(pixels.to(self._device, encoder.dtype)).image_embeds[0].float().cpu()
        finally:
            if not self._resident:
                self.image_encoder.to("cpu")

    def _embed_words(self, content: str) -> torch.Tensor:
        """(width,) float32 on the CPU: pooled and projected, as SDXL takes it beside the prompt."""
        tokenizer, encoder = self._pipeline.tokenizer_2, self._pipeline.text_encoder_2
        if (speaks := encoder.config.projection_dim) != self.width:
            raise InvalidRequest(
                f"“{content}” cannot be taken out of the style picture: this bundle's image encoder gives "
                f"{self.width} numbers, the base model's second text encoder {speaks}. Leave style_content empty, "
                "or use the style adapter that goes with SDXL's own text encoder (h94/IP-Adapter, "
                "sdxl_models/ip-adapter_sdxl with sdxl_models/image_encoder)."
            )
        try:
            content.encode()
        except UnicodeEncodeError as error:
            raise InvalidRequest(
                f"style_content holds half a character at position {error.start}, which is no text. Retype it."
            ) from None
        length = tokenizer.model_max_length
        ids = tokenizer(content, padding="max_length", max_length=length, return_tensors="pt").input_ids
        if ids.shape[1] > length:
            raise InvalidRequest(
                f"style_content is too long: {ids.shape[1]} tokens, where {length} can be read. Name only what "
                "the picture shows, in a few words: “a red car”."
            )
        return encoder(ids.to(get_module_execution_device(encoder)))[0][0].float().cpu()


def is_asked(request: Request) -> bool:
    """Whether the request follows a style picture: strength 0 is off, and needs nothing of the bundle."""
    return request.style_image is not None and request.style_strength > 0


def check_bundle(bundle: Bundle) -> None:
    """See that the bundle has what a style picture needs.

    Raises:
        BundleError: it names no style adapter or no image encoder.
        DownloadError: they have not been fetched.
    """
    if lacking := [part for part in STYLE_PARTS if not bundle.has(part)]:
        raise BundleError(
            f"The bundle “{bundle.name}” cannot follow a style picture: its bundle.json names no "
            f"{' and no '.join(lacking)}. Add them, such as “h94/IP-Adapter/sdxl_models/ip-adapter_sdxl.safetensors” "
            "and “h94/IP-Adapter/sdxl_models/image_encoder” for an SDXL base, and fetch them with: "
            f"{bundle.fetch_command()}. Or take style_image out."
        )
    for part in STYLE_PARTS:
        bundle.require(part)


def acts_in(
    unet: UNet2DConditionModel, mode: StyleMode, blocks: StyleBlocks | None = None
) -> Callable[[str], bool]:
    """Tell in which attentions of `unet` the style adapter acts in that mode, by their names.

    Names are like "up_blocks.0.attentions.1.transformer_blocks.0.attn2".

    Args:
        blocks: what the bundle says of them; None: as in SDXL.

    Raises:
        BundleError: they name what the UNet does not have.
    """
    if mode == "whole image":
        return lambda name: True
    told = blocks or _as_in_sdxl(unet)
    parts = {"style": told.style, "layout": told.layout}.get(mode, told.style + told.layout)
    if blocks:
        _check_named(parts, unet)
    inside = tuple(f"{part}." for part in parts)
    return lambda name: name.startswith(inside)


def _check_named(parts: tuple[str, ...], unet: UNet2DConditionModel) -> None:
    names = list(unet.attn_processors)  # all modules are walked for it
    for part in parts:
        if not any(name.startswith(f"{part}.") for name in names):
            raise BundleError(
                f"The bundle's style_blocks name {part}, but no attention of its UNet is called so. Names are like "
                "up_blocks.0.attentions.1, or the beginning of one up to a dot."
            )


def _as_in_sdxl(unet: UNet2DConditionModel) -> StyleBlocks:
    """Style is the second attention on the way out of the middle, layout the last one on the way in: SDXL's
    up_blocks.0.attentions.1 and down_blocks.2.attentions.1, and their like in a smaller UNet."""
    first = next(group for group in _attention_groups(unet, "up_blocks") if group)
    last = [group for group in _attention_groups(unet, "down_blocks") if group][-1]
    return StyleBlocks(style=(first[STYLE_PLACE],), layout=(last[-1],))


def _attention_groups(unet: UNet2DConditionModel, side: str) -> list[list[str]]:
    """The names of each block's transformers, from the picture's side in or from the middle out."""
    return [
        [
            f"{side}.{i}.attentions.{j}"
            for j, attention in enumerate(getattr(block, "attentions", []))
            if isinstance(attention, Transformer2DModel)
        ]
        for i, block in enumerate(getattr(unet, side))
    ]


def sources(
    request: Request,
    encoder: StyleEncoder,
    unet: UNet2DConditionModel,
    blocks: StyleBlocks | None = None,
) -> list[Source]:
    """What a request's style and layout pictures add through the style adapter; none where it asks for none.

    With a layout picture the style picture gives style only. `style_content` is taken out of the style picture.

    Raises:
        BundleError: `unet` carries no style adapter, or the image encoder does not go with it.
        InvalidRequest: the content cannot be taken out.
        InvalidImage: a picture cannot be opened.
    """
    if not is_asked(request):
        return []
    _check_width(encoder, unet)
    style = encoder.embed(
        open_image(request.style_image.image),
        content=request.style_content,
        content_strength=request.style_content_strength,
    )
    strength = request.style_strength
    if request.layout_image is None:
        return [Source(style, strength, layers=acts_in(unet, request.style_mode, blocks))]
    layout = encoder.embed(open_image(request.layout_image.image))
    return [
        Source(style, strength, layers=acts_in(unet, "style", blocks)),
        Source(layout, strength, layers=acts_in(unet, "layout", blocks)),
    ]


def _check_width(encoder: StyleEncoder, unet: UNet2DConditionModel) -> None:
    layers = unet.encoder_hid_proj.image_projection_layers
    projector = next((layer for layer in layers if isinstance(layer, ImageProjection)), None)
    if projector is None:
        raise BundleError(
            "The style adapter is not loaded: it was fetched after this program had started. Start it again."
        )
    if encoder.width != (wanted := projector.image_embeds.in_features):
        raise BundleError(
            f"The bundle's image encoder gives {encoder.width} numbers for a picture, its style adapter reads "
            f"{wanted}: they do not belong together. ip-adapter_sdxl goes with sdxl_models/image_encoder (1280), "
            "ip-adapter_sdxl_vit-h with models/image_encoder (1024)."
        )
