"""What UNet and IdentityNet are told of faces while they learn: whose, and where."""

from dataclasses import replace

import numpy as np
import torch
from diffusers import ControlNetModel

from ..face_drawing import draw_keypoints
from .conditions import Conditions
from .denoising import Denoiser
from .prepared import Prepared


def with_faces(
    denoiser: Denoiser,
    prepared: Prepared,
    conditions: Conditions,
    faces: torch.Tensor,
    chosen: np.ndarray,
    *,
    net: bool = True,
) -> Conditions:
    """The conditions with a face each, as the pipeline would have it.

    Args:
        denoiser: carries the identity adapter as its first and only one.
        faces: (b, d) raw embeddings.
        chosen: (b,) the pictures of `prepared` whose keypoints say where.
        net: whether IdentityNet sees them too.
    """
    projector = denoiser.unet.encoder_hid_proj.image_projection_layers[0]
    maps = keypoint_maps(prepared, chosen, denoiser.map_pixel) if net else None

    def residuals(noisy, timesteps, added):
        return ControlNetModel.forward(
            denoiser.identitynet,
            noisy,
            timesteps,
            projector(faces[:, None]),
            maps.to(noisy.device),
            added_cond_kwargs=added,
            return_dict=False,
        )

    return replace(conditions, adapters=(faces[:, None, None],), residuals=residuals if net else None)


def led(
    denoiser: Denoiser,
    prepared: Prepared,
    told: Conditions,
    faces: torch.Tensor,
    chosen: np.ndarray,
    *,
    net: bool = True,
) -> tuple[Conditions, Conditions]:
    """What pictures are led towards, and away from: nothing said and nobody, in the same place.

    Args:
        told: of (b,) texts; the rest as for `with_faces`.
    """
    nothing = denoiser.read([""] * len(faces))
    given, against = (
        with_faces(denoiser, prepared, conditions, whose, chosen, net=net)
        for conditions, whose in ((told, faces), (nothing, torch.zeros_like(faces)))
    )
    return given, against


def keypoint_maps(prepared: Prepared, chosen: np.ndarray, pixel: int) -> torch.Tensor:
    """(b, 3, s, s), 0 to 1: what IdentityNet sees of where faces are, drawn in pixels of that side."""
    size = prepared.size
    maps = [np.asarray(draw_keypoints(prepared.keypoints[i], size, size, pixel)) for i in chosen]
    return torch.from_numpy(np.stack(maps)).permute(0, 3, 1, 2).float() / 255


def inside_faces(prepared: Prepared, chosen: np.ndarray, latents: torch.Tensor) -> torch.Tensor:
    """(b, 1, h, w): 1 where a latent's middle lies in the picture's face box, else 0."""
    boxes = torch.from_numpy(prepared.boxes[chosen]).to(latents.device) / prepared.size
    left, top, right, bottom = (side[:, None] for side in boxes.T)
    height, width = latents.shape[-2:]
    y = (torch.arange(height, device=latents.device) + 0.5) / height
    x = (torch.arange(width, device=latents.device) + 0.5) / width
    down, across = (y >= top) & (y <= bottom), (x >= left) & (x <= right)
    return (down[:, None, :, None] & across[:, None, None, :]).to(latents.dtype)
