"""Faces as pictures: the keypoint map for IdentityNet, and numbered boxes for choosing one.

Called through `faces`. Knows no models.
"""

import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .request import Face

KEYPOINT_COLOURS = ((255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (255, 0, 255))  # RGB
NOSE = 2
KEYPOINT_RADIUS = 10
LIMB_HALF_WIDTH = 4
LIMB_BRIGHTNESS = 0.6


def draw_keypoints(keypoints: np.ndarray, width: int, height: int, pixel: int = 1) -> Image.Image:
    """Draw what IdentityNet sees, to the pixel as in its training: RGB, on black, (width, height).

    Dim limbs lead from eyes and mouth corners to the nose, with bright dots over them; fixed sizes in pixels,
    so this is done at the size of the picture to be made. Keypoints may lie off the canvas.

    Args:
        keypoints: (5, 2) float32, (x, y) in canvas pixels, in the order of `Face.keypoints`.
        pixel: side of the drawing's pixels, which divides width and height: nets that learned from small pictures
            know drawings that coarse.
    """
    if pixel > 1:
        small = draw_keypoints(np.asarray(keypoints) / pixel, width // pixel, height // pixel)
        return small.resize((width, height), Image.Resampling.NEAREST)
    points = np.asarray(keypoints, dtype=np.float32)
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    for index, colour in enumerate(KEYPOINT_COLOURS):
        if index != NOSE:
            dim = [round(value * LIMB_BRIGHTNESS) for value in colour]
            cv2.fillConvexPoly(canvas, _limb(points[index], points[NOSE]), dim)
    for point, colour in zip(points, KEYPOINT_COLOURS):
        cv2.circle(canvas, (int(point[0]), int(point[1])), KEYPOINT_RADIUS, colour, cv2.FILLED)
    return Image.fromarray(canvas)


def _limb(start: np.ndarray, end: np.ndarray) -> np.ndarray:
    """Return the polygon of an ellipse from `start` to `end`; the reference truncates all of its numbers."""
    along_x, along_y = start - end
    centre_x, centre_y = np.mean([start, end], axis=0)
    half_length = int((along_x**2 + along_y**2) ** 0.5 / 2)
    angle = int(math.degrees(math.atan2(along_y, along_x)))
    axes = (half_length, LIMB_HALF_WIDTH)
    return cv2.ellipse2Poly((int(centre_x), int(centre_y)), axes, angle, 0, 360, 1)


def number_faces(image: Image.Image, faces: Sequence[Face]) -> Image.Image:
    """Return a copy of an RGB image with a box around each face and a large number, from 1, above it."""
    numbered = image.copy()
    draw = ImageDraw.Draw(numbered)
    line = max(2, round(max(image.size) / 250))
    for number, face in enumerate(faces, start=1):
        x1, y1, x2, y2 = (float(value) for value in face.box)
        font = ImageFont.load_default(size=max(18, (y2 - y1) / 3))
        _, _, width, height = draw.textbbox((0, 0), str(number), font=font)
        draw.rectangle((x1, y1, x2, y2), outline="white", width=line)
        left, top = max(0, x1), max(0, y1 - height - 2 * line)
        draw.rectangle((left, top, left + width + 4 * line, top + height + 2 * line), fill="white")
        draw.text((left + 2 * line, top), str(number), font=font, fill="black")
    return numbered
