"""What UNet and IdentityNet are told of faces while they learn: whose, where, and in which part of a picture."""

from dataclasses import replace

import numpy as np
import torch
from diffusers import ControlNetModel
from torch.nn import functional as F

from ..face_drawing import draw_keypoints
from .denoising import Conditions, Denoiser
from .prepared import Prepared
from .windows import Windows


def twice(conditions: Conditions) -> Conditions:
    """For as many examples again."""
    sizes = None if conditions.sizes is None else conditions.sizes.repeat(2, 1)
    return replace(
        conditions,
        hidden=conditions.hidden.repeat(2, 1, 1),
        pooled=conditions.pooled.repeat(2, 1),
        sizes=sizes,
    )


def cut(conditions: Conditions, windows: Windows, scale: int) -> Conditions:
    """The conditions of windows: they are told what was cut off."""
    corners = F.pad(windows.corners(scale), (2, 0)).to(conditions.sizes.device)
    return replace(conditions, sizes=conditions.sizes + corners)


def with_faces(
    denoiser: Denoiser,
    prepared: Prepared,
    conditions: Conditions,
    faces: torch.Tensor,
    chosen: np.ndarray,
    *,
    net: bool = True,
    windows: Windows | None = None,
) -> Conditions:
    """The conditions with a face each, as the pipeline would have it.

    Args:
        denoiser: carries the identity adapter as its first and only one.
        faces: (b, d) raw embeddings.
        chosen: (b,) the pictures of `prepared` whose keypoints say where.
        net: whether IdentityNet sees them too.
        windows: what is left of each picture; None: the whole.
    """
    projector = denoiser.unet.encoder_hid_proj.image_projection_layers[0]
    size = prepared.size
    maps = [draw_keypoints(prepared.keypoints[i], size, size) for i in chosen] if net else []

    def residuals(noisy, timesteps, added):
        drawn = torch.from_numpy(np.stack([np.asarray(map_) for map_ in maps])).permute(0, 3, 1, 2)
        if windows:
            drawn = windows.cut(drawn, denoiser.pipeline.vae_scale_factor)
        return ControlNetModel.forward(
            denoiser.identitynet,
            noisy,
            timesteps,
            projector(faces[:, None]),
            drawn.to(noisy.device).float() / 255,
            added_cond_kwargs=added,
            return_dict=False,
        )

    return replace(conditions, adapters=(faces[:, None, None],), residuals=residuals if net else None)
