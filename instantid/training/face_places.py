"""Where a face detector sees keypoints in pictures in the making, as something to learn by: landmark losses, as where
faces are made after keypoints elsewhere. What only recognises people forgives faces that stand beside their place.
"""

from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from ..errors import BundleError
from ..faces.finder import ATTEMPTS
from .onnx_layers import OnnxLayers

STRIDES = (8, 16, 32)  # pixels between the places that YuNet says something of, at its three scales
# Of pictures as the face finder looks at them first, pixels. Half as large, it sees some keypoints pixels away.
SIZE = ATTEMPTS[0].size
FAR = 0.05  # of the distance of keypoints from their middle: errors beyond count by their size, not by its square
FOUND = 0.8  # the score from which on the finder takes something for a face


class FacePlaces(OnnxLayers):
    """YuNet, as layers that gradients go back through. It does not learn.

    Args:
        file: face_detection_yunet_2023mar.onnx or of the same build.
        side: of whole pictures, pixels: parts of them are seen as large as in these.

    Raises:
        InvalidRequest: onnx2torch is not installed.
        BundleError: the file is no such model.
    """

    def __init__(self, file: Path, side: int):
        super().__init__(file)
        self._scale, outputs = SIZE / side, 4 * len(STRIDES)
        if len(self.layers(torch.zeros(1, 3, 64, 64))) != outputs:
            raise BundleError(
                f"{file} is no YuNet, which says {outputs} things of a picture. Where keypoints are seen can be "
                "learned by that alone: set in_place to 0, or name a bundle whose face models are OpenCV's."
            )

    def forward(self, pictures: torch.Tensor, keypoints: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """How far from where they should be keypoints are seen in (b, 3, h, w) RGB pictures, -1 to 1; and that in
        parts of the keypoints' mean distance from their middle, for those in which a face is seen at all.

        Args:
            keypoints: (b, 5, 2) where they should be, in pixels.
        """
        asked = torch.from_numpy(keypoints).float().to(pictures.device)
        middle = asked.mean(dim=1, keepdim=True)
        size = (asked - middle).norm(dim=2).mean(dim=1)
        seen, score = self._seen(pictures, middle[:, 0], size)
        apart = (seen - asked).norm(dim=2) / size[:, None]
        lost = F.huber_loss(apart, torch.zeros_like(apart), delta=FAR) / FAR
        there = (score > FOUND).float()
        return lost, (there * apart.detach().mean(dim=1)).sum() / there.sum().clamp(min=1)

    def _seen(
        self, pictures: torch.Tensor, middle: torch.Tensor, size: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(b, 5, 2) the keypoints of the likeliest face whose place lies in the one asked for, and (b,) its score."""
        b = len(pictures)
        pixels = F.interpolate(
            (pictures.float().clamp(-1, 1) + 1) * 127.5,
            scale_factor=self._scale,
            mode="bilinear",
            antialias=True,
        )
        # As OpenCV does: filled up with black to the right and below.
        beyond = [(-length) % STRIDES[-1] for length in pixels.shape[-2:]]
        pixels = F.pad(pixels, (0, beyond[1], 0, beyond[0])).flip(1)
        said = self.layers(pixels.contiguous(memory_format=torch.channels_last))
        scores, points = [], []
        for level, stride in enumerate(STRIDES):
            rows, columns = (length // stride for length in pixels.shape[-2:])
            kind, there, _, place = (
                each.float().reshape(b, rows * columns, -1) for each in said[level :: len(STRIDES)]
            )
            y, x = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
            cells = torch.stack([x, y], dim=-1).reshape(1, -1, 1, 2).to(pixels.device)
            points.append((cells + place.reshape(b, -1, 5, 2)) * stride / self._scale)
            off = (cells[:, :, 0] * stride / self._scale - middle[:, None]).norm(dim=2)
            scores.append((kind * there)[..., 0].clamp(min=0).sqrt() * (off < 2 * size[:, None]))
        score, best = torch.cat(scores, dim=1).max(dim=1)
        return torch.cat(points, dim=1)[torch.arange(b), best], score
