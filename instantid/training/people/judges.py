"""Who looks at rendered faces and says how alike they are: SFace and, where its packages are, dlib's network.

Both were trained on photos of real people. dlib's never meets our other models: an independent opinion.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from ...errors import InstantIDError
from ...people import Face

MODELS = "face_recognition_models"


class JudgeMissing(InstantIDError):
    """A judge was asked for whose packages are not installed."""


class Judge(Protocol):
    """Gives the embedding of a face found by the face finder."""

    name: str

    def embed(self, image: np.ndarray, face: Face) -> np.ndarray:
        """image: RGB uint8 (h, w, 3). Returns (d,) float32."""


class SFace:
    """The embedding that OpenCV's face finder gave: nothing left to do."""

    name = "SFace"

    def embed(self, image: np.ndarray, face: Face) -> np.ndarray:
        return face.embedding


class Dlib:
    """dlib's ResNet of 2017, (128,): CC0, from the packages dlib-bin and face-recognition-models.

    Raises:
        JudgeMissing: one of the two is not installed.
    """

    name = "dlib"

    def __init__(self):
        if not dlib_is_here():
            raise JudgeMissing(
                "dlib's opinion on faces was asked for, but its packages are not installed. "
                "Install them: pip install --no-deps dlib-bin face-recognition-models"
            )
        import dlib

        # Importing the package of models wants pkg_resources, which newer setuptools lack; only its files matter.
        folder = Path(importlib.util.find_spec(MODELS).submodule_search_locations[0]) / "models"
        self._rectangle = dlib.rectangle
        self._points = dlib.shape_predictor(str(folder / "shape_predictor_5_face_landmarks.dat"))
        self._network = dlib.face_recognition_model_v1(
            str(folder / "dlib_face_recognition_resnet_model_v1.dat")
        )

    def embed(self, image: np.ndarray, face: Face) -> np.ndarray:
        eyes, mouth = face.keypoints[:2].mean(axis=0), face.keypoints[3:].mean(axis=0)
        # dlib's own detector draws squares from the brows to below the lips; its landmarks expect such.
        reach = 1.25 * max(
            np.linalg.norm(mouth - eyes), 0.8 * np.linalg.norm(face.keypoints[1] - face.keypoints[0])
        )
        x, y = eyes + 0.4 * (mouth - eyes)
        square = self._rectangle(
            *(round(float(edge)) for edge in (x - reach, y - reach, x + reach, y + reach))
        )
        image = np.ascontiguousarray(image)
        return np.array(self._network.compute_face_descriptor(image, self._points(image, square)), np.float32)


def dlib_is_here() -> bool:
    """Whether both packages are installed."""
    return all(importlib.util.find_spec(name) for name in ("dlib", MODELS))


def judges() -> Sequence[Judge]:
    """SFace, and dlib where it is installed."""
    return (SFace(), Dlib()) if dlib_is_here() else (SFace(),)
