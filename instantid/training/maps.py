"""Control maps of prepared pictures: what the engine's annotators would read off them, from what is known of them.

Edges are read by the engine's own annotator; depth and skeletons are drawn from the truth, in the annotators' way.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image

from .. import bundles
from ..controls import Annotators
from ..images import in_blocks
from ..request import Control, ControlName
from ..skeletons import NECK, Skeleton, draw_skeletons
from .prepared import Prepared

AT_ONCE = 256  # depth maps looked at together
# OpenPose's number: that among a record's face keypoints. Records know all but the neck and the ears; their bodies
# are in OpenPose's order.
NOSE_EYES = {0: 2, 14: 0, 15: 1}
BODY = range(2, 14)


class Maps:
    """Draws the maps of `prepared`, (s, s, 3) uint8 RGB.

    Args:
        bundle: whose annotators the maps are for.
    """

    def __init__(self, prepared: Prepared, bundle: Path):
        opened = bundles.open_bundle(bundle)
        self._prepared, self._pixel = prepared, opened.defaults.map_pixel
        self._annotators = Annotators(opened)

    def kinds_of(self, index: int) -> tuple[ControlName, ...]:
        """Which maps there are of a picture: edges always, the others where depth or bodies are known."""
        known = {"pose": bool(self._skeletons(index)), "canny": True, "depth": bool(self._has_depth[index])}
        return tuple(kind for kind, is_known in known.items() if is_known)

    def draw(self, kind: ControlName, index: int, control: Control) -> np.ndarray:
        """One map of one picture, in the pixels that the bundle's nets know; edges by `control`'s thresholds."""
        size = self._prepared.size
        if kind == "canny":
            picture = Image.fromarray(self._prepared.images([index])[0])
            drawn = in_blocks(
                picture, self._pixel, lambda coarse: self._annotators.draw("canny", coarse, control)
            )
        elif kind == "pose":
            drawn = in_blocks(draw_skeletons(self._skeletons(index), size, size), self._pixel)
        else:
            drawn = in_blocks(Image.fromarray(draw_depth(self._prepared.depth([index])[0])), self._pixel)
        return np.asarray(drawn)

    def _skeletons(self, index: int) -> list[Skeleton]:
        return skeletons_of(self._prepared.records[index], self._prepared.size)

    @cached_property
    def _has_depth(self) -> np.ndarray:
        """(N,) bool."""
        places = np.arange(len(self._prepared))
        return np.concatenate(
            [
                self._prepared.depth(places[i : i + AT_ONCE]).any(axis=(1, 2))
                for i in range(0, len(places), AT_ONCE)
            ]
        )


def draw_depth(depth: np.ndarray) -> np.ndarray:
    """(s, s) uint8, 0 nearest → (s, s, 3): near is bright, and the whole range is used."""
    near = depth.max() - depth.astype(np.float32)
    grey = near * (255 / max(float(near.max()), 1.0))
    return np.repeat(grey.round().astype(np.uint8)[..., None], 3, axis=-1)


def skeletons_of(record: dict, size: int) -> list[Skeleton]:
    """Of all bodies in a picture of that size of which anything is seen."""
    known = [figure for figure in record.get("figures", []) if "body_keypoints" in figure]
    return [skeleton for figure in known if any(skeleton := skeleton_of(figure, size))]


def skeleton_of(figure: dict, size: int) -> Skeleton:
    """OpenPose's 18 points of a record's figure, in pixels of a picture of that size; None: not to be seen.

    What a face was cut out without is not seen, whatever the record of the whole picture says. The neck is between
    the shoulders, and seen where both are.
    """
    skeleton: Skeleton = [None] * 18
    for point, known in NOSE_EYES.items():
        if figure["face_visible"][known]:
            skeleton[point] = _within(figure["face_keypoints"][known], size)
    for point, place, visible in zip(BODY, figure["body_keypoints"], figure["body_visible"], strict=True):
        if visible:
            skeleton[point] = _within(place, size)
    if skeleton[2] and skeleton[5]:
        skeleton[NECK] = tuple(np.mean([skeleton[2], skeleton[5]], axis=0).tolist())
    return skeleton


def _within(place: Sequence[float], size: int) -> tuple[float, float] | None:
    """The place, if it lies in a picture of that size."""
    x, y = (float(at) for at in place)
    return (x, y) if 0 <= x < size and 0 <= y < size else None
