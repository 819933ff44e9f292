"""What is painted over a finished picture: the whole of it larger, and each face at full resolution."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torch.nn import functional as F

from .images import GRID
from .nets import Guide
from .painting import OnPass, Painter, Start
from .people import Face
from .regions import blended, ellipses
from .scene import Scene

CONTEXT = 2.0  # a face is painted again in a window this many times its box, so that it sees head and light
HEAD = 1.3  # of the face's box: what the new face replaces
FADE = 0.06  # of the window's side: how softly the new face meets the old picture


def enlarge(
    painter: Painter,
    there: Scene,
    guides: Sequence[Guide],
    picture: Image.Image | torch.Tensor,
    seed: int,
    on_pass: OnPass,
) -> tuple[Image.Image, Scene]:
    """Paint a picture again on a larger canvas, with everything that steers held.

    Args:
        picture: RGB, or latents (1, c, h, w).

    Returns:
        The larger picture, and the scene on its canvas.
    """
    request = painter.request
    scale = painter.pipeline.vae_scale_factor
    grid = max(GRID, scale)  # diffusers wants multiples of 8 whatever the VAE
    width, height = (round(side * request.upscale / grid) * grid for side in there.size)
    larger = there.scaled(width, height)
    if isinstance(picture, torch.Tensor):
        size = (height // scale, width // scale)
        grown = F.interpolate(picture.float(), size, mode="bicubic").to(picture.dtype)
    else:
        grown = picture.resize(larger.size, Image.Resampling.LANCZOS)
    start = Start(picture=grown, strength=request.upscale_strength, mask=larger.repaint)
    guides = [replace(guide, map=guide.map.resize(larger.size)) for guide in guides]
    (painted,) = painter.paint(larger, request.people, guides, [seed], on_pass, start=start)
    return painted, larger


def detail_face(
    painter: Painter,
    there: Scene,
    i: int,
    face: Face,
    picture: Image.Image,
    side: int,
    seed: int,
    on_pass: OnPass,
) -> Image.Image:
    """Paint person `i`'s face again on a canvas of its own, and blend it back.

    Args:
        face: where it is in `picture`.
        side: of that square canvas, in pixels.
    """
    left, top, right, bottom = window = window_around(face, picture.size)
    size = (right - left, bottom - top)
    crop = picture.crop(window)
    near = there.closeup(i, face, np.array(window), side, side)
    start = Start(
        picture=crop.resize(near.size, Image.Resampling.LANCZOS),
        strength=painter.request.face_detail_strength,
    )
    (painted,) = painter.paint(near, [painter.request.people[i]], [], [seed], on_pass, start=start)
    mask = ellipses([face.box - np.tile((left, top), 2)], *size, grow=HEAD)
    if there.repaint is not None:
        mask *= there.repaint[top:bottom, left:right]  # what was to stay stays
    detailed = picture.copy()
    new = painted.resize(size, Image.Resampling.LANCZOS)
    detailed.paste(blended(new, crop, mask, FADE * size[0]), (left, top))
    return detailed


def window_around(face: Face, canvas: tuple[int, int]) -> tuple[int, int, int, int]:
    """The square around a face that is painted again: x1 y1 x2 y2, whole pixels, moved to lie on the canvas."""
    x1, y1, x2, y2 = (float(value) for value in face.box)
    side = min(round(CONTEXT * max(x2 - x1, y2 - y1, 1)), *canvas)
    left, top = (
        min(max(round(middle - side / 2), 0), length - side)
        for middle, length in zip(face.centre, canvas, strict=True)
    )
    return left, top, left + side, top + side
