"""InstantID on stock diffusers: a face's image adapter, and IdentityNet.

The image adapter is an ordinary IP-Adapter whose input is a face embedding (InstantID, section 3.2).
IdentityNet is an ordinary ControlNet over five keypoints whose cross-attention sees the face's tokens
instead of the text (section 3.3). What a call needs is lent to both for its length and taken back after.
"""

import copy
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0
from diffusers.models.controlnets.controlnet import ControlNetOutput
from torch.nn import functional as F

from .adapter_file import check_fit, read_adapter
from .errors import InvalidRequest


@dataclass(frozen=True)
class Conditioning:
    """What IdentityNet sees during one call.

    Args:
        tokens: (2 * images, n, cross_attention_dim): the unconditional half first.
        mask: (1, 1, height, width) in pixels of the canvas, 0 to 1, or None for everywhere.
    """

    tokens: torch.Tensor
    mask: torch.Tensor | None


class IdentityNet(ControlNetModel):
    """A ControlNet that reads the face instead of the text, and acts inside the face's region only.

    Outside `Identity.conditioning` it has nothing to read and refuses to run.
    """

    conditioning: Conditioning | None = None

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        conditioning_scale: float = 1.0,
        return_dict: bool = True,
        **inputs,
    ):
        if self.conditioning is None:
            raise RuntimeError("IdentityNet runs only inside Identity.conditioning(...).")
        if conditioning_scale == 0:  # nothing to add: spare the whole network
            nothing = sample.new_zeros(())
            down, mid = [nothing] * len(self.controlnet_down_blocks), nothing
        else:
            # Without guidance the batch holds the conditional half alone, which stands last.
            tokens = self.conditioning.tokens[-len(sample) :].to(encoder_hidden_states)  # (batch, n, width)
            down, mid = super().forward(
                sample, timestep, tokens, conditioning_scale=conditioning_scale, return_dict=False, **inputs
            )
            if self.conditioning.mask is not None:
                down, mid = [self._inside_mask(residual) for residual in down], self._inside_mask(mid)
        return ControlNetOutput(down, mid) if return_dict else (down, mid)

    def _inside_mask(self, residual: torch.Tensor) -> torch.Tensor:
        # Sized by the residual itself: the reference divides and rounds down, and fails off multiples of 32.
        mask = F.interpolate(self.conditioning.mask, size=residual.shape[-2:], mode="bilinear")
        return residual * mask.to(residual)


class Identity:
    """A face's two ways into a pipeline. Made by `attach`, ended by `detach`."""

    def __init__(self, pipeline: StableDiffusionXLControlNetPipeline, net: IdentityNet):
        self.net = net
        self._pipeline = pipeline
        # Tokens are computed on a copy of the projector that stays on the CPU in float32: as a part of the
        # UNet it would be called past the hooks that offloading relies on (InstantID#34), and in half precision.
        self._projector = copy.deepcopy(_projector(pipeline.unet)).float().cpu()

    @property
    def embedding_size(self) -> int:
        """Width of the face embeddings that the adapter was trained with."""
        return self._projector.proj_in.in_features

    @torch.inference_mode()
    def tokens(self, embedding: np.ndarray) -> torch.Tensor:
        """Project a raw face embedding (d,) to tokens (2, n, cross_attention_dim), float32 on the CPU.

        The first half is the unconditional one: the projection of zeros, which is not zero.
        """
        return self._projector(self.embeddings(embedding, guided=True)[:, 0])

    def embeddings(self, embedding: np.ndarray, *, guided: bool) -> torch.Tensor:
        """Lay out a face embedding (d,) as `ip_adapter_image_embeds` wants it.

        Returns:
            (2, 1, 1, d) with zeros first where the call is `guided` by CFG, else (1, 1, 1, d).
        """
        if embedding.shape != (self.embedding_size,):
            raise InvalidRequest(
                f"This face has an embedding of {embedding.shape[0]} numbers, the bundle's identity adapter "
                f"wants {self.embedding_size}. Faces must come from the bundle's own face model."
            )
        face = torch.from_numpy(embedding).float()[None, None, None]  # (1, 1, 1, d)
        return torch.cat([torch.zeros_like(face), face]) if guided else face

    @contextmanager
    def conditioning(
        self,
        embedding: np.ndarray,
        *,
        adapter_strength: float,
        images: int = 1,
        mask: np.ndarray | None = None,
    ) -> Iterator[None]:
        """Lend a face to the pipeline for one call.

        Args:
            embedding: (d,) float32, raw.
            adapter_strength: of the image adapter; 0 is exactly off. IdentityNet's strength is the call's
                `controlnet_conditioning_scale`, and it keeps its tokens when the adapter is off.
            images: per prompt.
            mask: (height, width) of the canvas, 0 to 1: both act inside it only. None: everywhere.
        """
        region = None if mask is None else torch.from_numpy(mask).float()[None, None]  # (1, 1, h, w)
        tokens = self.tokens(embedding).repeat_interleave(images, dim=0)  # (2 * images, n, width)
        with ExitStack() as lent:
            lent.callback(setattr, self.net, "conditioning", self.net.conditioning)
            self.net.conditioning = Conditioning(tokens, region)
            lent.enter_context(_adapter_scale(self._pipeline.unet, adapter_strength))
            if region is not None:
                levels = _mask_levels(region, self._pipeline)
                lent.enter_context(_adapter_mask(self._pipeline.unet, levels))
            yield


