"""Bodies as OpenPose draws them (Cao et al. 2019, 1812.08008): 18 points, and limbs between them."""

from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image

SIDE = 512  # as in the reference: at this short side the skeleton's lines are drawn, 4 pixels to a side
STEP = 64  # both sides are made multiples of it
STICK, DOT = 4, 4  # half-width of limbs and radius of points, at SIDE
NECK = 1
# Nose, neck, the right arm from the shoulder on, the left one, the right leg from the hip on, the left one, right
# eye, left eye, right ear, left ear.
LIMBS = (
    *((1, 2), (1, 5), (2, 3), (3, 4), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13)),
    *((1, 0), (0, 14), (14, 16), (0, 15), (15, 17)),
)
COLOURS = (
    *((255, 0, 0), (255, 85, 0), (255, 170, 0), (255, 255, 0), (170, 255, 0), (85, 255, 0), (0, 255, 0)),
    *((0, 255, 85), (0, 255, 170), (0, 255, 255), (0, 170, 255), (0, 85, 255), (0, 0, 255), (85, 0, 255)),
    *((170, 0, 255), (255, 0, 255), (255, 0, 170), (255, 0, 85)),
)
# Which of them COCO's 17 are: nose, eyes, ears, shoulders, elbows, wrists, hips, knees, ankles; left ones first.
OF_COCO = (0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10)
Point = tuple[float, float]
Skeleton = list[Point | None]
"""18 places in pixels; None: not to be seen."""


def from_coco(points: Sequence[Point | None]) -> Skeleton:
    """OpenPose's 18 points of COCO's 17; the neck, which COCO lacks, is between both shoulders."""
    skeleton: Skeleton = [None] * 18
    for at, point in zip(OF_COCO, points, strict=True):
        skeleton[at] = point
    right, left = skeleton[2], skeleton[5]
    if right and left:
        skeleton[NECK] = ((right[0] + left[0]) / 2, (right[1] + left[1]) / 2)
    return skeleton


def draw_skeletons(skeletons: Sequence[Skeleton], width: int, height: int) -> Image.Image:
    """Draw skeletons of a picture as controlnet-aux's OpenposeDetector does: with a short side of SIDE, then scaled.

    Returns:
        RGB, of that width and height.
    """
    large = [STEP * round(side * SIDE / min(width, height) / STEP) for side in (width, height)]
    scale = np.divide(large, (width, height))
    canvas = np.zeros((large[1], large[0], 3), np.uint8)
    for skeleton in skeletons:
        points = [point and np.array(point) * scale for point in skeleton]
        for (one, other), colour in zip(LIMBS, COLOURS):  # the last colour is a point's alone
            if points[one] is not None and points[other] is not None:
                dim = [int(value * 0.6) for value in colour]
                cv2.fillConvexPoly(canvas, _stick(points[one], points[other]), dim)
        for point, colour in zip(points, COLOURS, strict=True):
            if point is not None:
                cv2.circle(canvas, (int(point[0]), int(point[1])), DOT, colour, thickness=-1)
    return Image.fromarray(canvas).resize((width, height), Image.Resampling.BILINEAR)


def _stick(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    along, middle = one - other, (one + other) / 2
    angle = np.degrees(np.arctan2(along[1], along[0]))
    half = int(np.hypot(*along) / 2)
    return cv2.ellipse2Poly((int(middle[0]), int(middle[1])), (half, STICK), int(angle), 0, 360, 1)
