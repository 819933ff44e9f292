"""Give a rendered photo the look of a style preset, so that the preset's words mean something to a small model."""

import zlib
from collections.abc import Mapping

import cv2
import numpy as np

from ....errors import InvalidStyle
from ....styles import NO_STYLE, Style, load_styles
from . import cinema, craft, design, illustration, instantid, painting, photography, worlds
from .sheet import Sheet, Step

PHOTO = "photo"
LOOKS: Mapping[str, tuple[Step, ...]] = {
    **instantid.LOOKS,
    **photography.LOOKS,
    **cinema.LOOKS,
    **painting.LOOKS,
    **illustration.LOOKS,
    **craft.LOOKS,
    **design.LOOKS,
    **worlds.LOOKS,
}


def apply_look(image: np.ndarray, people: np.ndarray, look: str, seed: int) -> np.ndarray:
    """Return the picture as the preset named `look` would have it; “photo” gives it back as it is.

    Args:
        image: (h, w, 3) uint8 RGB.
        people: (h, w), not 0 where a person is; places and lights go by it. All 0 where nobody is known of.
        look: “photo” or a name in `LOOKS`.
        seed: of all that is drawn by chance; the same seed gives the same bytes.

    Returns:
        (h, w, 3) uint8 RGB, everything where it was: keypoints, masks and depth still hold.

    Raises:
        InvalidStyle: there is no such look.
    """
    if look == PHOTO:
        return image
    if look not in LOOKS:
        raise InvalidStyle(
            f"There is no look “{look}”: “{PHOTO}” and the names of the style presets are known."
        )
    person = cv2.GaussianBlur((people > 0).astype(np.float32), (0, 0), 0.7)
    random = np.random.default_rng([seed, zlib.crc32(look.encode())])
    sheet = Sheet(image.astype(np.float32) / 255, person, random)
    for step in LOOKS[look]:
        sheet = step(sheet)
    return np.rint(255 * sheet.image).astype(np.uint8)


def styles_with_looks() -> Mapping[str, Style]:
    """The built-in presets by name; each has a look."""
    return {name: style for name, style in load_styles().items() if name != NO_STYLE}
