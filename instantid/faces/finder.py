"""How faces are looked for, whatever the models: the attempts, the order, and what to say when there is none."""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from ..errors import InvalidRequest, NoFaceFound
from ..images import fingerprint, to_bgr
from ..memo import Memo
from ..people import Face

logger = logging.getLogger(__name__)

Found = tuple[np.ndarray, np.ndarray]  # boxes (n, 4) and keypoints (n, 5, 2), float32, of n faces


@dataclass(frozen=True)
class Attempt:
    """One way to look for faces: the photo's long side in pixels, and a border as a part of that side."""

    size: int
    border: float = 0.0

    def __str__(self) -> str:
        border = f" with a border of {self.border:.0%} around it" if self.border else ""
        return f"the photo at {self.size} pixels{border}"


# Detectors miss a face that fills the picture: it is larger than their largest anchor, or has no outline
# (InstantID#131, #159). Smaller sizes shrink it, as ComfyUI_InstantID found, and borders give it an outline.
ATTEMPTS = (
    *(Attempt(size) for size in (640, 512, 384, 256, 192, 128)),
    Attempt(640, border=0.25),
    Attempt(640, border=0.5),
)


KNOWN = 16  # photos whose faces are kept


class FaceFinder(ABC):
    """Finds and recognises faces. May be called from several threads.

    Args:
        dimension: length of the embeddings.
        model: which recognition model makes them, such as “glintr100, 512”: embeddings of different models mean
            different things, even at the same length.
        recognition_file: the ONNX file of that model, for what learns through it.
        detection_file: that of the model which finds faces, likewise.
    """

    dimension: int
    model: str
    recognition_file: Path
    detection_file: Path

    def __init__(self):
        self._lock = threading.Lock()  # OpenCV's detector keeps its input size between calls
        self._known: Memo[list[Face]] = Memo(KNOWN)

    def find(self, image: Image.Image, *, attempts: Sequence[Attempt] = ATTEMPTS) -> list[Face]:
        """Return the faces of an RGB image, largest first, trying each of the attempts until there is one."""
        bgr = to_bgr(image)
        with self._lock:
            for attempt in attempts:
                boxes, keypoints = self._look(bgr, attempt)
                if len(boxes):
                    logger.debug("%d faces in %s", len(boxes), attempt)
                    break
            faces = [
                Face(self._embed(bgr, box, points), points, box) for box, points in zip(boxes, keypoints)
            ]
        return sorted(faces, key=lambda face: face.area, reverse=True)

    def recall(self, image: Image.Image) -> list[Face]:
        """`find`, for photos that come again: those of a comparison's cells. The last few are kept in memory."""
        return list(self._known(fingerprint(image), lambda: self.find(image)))

    def age(self, image: Image.Image, face: Face) -> int | None:
        """Guess the age in years of a face found in an RGB image; None where there is no model for that."""
        return None

    def _look(self, bgr: np.ndarray, attempt: Attempt) -> Found:
        border = round(attempt.border * max(bgr.shape[:2]))
        if border:
            bgr = cv2.copyMakeBorder(
                bgr, *[border] * 4, cv2.BORDER_CONSTANT
            )  # black, as detectors pad inside
        boxes, keypoints = self._detect(bgr, attempt.size)
        return boxes - border, keypoints - border

    @abstractmethod
    def _detect(self, bgr: np.ndarray, size: int) -> Found:
        """Find faces in `bgr` (h, w, 3) uint8 scaled to `size` on its long side; in pixels of `bgr`."""

    @abstractmethod
    def _embed(self, bgr: np.ndarray, box: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        """Return the raw embedding, (dimension,) float32, of one face of `bgr`."""


def find_face(finder: FaceFinder, image: Image.Image, *, number: int = 1, name: str = "this photo") -> Face:
    """Return one face of an RGB image.

    Args:
        number: which one, counted from 1, largest first.
        name: what messages call the photo.

    Raises:
        NoFaceFound: there is none; `tried` lists the attempts.
        InvalidRequest: there are fewer than `number`.
    """
    faces = finder.recall(image)
    if not faces:
        tried = tuple(str(attempt) for attempt in ATTEMPTS)
        raise NoFaceFound(
            f"There is no face to be found in {name}. Tried: {'; '.join(tried)}. What works: a sharp, well-lit "
            "photo of a face turned towards the camera, with both eyes, nose and mouth uncovered, some room "
            "around the head, and at least 100 pixels from chin to brow.",
            tried,
        )
    if not 1 <= number <= len(faces):
        count = "1 face" if len(faces) == 1 else f"{len(faces)} faces"
        raise InvalidRequest(
            f"Face {number} was asked for, but {name} has {count}. Choose from 1 to {len(faces)}, largest first."
        )
    return faces[number - 1]
