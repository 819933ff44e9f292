"""Is the face where it was to be, and turned as it was to be: five points wanted, five points found."""

import math

import numpy as np

from ..face_measures import measure_turn
from ..views import box_around


def keypoint_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """Mean distance of (5, 2) keypoints as a part of the wanted face's box: the root of its area.

    The box is the one that a detector would draw around the wanted points, so that it depends on nothing found.
    """
    x1, y1, x2, y2 = (float(value) for value in box_around(wanted))
    return float(np.linalg.norm(np.subtract(found, wanted), axis=1).mean() / math.sqrt((x2 - x1) * (y2 - y1)))


def turn_error(found: np.ndarray, wanted: np.ndarray) -> tuple[float, float, float]:
    """How far a head is turned otherwise: degrees of yaw, pitch and roll, each 0 or more."""
    one, other = measure_turn(found), measure_turn(wanted)
    return (
        _apart(one.right, other.right),
        _apart(one.up, other.up),
        _apart(one.tilt, other.tilt),
    )


def correct_keypoints(
    found: np.ndarray, wanted: np.ndarray, seen: np.ndarray, size: float, part: float = 0.1
) -> float:
    """PCK of a body: the part of keypoints less than `part` of `size` away; NaN where none is seen.

    Args:
        found, wanted: (n, 2), pixels.
        seen: (n,) bool: which are to be judged.
        size: of the person, such as the torso's length, pixels.
    """
    if not np.any(seen):
        return math.nan
    return float((np.linalg.norm(np.subtract(found, wanted), axis=1)[seen] < part * size).mean())


def _apart(one: float, other: float) -> float:
    return abs((one - other + 180) % 360 - 180)
