"""A face recognition model as layers that gradients go back through: what is painted can learn to be recognised."""

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..face_measures import SIDE, similarity
from .onnx_layers import OnnxLayers

FIRST = 8  # nodes among which a model's own normalisation is looked for, as insightface does


class Recogniser(OnnxLayers):
    """Embeds faces in pictures. It does not learn.

    Args:
        file: an ONNX model of aligned faces, such as SFace or antelopev2's glintr100.

    Raises:
        InvalidRequest: onnx2torch is not installed.
        BundleError: the file is no model that can be converted.
    """

    def __init__(self, file: Path):
        super().__init__(file)
        # insightface's rule: models that came from MXNet subtract and divide by themselves.
        scales = all(
            any(name.startswith(start) for name in self._names[:FIRST])
            for start in (("Sub", "_minus"), ("Mul", "_mul"))
        )
        self._middle, self._scale = (0.0, 1.0) if scales else (127.5, 127.5)
        convolutions = (layer for layer in self.layers.modules() if isinstance(layer, nn.Conv2d))
        self._halving = [layer for layer in convolutions if max(layer.stride) > 1]

    def forward(self, pictures: torch.Tensor, keypoints: np.ndarray) -> torch.Tensor:
        """(b, 3, h, w) RGB, -1 to 1, with (b, 5, 2) keypoints in pixels → (b, d) raw embeddings, float32."""
        pixels = (aligned(pictures, keypoints) + 1) * 127.5
        faces = ((pixels - self._middle) / self._scale).contiguous(memory_format=torch.channels_last)
        return self.layers(faces).float()

    def levels(self, pictures: torch.Tensor, keypoints: np.ndarray) -> list[torch.Tensor]:
        """What is seen on the way to the embeddings, finest first: what each layer reads that halves it,
        (b, c, h, w)."""
        seen: list[torch.Tensor] = []
        hooks = [
            layer.register_forward_pre_hook(lambda _, given: seen.append(given[0].float()))
            for layer in self._halving
        ]
        try:
            self(pictures, keypoints)
        finally:
            for hook in hooks:
                hook.remove()
        return seen


def aligned(pictures: torch.Tensor, keypoints: np.ndarray) -> torch.Tensor:
    """The crop that the face models read, and gradients go through: (b, 3, h, w) → (b, 3, 112, 112), clipped to
    -1 … 1. In float32: half precision moves it by a pixel's part.

    As there, a face that is larger is read at every so many pixels, and only these are told how to become more like.
    """
    height, width = pictures.shape[-2:]
    size, half, turns = np.array([width, height]), (SIDE - 1) / 2, []
    for points in keypoints:
        back = cv2.invertAffineTransform(similarity(points))  # from aligned pixels to the picture's
        # torch's places go from -1 at the first pixel's outer edge to 1 at the last one's.
        scale = back[:, :2] * SIDE / size[:, None]
        shift = (2 * (back @ (half, half, 1)) + 1) / size - 1
        turns.append(np.concatenate([scale, shift[:, None]], axis=1))
    theta = torch.from_numpy(np.stack(turns)).float().to(pictures.device)
    with torch.autocast(pictures.device.type, enabled=False):
        places = F.affine_grid(theta, (len(pictures), 3, SIDE, SIDE), align_corners=False)
        faces = F.grid_sample(pictures.float(), places, padding_mode="border", align_corners=False)
    return faces.clamp(-1, 1)
