"""Control maps of prepared pictures: what the engine's annotators would read off them, from what is known of them.

Edges are read by the engine's own annotator; depth and skeletons are drawn from the truth, in the annotators' way.
"""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from .. import bundles
from ..controls import POSE_SIDE, Annotators
from ..request import Control, ControlName
from .prepared import Prepared

AT_ONCE = 256  # depth maps looked at together
STICK, DOT = 4, 4  # half-width of limbs and radius of points, at POSE_SIDE
NECK = 1
# OpenPose's 18 points: nose, neck, the right arm from the shoulder on, the left one, the right leg from the hip on,
# the left one, right eye, left eye, right ear, left ear. Records know all but the neck and the ears; their bodies
# are in the same order.
NOSE_EYES = {0: 2, 14: 0, 15: 1}  # OpenPose's number: that among a record's face keypoints
BODY = range(2, 14)
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
COLOURS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0)),
    *((0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255)),
    *((170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
Skeleton = list[tuple[float, float] | None]


class Maps:
    """Draws the maps of `prepared`, (s, s, 3) uint8 RGB.

    Args:
        bundle: whose annotators the maps are for.
    """

    def __init__(self, prepared: Prepared, bundle: Path):
        self._prepared = prepared
        self._annotators = Annotators(bundles.open_bundle(bundle))

    def kinds_of(self, index: int) -> tuple[ControlName, ...]:
        """Which maps there are of a picture: edges always, the others where depth or bodies are known."""
        known = {"pose": bool(self._skeletons(index)), "canny": True, "depth": bool(self._has_depth[index])}
        return tuple(kind for kind, is_known in known.items() if is_known)

    def draw(self, kind: ControlName, index: int, control: Control) -> np.ndarray:
        """One map of one picture; edges by `control`'s thresholds."""
        if kind == "pose":
            return draw_skeletons(self._skeletons(index), self._prepared.size)
        if kind == "depth":
            return draw_depth(self._prepared.depth([index])[0])
        picture = Image.fromarray(self._prepared.images([index])[0])
        return np.asarray(self._annotators.draw("canny", picture, control))

    def _skeletons(self, index: int) -> list[Skeleton]:
        size = self._prepared.size
        figures = self._prepared.records[index].get("figures", [])
        skeletons = [skeleton_of(figure, size) for figure in figures if "body_keypoints" in figure]
        return [skeleton for skeleton in skeletons if any(skeleton)]

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


def skeleton_of(figure: dict, size: int) -> Skeleton:
    """OpenPose's 18 points of a record's figure, in pixels of a picture of that size; None: not to be seen.

    The neck is between the shoulders: seen where that lies in the picture and one of them is seen.
    """
    skeleton: Skeleton = [None] * 18
    for point, known in NOSE_EYES.items():
        if figure["face_visible"][known]:
            skeleton[point] = tuple(figure["face_keypoints"][known])
    for point, place, visible in zip(BODY, figure["body_keypoints"], figure["body_visible"], strict=True):
        if visible:
            skeleton[point] = tuple(place)
    neck = np.mean([figure["body_keypoints"][0], figure["body_keypoints"][3]], axis=0)
    if (skeleton[2] or skeleton[5]) and (neck >= 0).all() and (neck < size).all():
        skeleton[NECK] = (float(neck[0]), float(neck[1]))
    return skeleton


def draw_skeletons(skeletons: Sequence[Skeleton], size: int) -> np.ndarray:
    """(size, size, 3) uint8 RGB, as the pose annotator draws bodies: at POSE_SIDE, then scaled."""
    canvas = np.zeros((POSE_SIDE, POSE_SIDE, 3), np.uint8)
    for skeleton in skeletons:
        points = [point and np.array(point) * (POSE_SIDE / size) for point in skeleton]
        for (one, other), colour in zip(LIMBS, COLOURS):  # the last colour is a point's alone
            if points[one] is not None and points[other] is not None:
                dim = [int(value * 0.6) for value in colour]
                cv2.fillConvexPoly(canvas, _stick(points[one], points[other]), dim)
        for point, colour in zip(points, COLOURS, strict=True):
            if point is not None:
                cv2.circle(canvas, (int(point[0]), int(point[1])), DOT, colour, thickness=-1)
    return np.asarray(Image.fromarray(canvas).resize((size, size), Image.Resampling.BILINEAR))


def _stick(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    along, middle = one - other, (one + other) / 2
    angle = np.degrees(np.arctan2(along[1], along[0]))
    half = int(np.hypot(*along) / 2)
    return cv2.ellipse2Poly((int(middle[0]), int(middle[1])), (half, STICK), int(angle), 0, 360, 1)
