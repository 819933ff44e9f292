"""Pixels: open whatever people upload, lay a photo on a canvas, turn a box into a mask.

The only home of RGB⇄BGR. Knows no models and no requests.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .errors import InvalidRequest
from .image_files import open_image as open_image

CANVAS_SIDES = (64, 4096)  # Request.width and height
GRID = 8  # SDXL's VAE's downsampling


def to_bgr(image: Image.Image) -> np.ndarray:
    """Return the pixels of an RGB image as (h, w, 3) uint8 in OpenCV's order: blue, green, red."""
    return np.ascontiguousarray(np.asarray(image.convert("RGB"))[:, :, ::-1])


def from_bgr(array: np.ndarray) -> Image.Image:
    """Return an RGB image of `array`, (h, w, 3) uint8 in OpenCV's order."""
    return Image.fromarray(np.ascontiguousarray(array[:, :, ::-1]))


def fingerprint(image: Image.Image) -> str:
    """Return "sha256:…" over the size and RGB pixels: the same for any lossless copy of an opened picture."""
    digest = hashlib.sha256(f"RGB {image.width}x{image.height}\n".encode())
    digest.update(image.convert("RGB").tobytes())
    return f"sha256:{digest.hexdigest()}"


def canvas_size(
    photo: tuple[int, int] | None,
    *,
    area: tuple[int, int],
    width: int | None,
    height: int | None,
    grid: int = GRID,
) -> tuple[int, int]:
    """Return the (width, height) of the picture to make; what is computed of it is a multiple of `grid`.

    Both sides given: those. One given: the other follows the shape of the photo, or of `area` without one.
    None given: the photo's shape with at most the pixels of `area`, or `area` itself without a photo.

    A computed side stays within 64…4096: only there, beyond about 1:16, the shape gives way.

    Args:
        photo: (width, height) of the photo whose shape to follow.
        area: (width, height) whose product is the pixel budget.
    """
    if width and height:
        return width, height
    if photo is None and not width and not height:
        return area
    shape_width, shape_height = photo or area
    if width:
        return width, _side(width * shape_height / shape_width, grid)
    if height:
        return _side(height * shape_width / shape_height, grid), height
    short, long = _within_budget(max(photo) / min(photo), area[0] * area[1], grid)
    return (short, long) if shape_width < shape_height else (long, short)


def check_sides(width: int | None, height: int | None, grid: int) -> None:
    """Refuse a chosen width or height that is no multiple of `grid`.

    Raises:
        InvalidRequest: what to take instead.
    """
    for name, side in (("width", width), ("height", height)):
        if side and side % grid:
            below = side // grid * grid
            raise InvalidRequest(
                f"Sides of this model's pictures are multiples of {grid}; {name} is {side}. Take {below} or "
                f"{below + grid}."
            )


