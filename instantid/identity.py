"""InstantID on stock diffusers: a face's image adapter, and IdentityNet.

The image adapter is an ordinary IP-Adapter whose input is a face embedding (InstantID, section 3.2).
IdentityNet is an ordinary ControlNet over five keypoints whose cross-attention sees the face's tokens
instead of the text (section 3.3). What a call needs is lent to both for its length and taken back after.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, StableDiffusionXLControlNetPipeline
from diffusers.models.controlnets.controlnet import ControlNetOutput
from PIL import Image
from torch.nn import functional as F

from . import branches
from .adapter_file import StateDict, check_fit, read_adapter
from .errors import InvalidRequest
from .memo import Memo


@dataclass(frozen=True, kw_only=True, eq=False)
class Sitter:
    """A person as the networks take them.

    Args:
        embedding: (d,) float32, raw.
        identity_strength: of IdentityNet; 0 is exactly off.
        adapter_strength: of the image adapter; 0 is exactly off, and leaves IdentityNet its tokens.
        mask: (height, width) of the canvas, 0 to 1: both act inside it only. None: everywhere.
        keypoint_map: RGB of the canvas' size, this person's keypoints alone.
    """

    embedding: np.ndarray
    identity_strength: float
    adapter_strength: float
    mask: np.ndarray | None
    keypoint_map: Image.Image


@dataclass(frozen=True, eq=False)
class Conditioning:
    """What IdentityNet sees of one person during a call.

    Args:
        tokens: (2 * pictures, n, cross_attention_dim): the unconditional half first.
        mask: (1, 1, height, width) in pixels of the canvas, 0 to 1, or None for everywhere.
        strength: multiplies the call's own.
        map: (1, 3, height, width), 0 to 1: the keypoints.
    """

    tokens: torch.Tensor
    mask: torch.Tensor | None
    strength: float
    map: torch.Tensor


class IdentityNet(ControlNetModel):
    """A ControlNet that reads faces instead of the text: each by its own keypoints, in its own region.

    Outside `Identity.lend` it has nothing to read and refuses to run.
    """

    conditioning: tuple[Conditioning, ...] = ()

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor,
        encoder_hidden_states: torch.Tensor,
        controlnet_cond: torch.Tensor | None = None,
        conditioning_scale: float = 1.0,
        return_dict: bool = True,
        **inputs,
    ):
        """A ControlNet's. `controlnet_cond`, everyone's keypoints, is not looked at: each person has a map."""
        if not self.conditioning:
            raise RuntimeError("IdentityNet runs only inside Identity.lend(...).")
        nothing = sample.new_zeros(())
        down, mid = [nothing] * len(self.controlnet_down_blocks), nothing
        for person in self.conditioning:
            strength = conditioning_scale * person.strength
            if strength == 0:  # nothing to add: spare the whole network
                continue
            more, more_mid = super().forward(
                sample,
                timestep,
                # Without guidance the batch holds the conditional half alone, which stands last.
                person.tokens[-len(sample) :].to(encoder_hidden_states),
                person.map.expand(len(sample), -1, -1, -1).to(sample),
                conditioning_scale=strength,
                return_dict=False,
                **inputs,
            )
            if person.mask is not None:
                more = [_inside(person.mask, residual) for residual in more]
                more_mid = _inside(person.mask, more_mid)
            down, mid = [a + b for a, b in zip(down, more, strict=True)], mid + more_mid
        return ControlNetOutput(down, mid) if return_dict else (down, mid)


def _inside(mask: torch.Tensor, residual: torch.Tensor) -> torch.Tensor:
    # Sized by the residual itself: the reference divides and rounds down, and fails off multiples of 32.
    return residual * F.interpolate(mask, size=residual.shape[-2:], mode="bilinear").to(residual)


class Identity:
    """Faces' two ways into a pipeline. Made by `attach`, ended by `branches.detach`."""

    def __init__(self, pipeline: StableDiffusionXLControlNetPipeline, net: IdentityNet):
        self.net = net
        # Tokens are computed on a copy of the projector that stays on the CPU in float32: as a part of the
        # UNet it would be called past the hooks that offloading relies on (InstantID#34), and in half precision.
        projector = pipeline.unet.encoder_hid_proj.image_projection_layers[0]
        self._projector = copy.deepcopy(projector).float().cpu()
        self._known: Memo[torch.Tensor] = Memo(16)

    @property
    def embedding_size(self) -> int:
        """Width of the face embeddings that the adapter was trained with."""
        return self._projector.proj_in.in_features

    @torch.inference_mode()
    def tokens(self, embedding: np.ndarray, negative: torch.Tensor | None = None) -> torch.Tensor:
        """Project a raw face embedding (d,) to tokens (2, n, cross_attention_dim), float32 on the CPU.

        The first half is the unconditional one: the projection of `negative` (d,), or of zeros, which is not zero.
        """
        face = torch.from_numpy(self._checked(embedding)).float()
        away = torch.zeros_like(face) if negative is None else negative
        both = torch.stack([away, face])
        return self._known(both.numpy().tobytes(), lambda: self._projector(both[:, None]))

    def sources(self, sitters: Sequence[Sitter]) -> list[branches.Source]:
        """The sitters as the image adapter takes them; those of strength 0 are left out."""
        return [
            branches.Source(
                torch.from_numpy(self._checked(sitter.embedding)).float(),
                sitter.adapter_strength,
                sitter.mask,
            )
            for sitter in sitters
            if sitter.adapter_strength > 0
        ]

    @contextmanager
    def lend(
        self, sitters: Sequence[Sitter], negative: torch.Tensor | None = None, pictures: int = 1
    ) -> Iterator[None]:
        """Let IdentityNet see these people during one call.

        Args:
            negative: (d,) the face that guidance leads away from; None: zeros.
            pictures: how many the call paints.
        """
        conditioning = tuple(
            Conditioning(
                self.tokens(sitter.embedding, negative).repeat_interleave(pictures, dim=0),
                None if sitter.mask is None else torch.from_numpy(sitter.mask).float()[None, None],
                sitter.identity_strength,
                _as_tensor(sitter.keypoint_map),
            )
            for sitter in sitters
        )
        before = self.net.conditioning
        self.net.conditioning = conditioning
        try:
            yield
        finally:
            self.net.conditioning = before

    def _checked(self, embedding: np.ndarray) -> np.ndarray:
        if embedding.shape != (self.embedding_size,):
            raise InvalidRequest(
                f"This face has an embedding of {embedding.shape[0]} numbers, the bundle's identity adapter "
                f"wants {self.embedding_size}. Faces must come from the bundle's own face model."
            )
        return embedding


def attach(
    pipeline: StableDiffusionXLControlNetPipeline, adapter: Path, net: IdentityNet, *others: StateDict
) -> Identity:
    """Load an identity adapter into `pipeline`, natively, beside `net`, and `others` after it.

    `branches.detach` undoes it exactly.

    Raises:
        BundleError: the file cannot be read, is not such an adapter, or does not fit the pipeline's UNet.
    """
    weights = read_adapter(adapter)
    check_fit(weights, pipeline.unet, adapter)
    branches.attach(pipeline, [weights, *others])
    return Identity(pipeline, net)


def _as_tensor(picture: Image.Image) -> torch.Tensor:
    """(1, 3, height, width), 0 to 1, as pipelines prepare a ControlNet's picture."""
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255).permute(2, 0, 1)[None]
