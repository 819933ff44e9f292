"""Open whatever people upload as a picture that is safe to work on. Called through `images`."""

import io
import logging
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError
from pillow_heif import HeifImageFile

from .errors import InvalidImage

logger = logging.getLogger(__name__)

MAX_PIXELS = 80_000_000  # the largest phone photos people keep are 50 megapixels; Pillow itself warns at 89
MAX_BYTES = 200_000_000
MIN_SIDE = 32  # no face model sees anything in less
# Not every format Pillow knows: EPS, for one, starts Ghostscript on the upload.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
ACCEPTED = "Use a JPEG, PNG, WebP, HEIC or AVIF picture"
# EXIF's numbers. ImageOps.exif_transpose would also write the other EXIF tags anew, and fail on odd ones.
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow's decoders raise on damaged data: found by damaging files, see tests/test_images.py.
DAMAGED = (OSError, SyntaxError, ValueError, EOFError, RuntimeError, struct.error)


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
    try:
        turn = TURNS.get(picture.getexif().get(0x0112))  # Orientation
    except DAMAGED as error:  # the pixels may be whole: show them as they lie, as browsers do
        logger.warning("Unreadable EXIF data, so the picture is taken to be upright: %s", error)
        return picture
    if turn is None:
        return picture
    upright = picture.transpose(turn)
    upright.info = {
        key: value for key, value in upright.info.items() if key == "transparency"
    }  # turn once only
    return upright


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
