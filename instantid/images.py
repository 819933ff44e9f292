"""Pixels: open whatever people upload, lay a photo on a canvas, turn a box into a mask.

The only home of RGB⇄BGR. Knows no models and no requests.
"""

import hashlib
import io
import math
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError
from pillow_heif import HeifImageFile

from .errors import InvalidImage, InvalidRequest

MAX_PIXELS = 80_000_000  # the largest phone photos people keep are 50 megapixels; Pillow itself warns at 89
MAX_BYTES = 200_000_000
MIN_SIDE = 32  # no face model sees anything in less
CANVAS_SIDES = (64, 4096)  # Request.width and height
GRID = 8  # the VAE's downsampling
# Not every format Pillow knows: EPS, for one, starts Ghostscript on the upload.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
ACCEPTED = "Use a JPEG, PNG, WebP, HEIC or AVIF picture"
# What Pillow's decoders raise on damaged data: found by damaging files, see tests/test_images.py.
DAMAGED = (OSError, SyntaxError, ValueError, TypeError, LookupError, EOFError, struct.error, RuntimeError)


def open_image(source: Image.Image | Path | str | bytes) -> Image.Image:
    """Return `source` as an upright, opaque RGB uint8 picture; of an animation, the first frame.

    Transparency lies on white. 16-bit grey is scaled to 8 bits; floats are taken as 0…1, or as 0…255 where
    any is larger than 1.

    Raises:
        InvalidImage: no such file, not a picture, damaged, or too large or small; the message names the file.
    """
    name = Path(source).name if isinstance(source, (str, Path)) else ""
    name = f"“{name}”" if name else "This picture"
    if isinstance(source, Image.Image):
        picture = source
    elif isinstance(source, (str, Path)):
        picture = _identify(_read(Path(source), name), name)
    elif isinstance(source, bytes):
        picture = _identify(source, name)
    else:
        raise InvalidImage(f"A picture is a PIL image, a path or bytes, not {type(source).__name__}.")
    _check_size(picture.size, name)
    with _explained(name):
        picture.load()
        return _as_rgb(_upright(picture), name)


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
    photo: tuple[int, int] | None, *, area: tuple[int, int], width: int | None, height: int | None
) -> tuple[int, int]:
    """Return the (width, height) of the picture to make, multiples of 8.

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
        return width, _side(width * shape_height / shape_width)
    if height:
        return _side(height * shape_width / shape_height), height
    short, long = _within_budget(max(photo) / min(photo), area[0] * area[1])
    return (short, long) if shape_width < shape_height else (long, short)


@dataclass(frozen=True)
class Fit:
    """Where a photo lies on a canvas: the pixel rectangle that it fills.

    Args:
        photo: (width, height) of the photo.
        canvas: (width, height) of the canvas.
        offset: (left, top) of the photo on the canvas.
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


