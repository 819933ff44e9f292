"""What can be measured of a face in a photo, whatever found it: its turn, its edges, blur, light, and what covers it.

Numbers only, from pixels and five points; `advice` says what they mean. The aligned face is the crop that
recognition models see: 112×112 pixels with the eyes 35 apart.
"""

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from .people import Face
from .views import MEAN_FACE, box_around

SIDE = 112  # of the aligned face, in pixels
# Where recognition models want eyes, nose and corners of the mouth (insightface.utils.face_align.arcface_dst).
PLACES = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
INNER = (slice(24, 104), slice(24, 88))  # brow to chin, without hair and background

Zone = Literal["left eye", "right eye", "mouth", "half"]
_ZONES: dict[Zone, tuple[int, int, int, int]] = {  # middle and half size, in pixels of the aligned face
    "left eye": (38, 51, 13, 9),
    "right eye": (74, 51, 13, 9),
    "mouth": (56, 90, 15, 8),
}
_UPPER_SKIN = ((56, 50, 4, 6), (56, 36, 10, 5))  # bridge of the nose, forehead
_LOWER_SKIN = ((36, 74, 7, 6), (76, 74, 7, 6))  # cheeks
# How far a pixel of skin may be from the skin's middle, in logarithms: brightness, red over green, blue over green.
# Best of 144 settings on 19 faces in photos and 787 covers painted over them, and measured on the same: no uncovered
# face is said to be covered, four fifths of the covers are seen (black, white, coloured, patterned). Expect less
# elsewhere.
_SPREAD = np.array([0.35, 0.12, 0.2])
_LIPS = np.array([0, 0.2, 0.1])  # how much redder they may be, and how much more or less blue
_LEAST_SKIN: dict[Zone, float] = {  # uncovered: from 0.30, the mouth from 0.33
    "left eye": 0.24,
    "right eye": 0.24,
    "mouth": 0.26,
}
_MOST_APART = 2.1  # forehead and cheeks, in spreads; uncovered: up to 1.9


@dataclass(frozen=True)
class Turn:
    """How a head is turned, in degrees: `right` and `up` as seen in the picture, `tilt` clockwise."""

    right: float
    up: float
    tilt: float


def measure_turn(keypoints: np.ndarray) -> Turn:
    """Estimate from (5, 2) keypoints how the head is turned, with the mean face under weak perspective.

    On four photos named 0°, 0°, 15° and 45° it told 2°, 1°, 9° and 47°. Up and down mix with the shape of a face,
    by up to 13°. Tilt is only as good as the detector's points: YuNet's lag behind a tilt by a third to two thirds.
    """
    points, middle = np.asarray(keypoints, dtype=np.float64), MEAN_FACE.mean(axis=0)
    affine = np.linalg.lstsq(MEAN_FACE - middle, points - points.mean(axis=0), rcond=None)[0]  # (3, 2)
    left, _, right = np.linalg.svd(affine, full_matrices=False)
    x, y = (left @ right).T  # the nearest rotation's first rows
    ahead = np.cross(x, y)  # where the nose points to; tilt leaves it alone
    return Turn(
        right=float(np.degrees(np.arctan2(-ahead[0], ahead[2]))),
        up=float(np.degrees(np.arcsin(np.clip(ahead[1], -1, 1)))),
        tilt=float(np.degrees(np.arctan2(-x[1], y[1]))),
    )


def measure_cut(face: Face, width: int, height: int) -> float:
    """How much of the head lies beyond the photo's edge, in parts of its width or height; 0 where none does.

    Detectors' own boxes stop at the edge, so the head is drawn around the keypoints.
    """
    x1, y1, x2, y2 = (float(value) for value in box_around(face.keypoints))
    beyond = max(-x1 / (x2 - x1), -y1 / (y2 - y1), (x2 - width) / (x2 - x1), (y2 - height) / (y2 - y1))
    return max(0.0, beyond)


