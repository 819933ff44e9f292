"""What is known exactly about a rendered picture: keypoints, boxes, depth, who is where, and the camera."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class FigureTruth:
    """Of one figure, in pixels of the picture, x then y, (0, 0) the top left corner of the top left pixel."""

    number: int
    """The identity's number."""
    face_keypoints: np.ndarray
    """(5, 2) float32 in insightface's order, `description.FACE_KEYPOINTS`; exact even where hidden or outside."""
    face_visible: np.ndarray
    """(5,) bool: inside the picture and nothing in front (glasses do not count)."""
    face_box: tuple[float, float, float, float]
    """(left, top, right, bottom) of the face from the chin to the forehead, as detectors draw it."""
    body_keypoints: np.ndarray
    """(12, 2) float32 in the order of `description.BODY_KEYPOINTS`."""
    body_visible: np.ndarray
    """(12,) bool: inside the picture and not behind someone or some other limb."""
    head_angles: tuple[float, float, float]
    """(yaw, pitch, roll) of the head against the camera, degrees: yaw + turns to the picture's right, pitch + looks
    up, roll + leans the crown to the picture's right."""
    share: float
    """Of the picture's pixels, how many show this figure."""

    def to_json(self) -> dict[str, object]:
        """Give plain lists and numbers, pixels rounded to hundredths."""
        return {
            "number": self.number,
            "face_keypoints": np.round(self.face_keypoints, 2).tolist(),
            "face_visible": self.face_visible.tolist(),
            "face_box": [round(float(edge), 2) for edge in self.face_box],
            "body_keypoints": np.round(self.body_keypoints, 2).tolist(),
            "body_visible": self.body_visible.tolist(),
            "head_angles": [round(float(angle), 2) for angle in self.head_angles],
            "share": round(self.share, 5),
        }


@dataclass(frozen=True, kw_only=True)
class Truth:
    """Of one picture."""

    figures: tuple[FigureTruth, ...]
    depth: np.ndarray
    """(h, w) float32, metres along the camera's axis; inf where there is only background."""
    people: np.ndarray
    """(h, w) uint8: 0 background, 1 the first of the picture's figures, 2 the second, …"""
    intrinsics: np.ndarray
    """(3, 3) float32: pixels = intrinsics @ (x, y, z) / z, with x right, y down, z forward."""
    extrinsics: np.ndarray
    """(4, 4) float32: from the world (metres) to the camera's x right, y down, z forward."""

    def to_json(self) -> dict[str, object]:
        """Give all but the two maps as plain lists and numbers."""
        return {
            "figures": [figure.to_json() for figure in self.figures],
            "intrinsics": np.round(self.intrinsics, 4).tolist(),
            "extrinsics": np.round(self.extrinsics, 6).tolist(),
        }


@dataclass(frozen=True, kw_only=True)
class Rendered:
    """A picture and its truth. `image` is RGB uint8 (h, w, 3)."""

    image: np.ndarray
    truth: Truth