def attach(pipeline: StableDiffusionXLControlNetPipeline, adapter: Path, net: IdentityNet) -> Identity:
    """Load an identity adapter into `pipeline`, natively, beside `net`. `detach` undoes it exactly.

    Raises:
        BundleError: the file cannot be read, is not such an adapter, or does not fit the pipeline's UNet.
    """
    if pipeline.unet.encoder_hid_proj is not None:
        raise RuntimeError("This pipeline already has an adapter: detach it first.")
    weights = read_adapter(adapter)
    check_fit(weights, pipeline.unet, adapter)
    pipeline.load_ip_adapter(weights, subfolder=None, weight_name=None, image_encoder_folder=None)
    return Identity(pipeline, net)


def detach(pipeline: StableDiffusionXLControlNetPipeline) -> None:
    """Take the adapter out again: the pipeline is as it was before `attach`."""
    pipeline.unload_ip_adapter()
    # diffusers leaves a submodule named "encoder_hid_proj" that holds None; a fresh UNet has a plain None.
    del pipeline.unet.encoder_hid_proj
    pipeline.unet.encoder_hid_proj = None


def _projector(unet: UNet2DConditionModel) -> torch.nn.Module:
    return unet.encoder_hid_proj.image_projection_layers[0]


def _image_attentions(unet: UNet2DConditionModel) -> list[torch.nn.Module]:
    kinds = (IPAdapterAttnProcessor, IPAdapterAttnProcessor2_0)
    names = [name for name, processor in unet.attn_processors.items() if isinstance(processor, kinds)]
    return [unet.get_submodule(name.removesuffix(".processor")) for name in names]


@contextmanager
def _adapter_scale(unet: UNet2DConditionModel, strength: float) -> Iterator[None]:
    processors = [attention.processor for attention in _image_attentions(unet)]
    before = [list(processor.scale) for processor in processors]
    try:
        for processor in processors:
            processor.scale = [strength]
        yield
    finally:
        for processor, scale in zip(processors, before):
            processor.scale = scale


def _mask_levels(
    mask: torch.Tensor, pipeline: StableDiffusionXLControlNetPipeline
) -> dict[int, torch.Tensor]:
    """The mask at each level of the UNet, by number of queries, laid out as one column.

    diffusers guesses a mask's grid from an area and an aspect, and misses at some sizes (520×512). A column
    as long as the queries leaves it nothing to guess.
    """
    height, width = (side // pipeline.vae_scale_factor for side in mask.shape[-2:])
    levels = {}
    for _ in pipeline.unet.config.block_out_channels:
        level = F.interpolate(mask, size=(height, width), mode="nearest")
        levels[height * width] = level.reshape(1, 1, -1, 1)
        height, width = -(-height // 2), -(-width // 2)  # the UNet rounds up
    return levels


@contextmanager
def _adapter_mask(unet: UNet2DConditionModel, levels: dict[int, torch.Tensor]) -> Iterator[None]:
    def hand_over(attention, inputs, options):
        queries = inputs[0].shape[1]
        # diffusers widens the mask to every channel where it lies: on the CPU, that would cross over 70 times a step.
        levels[queries] = levels[queries].to(inputs[0])
        return inputs, options | {"ip_adapter_masks": [levels[queries]]}

    with ExitStack() as hooks:
        for attention in _image_attentions(unet):
            hooks.callback(attention.register_forward_pre_hook(hand_over, with_kwargs=True).remove)
        yield
