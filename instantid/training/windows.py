"""Windows around faces: what a face looks like can be learned from a part of the picture, at a part of the cost."""

from dataclasses import dataclass

import numpy as np
import torch


@dataclass(frozen=True, eq=False)
class Windows:
    """A square for each of b pictures, in latents.

    Args:
        left, top: (b,) int64.
        side: width and height.
    """

    left: np.ndarray
    top: np.ndarray
    side: int

    def cut(self, maps: torch.Tensor, scale: int = 1) -> torch.Tensor:
        """(b, c, h, w) → (b, c, side, side), all times `scale`: how many pixels of the maps one latent spans."""
        side = self.side * scale
        corners = zip(maps, self.top * scale, self.left * scale, strict=True)
        return torch.stack([map_[:, top : top + side, left : left + side] for map_, top, left in corners])

    def corners(self, scale: int) -> torch.Tensor:
        """(b, 2) float32: top and left in pixels, as SDXL is told what was cut off (2307.01952, section 2.2)."""
        return torch.from_numpy(np.stack([self.top, self.left], axis=1) * scale).float()


def around(boxes: np.ndarray, *, width: int, jitter: int = 1) -> Windows:
    """Windows half as wide as the latents, around the middle of boxes and up to `jitter` beside it, by torch's draw.

    Args:
        boxes: (b, 4) left, top, right, bottom, in latents.
        width: of the square latents.
    """
    side = width // 2
    middle = (boxes[:, :2] + boxes[:, 2:]) / 2
    drawn = torch.randint(-jitter, jitter + 1, middle.shape).numpy()
    left, top = np.clip(np.round(middle - side / 2).astype(np.int64) + drawn, 0, width - side).T
    return Windows(left, top, side)
