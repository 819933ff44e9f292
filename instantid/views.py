"""How a face is turned and where it goes, as five points: geometry alone, on a mean face in three dimensions."""

import numpy as np

from .errors import InvalidRequest
from .people import Place, View

# (x, y, z) in eye distances from the middle between the eyes: right and down as seen in the picture, and towards
# the viewer. Left eye, right eye, nose, left and right mouth corner.
# x and y: between ArcFace's alignment template (insightface.utils.face_align.arcface_dst), which is long, and
# people who smile into cameras. z: the nose's is that of insightface's 68-point mean shape, held upright.
MEAN_FACE = np.array(
    [[-0.5, 0, 0], [0.5, 0, 0], [0, 0.56, 0.48], [-0.41, 1.06, 0.03], [0.41, 1.06, 0.03]], dtype=np.float64
)
# Hairline, chin, temples and ears: what detectors' boxes reach to, fitted to YuNet's in tests/test_views.py.
OUTLINE = np.array(
    [
        [0, -1.0, -0.1],
        [0, 1.78, 0.1],
        [-1.05, 0.1, -0.05],
        [1.05, 0.1, -0.05],
        [-1.12, 0.5, -1.25],
        [1.12, 0.5, -1.25],
    ]
)
TURNS: dict[View, tuple[float, float]] = {  # degrees: to the picture's right, and up
    "front": (0, 0),
    "three-quarter left": (-45, 0),
    "three-quarter right": (45, 0),
    "profile left": (-80, 0),
    "profile right": (80, 0),
    "up": (0, 30),
    "down": (0, -30),
}
WIDEST = 1.0  # the largest box width in box heights, over all views: heads tipped back look short
COLUMN_FILLED = 0.85  # by a face, where several share the width


def view_keypoints(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Return (keypoints (5, 2), box (4,)) of the mean face in `view`, float32, in parts of the box's height.

    The box runs from (0, 0) to (its width, 1). Keypoints keep their order in every view; in a profile the two
    eyes, and the corners of the mouth, nearly coincide.
    """
    projection = _projection(*TURNS[view])
    keypoints = MEAN_FACE @ projection
    corner, end = _bounds(OUTLINE @ projection, keypoints)
    height = end[1] - corner[1]
    box = np.concatenate([(0, 0), (end - corner) / height])
    return ((keypoints - corner) / height).astype(np.float32), box.astype(np.float32)


def placed(
    keypoints: np.ndarray, box: np.ndarray, place: Place, width: int, height: int
) -> tuple[np.ndarray, np.ndarray]:
    """Move and scale a face to `place` on a canvas of `width`×`height` pixels, with its shape kept.

    Args:
        keypoints: (5, 2), in any unit.
        box: (4,) x1 y1 x2 y2, in the same unit.

    Returns:
        Keypoints (5, 2) and box (4,) in canvas pixels, float32; they may reach past the edge.
    """
    corners = np.reshape(box, (2, 2)).astype(np.float64)
    scale = place.size * min(width, height) / (corners[1, 1] - corners[0, 1])
    centre = np.multiply((place.x, place.y), (width, height))
    moved_points, moved_box = (
        (points - corners.mean(axis=0)) * scale + centre for points in (keypoints, corners)
    )
    return moved_points.astype(np.float32), moved_box.reshape(4).astype(np.float32)


def on_canvas(view: View, place: Place, width: int, height: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (keypoints (5, 2), box (4,)) in canvas pixels, float32, of a face in `view` at `place`."""
    return placed(*view_keypoints(view), place, width, height)


def side_by_side(count: int, width: int, height: int) -> list[Place]:
    """Places for `count` people without a pose photo: left to right, level, in equal columns of the canvas."""
    if count == 1:
        return [Place()]
    room = COLUMN_FILLED * width / count / WIDEST
    size = min(Place().size, room / min(width, height))
    return [Place(x=(i + 0.5) / count, size=size) for i in range(count)]


def box_around(keypoints: np.ndarray) -> np.ndarray:
    """Return the box (4,) float32 that a detector would draw around a face with these keypoints.

    The mean face is turned to meet them as well as it can, and its outline gives the box.

    Args:
        keypoints: (5, 2), (x, y) in pixels, in the order of `Face.keypoints`.

    Raises:
        InvalidRequest: all five lie on one spot.
    """
    points = np.asarray(keypoints, dtype=np.float64)
    if np.ptp(points, axis=0).max() < 1:
        raise InvalidRequest(
            "The five points of a face all lie on one spot, so the face has no size. Move them apart."
        )
    middle = MEAN_FACE.mean(axis=0)
    affine = np.linalg.lstsq(MEAN_FACE - middle, points - points.mean(axis=0), rcond=None)[0]  # (3, 2)
    # The nearest rotation and scale (Procrustes): a free affine map would let single points shear the face.
    left, sizes, right = np.linalg.svd(affine, full_matrices=False)
    outline = (OUTLINE - middle) @ (left @ right) * sizes.mean() + points.mean(axis=0)
    return np.concatenate(_bounds(outline, points)).astype(np.float32)


def _projection(right: float, up: float) -> np.ndarray:
    """The (3, 2) matrix that turns points by degrees and drops their depth."""
    yaw, pitch = np.radians((right, up))
    x = (np.cos(yaw), 0, np.sin(yaw))
    y = (np.sin(yaw) * np.sin(pitch), np.cos(pitch), -np.cos(yaw) * np.sin(pitch))
    return np.array([x, y]).T


def _bounds(*points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    every = np.concatenate(points)
    return every.min(axis=0), every.max(axis=0)