def similarity(keypoints: np.ndarray, places: np.ndarray = PLACES) -> np.ndarray:
    """(2, 3): what turns, scales and shifts (5, 2) keypoints next to `places`, by least squares (Umeyama 1991)."""
    points, wanted = (np.asarray(each, dtype=np.float64) @ (1, 1j) for each in (keypoints, places))
    centred = points - points.mean()
    turn = np.vdot(centred, wanted - wanted.mean()) / np.vdot(centred, centred)
    shift = wanted.mean() - turn * points.mean()
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def align(photo: Image.Image, keypoints: np.ndarray) -> np.ndarray:
    """Return the aligned face of an RGB photo, (112, 112, 3) uint8 RGB; past the edge the last pixel goes on."""
    points, pixels = np.asarray(keypoints, dtype=np.float64), np.asarray(photo)
    matrix = similarity(points)
    shrink = min(1.0, float(np.hypot(*matrix[:, 0])))
    if shrink < 1:  # first, with every pixel's part: warping alone skips pixels, which looks like sharpness
        pixels = cv2.resize(pixels, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        matrix = similarity(points * shrink + (shrink - 1) / 2)  # pixels have their middles at whole numbers
    return cv2.warpAffine(pixels, matrix, (SIDE, SIDE), borderMode=cv2.BORDER_REPLICATE)


def measure_blur(aligned: np.ndarray) -> float:
    """How blurred an aligned face is: 0 sharp, 1 wholly blurred, in the worse direction.

    It asks how much detail a further blur takes away (Crete et al., The Blur Effect, 2007; as in
    `skimage.measure.blur_effect`), so contrast and noise matter little.
    """
    grey = cv2.cvtColor(aligned, cv2.COLOR_RGB2GRAY)[14:-14, 14:-14].astype(np.float32)
    blurs = []
    for size, direction in (((11, 1), (1, 0)), ((1, 11), (0, 1))):
        edges, left = (
            np.abs(cv2.Sobel(each, cv2.CV_32F, *direction)) for each in (grey, cv2.blur(grey, size))
        )
        detail = float(edges.sum())
        blurs.append(1 - float(np.maximum(edges - left, 0).sum()) / detail if detail else 1.0)
    return max(blurs)


def measure_light(aligned: np.ndarray) -> tuple[float, float]:
    """Return (how bright the face's brighter parts are, 0 to 255; which part of the face is burnt out, 0 to 1).

    The brighter parts tell dark photos from dark skin, whose highlights are bright.
    """
    face = aligned[INNER].reshape(-1, 3)
    luma = face @ np.array([0.299, 0.587, 0.114])
    return float(np.percentile(luma, 90)), float((face >= 250).any(axis=1).mean())


def find_covered(aligned: np.ndarray) -> list[Zone]:
    """Name the zones of an aligned face that do not have this face's own colour of skin; "half": above or below.

    Where a zone has little of the skin between the eyes, and little of the cheeks', something lies over it. A hand
    has the same colour and is not seen.
    """
    light = np.log(cv2.GaussianBlur(aligned, (0, 0), 1.5).astype(np.float64) + 8)
    colours = np.stack(
        [light.mean(axis=2), light[..., 0] - light[..., 1], light[..., 2] - light[..., 1]], axis=2
    )
    upper, lower = (
        np.concatenate([_pixels(colours, zone) for zone in zones]) for zones in (_UPPER_SKIN, _LOWER_SKIN)
    )
    skins = [np.median(pixels, axis=0) for pixels in (upper, lower, np.concatenate([upper, lower]))]
    covered = [
        zone
        for zone, place in _ZONES.items()
        if max(_skin_in(_pixels(colours, place) - skin, zone) for skin in skins) < _LEAST_SKIN[zone]
    ]
    if not covered and (np.abs(skins[0] - skins[1]) / _SPREAD).max() > _MOST_APART:
        covered.append("half")
    return covered


def _skin_in(away: np.ndarray, zone: Zone) -> float:
    """Which part of a zone is skin, by its pixels' distance from the skin's colour, (n, 3)."""
    lips = _LIPS if zone == "mouth" else np.zeros(3)
    near = (away > -_SPREAD - lips * (0, 0, 1)) & (away < _SPREAD + lips)
    return float(near.all(axis=1).mean())


def _pixels(picture: np.ndarray, place: tuple[int, int, int, int]) -> np.ndarray:
    x, y, half_width, half_height = place
    return picture[y - half_height : y + half_height, x - half_width : x + half_width].reshape(-1, 3)