@dataclass(frozen=True)
class Fit:
    """Where a photo lies on a canvas: the pixel rectangle that it fills.

    Args:
        photo: (width, height) of the photo.
        canvas: (width, height) of the canvas.
        offset: (left, top) of the photo on the canvas; negative where it is cut off.
        placed: (width, height) of the photo on the canvas.
    """

    photo: tuple[int, int]
    canvas: tuple[int, int]
    offset: tuple[int, int]
    placed: tuple[int, int]

    def keypoints(self, points: np.ndarray) -> np.ndarray:
        """Map (n, 2) float points (x, y) from photo pixels to canvas pixels.

        Scale and offset are all there is to it. Detectors count from the picture's edge: their coordinates
        are network pixels times a size ratio, so no half pixel has to be moved, for points or for boxes.
        """
        scale = np.divide(self.placed, self.photo)
        return (np.asarray(points) * scale + self.offset).astype(np.float32)

    def box(self, box: np.ndarray) -> np.ndarray:
        """Map a (4,) box, x1 y1 x2 y2, from photo pixels to canvas pixels."""
        return self.keypoints(np.reshape(box, (2, 2))).reshape(4)

    def image(self, image: Image.Image, background: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
        """Return `image`, of any size in the photo's shape, lying on a canvas of `background` (RGB)."""
        shrinks = self.placed[0] < image.width
        filter_ = Image.Resampling.LANCZOS if shrinks else Image.Resampling.BICUBIC
        placed = image if image.size == self.placed else image.resize(self.placed, filter_)
        if self.placed == self.canvas:
            return placed
        canvas = Image.new("RGB", self.canvas, background)
        canvas.paste(placed, self.offset)
        return canvas

    def reading(
        self, photo: Image.Image, read: Callable[[Image.Image], Image.Image], pixel: int = 1
    ) -> Image.Image:
        """What `read` makes of as much of the photo as lies on the canvas, as large as it lies there.

        A map of all of it would be drawn for a larger picture, and spread over what is not seen. Around it is black:
        no edge where it ends.

        Args:
            pixel: side of the map's pixels, see `in_blocks`; it divides the canvas.
        """
        if pixel > 1:
            canvas, offset, placed = (
                tuple(round(length / pixel) for length in pair)
                for pair in (self.canvas, self.offset, self.placed)
            )
            return (
                Fit(self.photo, canvas, offset, placed)
                .reading(photo, read)
                .resize(self.canvas, Image.Resampling.NEAREST)
            )
        placed, canvas = photo.resize(self.placed, Image.Resampling.LANCZOS), Image.new("RGB", self.canvas)
        seen = [
            (max(0, -at), min(of, side - at))
            for at, of, side in zip(self.offset, self.placed, self.canvas, strict=True)
        ]
        (left, right), (top, bottom) = seen
        if left < right and top < bottom:
            canvas.paste(
                read(placed.crop((left, top, right, bottom))), tuple(max(0, at) for at in self.offset)
            )
        return canvas


def fit(photo_size: tuple[int, int], canvas_size: tuple[int, int], *, cover: bool = False) -> Fit:
    """Lay a photo on a canvas, centred; both sizes are (width, height). Whole, with margins where their shapes
    differ; or, to `cover` the canvas, cut off there.

    Where moving one side of the canvas by less than 8 pixels would give it the photo's shape, as after
    rounding to multiples of 8, the photo is stretched onto it instead: no thin margins.
    """
    (photo_width, photo_height), (width, height) = photo_size, canvas_size
    missing = (
        abs(width - height * photo_width / photo_height),
        abs(height - width * photo_height / photo_width),
    )
    if min(missing) < GRID:
        return Fit(photo_size, canvas_size, (0, 0), canvas_size)
    scale = (max if cover else min)(width / photo_width, height / photo_height)
    placed = max(1, round(photo_width * scale)), max(1, round(photo_height * scale))
    offset = (width - placed[0]) // 2, (height - placed[1]) // 2
    return Fit(photo_size, canvas_size, offset, placed)


def in_blocks(
    picture: Image.Image, pixel: int, read: Callable[[Image.Image], Image.Image] = lambda coarse: coarse
) -> Image.Image:
    """What `read` makes of a picture seen so coarsely that blocks of `pixel` a side are one, drawn in such blocks.

    Nets that learned from small pictures know maps of that many pixels (`bundles.Defaults.map_pixel`).
    """
    return read(picture.reduce(pixel)).resize(picture.size, Image.Resampling.NEAREST)


def closer(fit: Fit, scale: float, point: tuple[float, float], to: tuple[float, float]) -> Fit:
    """The same photo `scale` times as large on its canvas, with what lay at `point` now at `to`, canvas pixels."""
    placed = tuple(max(1, round(side * scale)) for side in fit.placed)
    offset = tuple(
        round(there - (here - before) * after / old)
        for there, here, before, old, after in zip(to, point, fit.offset, fit.placed, placed, strict=True)
    )
    return Fit(fit.photo, fit.canvas, offset, placed)


def shows(box: np.ndarray, width: int, height: int) -> bool:
    """Whether any of `box` (x1 y1 x2 y2), its corners truncated to whole pixels, lies on a canvas."""
    x1, y1, x2, y2 = (int(value) for value in box)
    return max(x1, 0) < min(x2, width) and max(y1, 0) < min(y2, height)


def box_mask(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a (height, width) float32 mask: 1 inside `box` (x1 y1 x2 y2 in canvas pixels), else 0.

    Corners are truncated as the reference does, then clipped: its negative corners emptied the mask.

    Raises:
        InvalidRequest: the box has no pixel on the canvas.
    """
    if not shows(box, width, height):
        raise InvalidRequest(
            f"The face lies outside the {width}×{height} canvas: "
            f"its box is {[round(float(value)) for value in box]}. "
            "Move the face onto the canvas, or turn the face region off."
        )
    x1, y1, x2, y2 = (max(0, int(value)) for value in box)
    mask = np.zeros((height, width), dtype=np.float32)
    mask[y1:y2, x1:x2] = 1
    return mask


def _side(length: float, grid: int) -> int:
    low, high = CANVAS_SIDES
    return min(max(round(length / grid) * grid, low), high)


def _within_budget(aspect: float, pixels: int, grid: int) -> tuple[int, int]:
    """Return (short, long) side, for long / short near `aspect` (≥ 1) and at most `pixels` in all."""
    low, high = CANVAS_SIDES
    aspect = min(aspect, pixels / low**2, high**2 / pixels)
    candidates = [
        (short, long)
        for short in _neighbours((pixels / aspect) ** 0.5, grid)
        for long in _neighbours(short * aspect, grid)
        if short >= low and short <= long <= high and short * long <= pixels
    ]

    def loss(sides: tuple[int, int]) -> float:  # a changed shape weighs more than a few pixels less
        short, long = sides
        return 4 * abs(math.log(long / short / aspect)) + math.log(pixels / (short * long))

    return min(candidates, key=loss)


def _neighbours(length: float, grid: int) -> tuple[int, int]:
    below = int(length / grid + 1e-9) * grid  # 63.999… is 64
    return below, below + grid