def fit(photo_size: tuple[int, int], canvas_size: tuple[int, int]) -> Fit:
    """Lay a photo on a canvas, whole and centred; both sizes are (width, height).

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
    scale = min(width / photo_width, height / photo_height)
    placed = max(1, round(photo_width * scale)), max(1, round(photo_height * scale))
    offset = (width - placed[0]) // 2, (height - placed[1]) // 2
    return Fit(photo_size, canvas_size, offset, placed)


def box_mask(box: np.ndarray, width: int, height: int) -> np.ndarray:
    """Return a (height, width) float32 mask: 1 inside `box` (x1 y1 x2 y2 in canvas pixels), else 0.

    Corners are truncated as the reference does, then clipped: its negative corners emptied the mask.

    Raises:
        InvalidRequest: the box has no pixel on the canvas.
    """
    x1, y1, x2, y2 = (max(0, int(value)) for value in box)
    mask = np.zeros((height, width), dtype=np.float32)
    mask[y1:y2, x1:x2] = 1
    if not mask.any():
        raise InvalidRequest(
            f"The face lies outside the {width}×{height} canvas: "
            f"its box is {[round(float(value)) for value in box]}. "
            "Move the face onto the canvas, or turn the face region off."
        )
    return mask


def _read(path: Path, name: str) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # a pipe or device could be read for ever
            kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
            raise InvalidImage(f"{name} is {kind}, not a picture. Give the path of one picture file.")
        if status.st_size > MAX_BYTES:
            raise InvalidImage(
                f"{name} is a file of {status.st_size / 1e6:.0f} MB; pictures up to {MAX_BYTES / 1e6:.0f} MB "
                "can be read. Save it smaller and try again."
            )
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InvalidImage(f"There is no file {path}. Check the path and its spelling.") from error
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InvalidImage(f"{name} cannot be read: {reason}. Check the file and its permissions.") from error


def _identify(data: bytes, name: str) -> Image.Image:
    """Read the header alone."""
    if not data:
        raise InvalidImage(f"{name} is an empty file. {ACCEPTED}; if it was copied or sent, do that again.")
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise InvalidImage(_too_large(name, "far too many")) from error
    except UnidentifiedImageError as error:
        if data[4:8] != b"ftyp":
            raise InvalidImage(f"{name} is not a picture that can be read. {ACCEPTED}.") from error
    except DAMAGED as error:
        raise InvalidImage(_damaged(name, error)) from error
    with _explained(
        name
    ):  # Pillow leaves HEIC to this plugin; registering it would change Pillow for everyone
        return HeifImageFile(io.BytesIO(data))


def _check_size(size: tuple[int, int], name: str) -> None:
    width, height = size
    if width * height > MAX_PIXELS:
        raise InvalidImage(_too_large(name, f"{width}×{height}"))
    if min(size) < MIN_SIDE:
        raise InvalidImage(
            f"{name} is only {width}×{height} pixels; at least {MIN_SIDE} a side are needed, "
            "and a face wants some hundreds. Use a larger picture."
        )


def _upright(picture: Image.Image) -> Image.Image:
    turned = picture.getexif().get(0x0112, 1) != 1  # Orientation
    return ImageOps.exif_transpose(picture) if turned else picture


def _as_rgb(picture: Image.Image, name: str) -> Image.Image:
    if picture.mode == "RGB" and not picture.has_transparency_data:
        return picture
    if picture.mode.startswith(("I", "F")):
        return _eight_bit(np.asarray(picture), picture.mode, name).convert("RGB")
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")


def _eight_bit(grey: np.ndarray, mode: str, name: str) -> Image.Image:
    """Scale 16-bit grey (Pillow's I modes) or floats (F) to 0…255."""
    highest = 65535.0 if mode.startswith("I") else 1.0 if grey.max() <= 1 else 255.0
    if not (grey.min() >= 0 and grey.max() <= highest):  # written so that NaN fails
        raise InvalidImage(
            f"{name} holds values from {grey.min():g} to {grey.max():g}, which have no agreed brightness. "
            "Save it with 8 or 16 bits per channel."
        )
    return Image.fromarray(np.rint(grey * (255.0 / highest)).astype(np.uint8))


@contextmanager
def _explained(name: str) -> Iterator[None]:
    try:
        yield
    except DAMAGED as error:
        raise InvalidImage(_damaged(name, error)) from error


def _damaged(name: str, error: Exception) -> str:
    return f"{name} is damaged or cut short and cannot be read ({error}). Export or download it again."


def _too_large(name: str, size: str) -> str:
    return (
        f"{name} has {size} pixels; pictures up to {MAX_PIXELS // 1_000_000} megapixels can be read. "
        "Save it smaller and try again."
    )


def _side(length: float) -> int:
    low, high = CANVAS_SIDES
    return min(max(round(length / GRID) * GRID, low), high)


def _within_budget(aspect: float, pixels: int) -> tuple[int, int]:
    """Return (short, long) side, for long / short near `aspect` (≥ 1) and at most `pixels` in all."""
    low, high = CANVAS_SIDES
    aspect = min(aspect, pixels / low**2, high**2 / pixels)
    candidates = [
        (short, long)
        for short in _neighbours((pixels / aspect) ** 0.5)
        for long in _neighbours(short * aspect)
        if short >= low and short <= long <= high and short * long <= pixels
    ]

    def loss(sides: tuple[int, int]) -> float:  # a changed shape weighs more than a few pixels less
        short, long = sides
        return 4 * abs(math.log(long / short / aspect)) + math.log(pixels / (short * long))

    return min(candidates, key=loss)


def _neighbours(length: float) -> tuple[int, int]:
    below = int(length / GRID + 1e-9) * GRID  # 63.999… is 64
    return below, below + GRID
