"""How well a picture keeps to a control map: the map that was wanted against the map read off the picture."""

import cv2
import numpy as np

NEAR = 0.015  # of the longer side: an edge this near is the same edge


def line_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """1 − F1 of drawn lines, such as edges or skeletons: 0 where they are the same, 1 where none meets another.

    Args:
        found, wanted: (h, w) or (h, w, 3) uint8; what is not black is line.
    """
    one, other = _lines(found), _lines(wanted)
    if not one.any() or not other.any():
        return float(one.any() != other.any())
    limit = NEAR * max(one.shape)
    right, there = (_away(other)[one] <= limit).mean(), (_away(one)[other] <= limit).mean()
    return float(1 - 2 * right * there / (right + there)) if right + there else 1.0


def depth_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """1 − the correlation of two depth maps, (h, w) or (h, w, 3) uint8: 0 the same shape, 1 none in common.

    Maps read off one picture have no scale and no zero of their own, so both are left out.
    """
    one, other = (_grey(each).astype(np.float64) - _grey(each).mean() for each in (found, wanted))
    length = np.sqrt((one**2).sum() * (other**2).sum())
    return float(1 - (one * other).sum() / length) if length else 1.0


def _grey(picture: np.ndarray) -> np.ndarray:
    return picture.max(axis=2) if picture.ndim == 3 else picture


def _lines(picture: np.ndarray) -> np.ndarray:
    return _grey(picture) > 40


def _away(lines: np.ndarray) -> np.ndarray:
    """Pixels from each place to the nearest line."""
    return cv2.distanceTransform((~lines).astype(np.uint8), cv2.DIST_L2, 5)
