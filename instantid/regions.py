"""Where each person may act: masks over the canvas, from painted regions, faces' boxes, or who stands where.

Pixels only: masks are (height, width) float32, 0 to 1.
"""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

from .images import box_mask, fit
from .people import Face

SOFTNESS = 0.02  # width of a soft edge, as a part of the canvas' shorter side


def regions(
    faces: Sequence[Face],
    painted: Sequence[Image.Image | None],
    width: int,
    height: int,
    *,
    face_only: bool,
) -> list[np.ndarray | None]:
    """One mask per person, None for everywhere.

    A painted region is taken as it is, with soft edges. Without one, a person acts in the face's box where
    `face_only`, as the reference does for its one person; else in all of the canvas that lies nearer to their
    face than to anyone else's. Where several people's masks overlap they share.

    Args:
        faces: on the canvas.
        painted: white where the person goes; laid on the canvas like a photo.
    """
    softness = SOFTNESS * min(width, height)
    masks: list[np.ndarray | None] = []
    for i, (face, picture) in enumerate(zip(faces, painted, strict=True)):
        if picture is not None:
            lying = fit(picture.size, (width, height)).image(picture)
            mask = _soften(np.asarray(lying.convert("L"), dtype=np.float32) / 255, softness)
            masks.append(None if mask.min() == 1 else mask)
        elif face_only:
            mask = box_mask(face.box, width, height)
            masks.append(mask if len(faces) == 1 else _soften(mask, softness))
        else:
            masks.append(None if len(faces) == 1 else _soften(_nearest(faces, width, height) == i, softness))
    return masks if len(masks) == 1 else _shared(masks, width, height)


def ellipses(boxes: Sequence[np.ndarray], width: int, height: int, *, grow: float = 1.2) -> np.ndarray:
    """A mask of faces' outlines: each box's ellipse, `grow` times as large."""
    mask = np.zeros((height, width), dtype=np.float32)
    for x1, y1, x2, y2 in boxes:
        centre = (round(float(x1 + x2) / 2), round(float(y1 + y2) / 2))
        axes = (max(1, round(float(x2 - x1) / 2 * grow)), max(1, round(float(y2 - y1) / 2 * grow)))
        cv2.ellipse(mask, centre, axes, 0, 0, 360, 1.0, thickness=-1)
    return mask


def blended(new: Image.Image, old: Image.Image, mask: np.ndarray, fade: float) -> Image.Image:
    """`new` inside the mask, fading into `old` over `fade` pixels towards its edge; outside, `old` to the pixel."""
    inside = cv2.distanceTransform((mask > 0.5).astype(np.uint8), cv2.DIST_L2, 5)
    share = np.clip(inside / max(fade, 1), 0, 1)[..., None]
    mixed = share * np.asarray(new, np.float32) + (1 - share) * np.asarray(old, np.float32)
    return Image.fromarray(mixed.round().astype(np.uint8))


def _nearest(faces: Sequence[Face], width: int, height: int) -> np.ndarray:
    """(height, width): which face's centre is nearest."""
    x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    return np.argmin([(x - cx) ** 2 + (y - cy) ** 2 for cx, cy in (face.centre for face in faces)], axis=0)


def _soften(mask: np.ndarray, width: float) -> np.ndarray:
    soft = cv2.GaussianBlur(
        mask.astype(np.float32), (0, 0), max(width / 2, 0.5), borderType=cv2.BORDER_REPLICATE
    )
    # Far from an edge a blur of ones is one but for rounding, which would not be "everywhere" any more.
    return np.where(soft > 1 - 1e-4, 1, np.where(soft < 1e-4, 0, soft)).astype(np.float32)


def _shared(masks: Sequence[np.ndarray | None], width: int, height: int) -> list[np.ndarray]:
    stack = np.stack([np.ones((height, width), np.float32) if mask is None else mask for mask in masks])
    return list(stack / np.maximum(stack.sum(axis=0), 1))
