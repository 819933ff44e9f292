"""Photo → Face: who it is and where, by insightface or by OpenCV's two small models.

The only home of the face libraries. Knows no diffusion.
"""

import logging
import threading
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from PIL import Image

from .errors import BundleError, InvalidRequest, NoFaceFound
from .face_drawing import draw_keypoints as draw_keypoints
from .face_drawing import number_faces as number_faces
from .images import to_bgr
from .request import Face

logger = logging.getLogger(__name__)

Found = tuple[np.ndarray, np.ndarray]  # boxes (n, 4) and keypoints (n, 5, 2), float32, of n faces

INSIGHTFACE_FILES = {"detection": "scrfd_10g_bnkps.onnx", "recognition": "glintr100.onnx"}  # of antelopev2
INSIGHTFACE_SCORE = 0.5  # the reference's
OPENCV_FILES = ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx")
# Motorcycles and cheetahs score up to 0.78; faces too large for a size score less, with poor keypoints, and are
# better seen at the next one.
OPENCV_SCORE = 0.8


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


class FaceFinder(ABC):
    """Finds and recognises faces. May be called from several threads.

    Args:
        dimension: length of the embeddings.
    """

    dimension: int

    def __init__(self):
        self._lock = threading.Lock()  # OpenCV's detector keeps its input size between calls

    def find(self, image: Image.Image) -> list[Face]:
        """Return the faces of an RGB image, largest first, trying each of `ATTEMPTS` until there is one."""
        bgr = to_bgr(image)
        with self._lock:
            for attempt in ATTEMPTS:
                boxes, keypoints = self._look(bgr, attempt)
                if len(boxes):
                    logger.debug("%d faces in %s", len(boxes), attempt)
                    break
            faces = [
                Face(self._embed(bgr, box, points), points, box) for box, points in zip(boxes, keypoints)
            ]
        return sorted(faces, key=lambda face: face.area, reverse=True)

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


class InsightFaceFinder(FaceFinder):
    """insightface's detection and recognition models in one folder, such as antelopev2 (512-d)."""

    def __init__(self, folder: Path, *, gpu: bool):
        super().__init__()
        import onnxruntime  # both are slow to import, and a bundle without them must not need them
        from insightface.app import FaceAnalysis

        folder = _unnested(folder)
        providers = ["CPUExecutionProvider"]
        if gpu and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        elif gpu:
            logger.warning(
                "This onnxruntime has no CUDA: faces are found on the CPU. `doctor` says how to repair it."
            )
        damaged = _onnxruntime_errors()
        try:
            # One session for all sizes: by default insightface builds another for each of `ATTEMPTS`.
            analysis = FaceAnalysis(
                str(folder),
                allowed_modules=list(INSIGHTFACE_FILES),
                providers=providers,
                static_shape_sessions=False,
            )
        except AssertionError as error:  # its way of saying that no file is a detection model
            raise _incomplete(folder, INSIGHTFACE_FILES["detection"]) from error
        except damaged as error:
            raise _damaged(folder, error) from error
        if "recognition" not in analysis.models:
            raise _incomplete(folder, INSIGHTFACE_FILES["recognition"])
        analysis.prepare(0 if len(providers) > 1 else -1, INSIGHTFACE_SCORE, (ATTEMPTS[0].size,) * 2)
        self._detector, self._recogniser = analysis.models["detection"], analysis.models["recognition"]
        width, height = self._recogniser.input_size
        self.dimension = self._recogniser.get_feat(np.zeros((height, width, 3), np.uint8)).size

    def _detect(self, bgr: np.ndarray, size: int) -> Found:
        boxes, keypoints = self._detector.detect(bgr, input_size=(size, size))
        return boxes[:, :4], keypoints

    def _embed(self, bgr: np.ndarray, box: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        from insightface.app.common import Face as Detection

        # `embedding`, not `normed_embedding`: the identity adapter wants the norm
        return self._recogniser.get(bgr, Detection(bbox=box, kps=keypoints))


class OpenCVFaceFinder(FaceFinder):
    """OpenCV's YuNet and SFace (128-d), on the CPU: 39 MB, MIT and Apache licensed."""

    def __init__(self, folder: Path):
        super().__init__()
        detector, recogniser = (_existing(folder, name) for name in OPENCV_FILES)
        log_level = cv2.utils.logging.getLogLevel()
        cv2.utils.logging.setLogLevel(
            cv2.utils.logging.LOG_LEVEL_ERROR
        )  # OpenCV 5 warns of what it cannot use
        try:
            self._detector = cv2.FaceDetectorYN.create(detector, "", (320, 320), OPENCV_SCORE)
            self._recogniser = cv2.FaceRecognizerSF.create(recogniser, "")
            self.dimension = self._recogniser.feature(np.zeros((112, 112, 3), np.uint8)).size
        except cv2.error as error:
            raise _damaged(folder, error) from error
        finally:
            cv2.utils.logging.setLogLevel(log_level)

    def _detect(self, bgr: np.ndarray, size: int) -> Found:
        height, width = bgr.shape[:2]
        scale = size / max(height, width)
        scaled = max(1, round(width * scale)), max(1, round(height * scale))
        self._detector.setInputSize(scaled)
        filter_ = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
        rows = self._detector.detect(cv2.resize(bgr, scaled, interpolation=filter_))[1]
        if rows is None:
            return np.empty((0, 4), np.float32), np.empty((0, 5, 2), np.float32)
        # A row: x y w h, five keypoints, score. YuNet starts with the person's right eye and insightface with
        # the left eye as seen in the picture: the same one, so the order is kept.
        points = rows[:, :14].reshape(-1, 7, 2) * np.divide((width, height), scaled).astype(np.float32)
        corner, extent = points[:, 0], points[:, 1]
        return np.concatenate([corner, corner + extent], axis=1), points[:, 2:]

    def _embed(self, bgr: np.ndarray, box: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        row = np.concatenate([box[:2], box[2:] - box[:2], keypoints.ravel(), [1]]).astype(np.float32)
        return self._recogniser.feature(self._recogniser.alignCrop(bgr, row)).ravel()


def load_finder(kind: Literal["insightface", "opencv"], path: Path, *, gpu: bool = False) -> FaceFinder:
    """Load the face models in the folder `path`.

    Args:
        gpu: use CUDA where onnxruntime has it. OpenCV's models always run on the CPU.

    Raises:
        BundleError: a file is missing or damaged, or there is no such kind.
    """
    if kind not in ("insightface", "opencv"):
        raise BundleError(f"There are no face models of kind {kind!r}. Use “insightface” or “opencv”.")
    if not path.is_dir():
        raise BundleError(f"The folder of the face models is missing: {path}. Fetch the bundle again.")
    return InsightFaceFinder(path, gpu=gpu) if kind == "insightface" else OpenCVFaceFinder(path)


def find_face(finder: FaceFinder, image: Image.Image, *, number: int = 1, name: str = "this photo") -> Face:
    """Return one face of an RGB image.

    Args:
        number: which one, counted from 1, largest first.
        name: what messages call the photo.

    Raises:
        NoFaceFound: there is none; `tried` lists the attempts.
        InvalidRequest: there are fewer than `number`.
    """
    faces = finder.find(image)
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


def average(faces: Sequence[Face]) -> Face:
    """Return the mean of the raw embeddings (InstantID#27), with keypoints and box of the first face.

    Raises:
        InvalidRequest: no faces, or of different recognition models.
    """
    dimensions = {len(face.embedding) for face in faces}
    if len(dimensions) != 1:
        raise InvalidRequest(
            f"Faces to average need embeddings of one length, got {sorted(dimensions) or 'no faces'}. "
            "Find all of them with the same face models."
        )
    embedding = np.mean([face.embedding for face in faces], axis=0, dtype=np.float64)
    return Face(embedding, faces[0].keypoints, faces[0].box)


def likeness(a: Face, b: Face) -> float:
    """Return the cosine of two embeddings, in [-1, 1]; 0 where one is all zeros, which is nobody.

    Raises:
        InvalidRequest: they are of different recognition models.
    """
    if len(a.embedding) != len(b.embedding):
        raise InvalidRequest(
            f"Embeddings of {len(a.embedding)} and {len(b.embedding)} numbers cannot be compared. "
            "Find both faces with the same face models."
        )
    first, second = a.embedding.astype(np.float64), b.embedding.astype(np.float64)
    norms = np.linalg.norm(first) * np.linalg.norm(second)
    return float(np.clip(first @ second / norms, -1, 1)) if norms else 0.0


def _unnested(folder: Path) -> Path:
    """Find the model files: antelopev2.zip has a folder of its own inside (insightface#2725)."""
    if any(folder.glob("*.onnx")):
        return folder
    nested = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and any(inner.glob("*.onnx"))]
    if len(nested) != 1:
        raise _incomplete(folder, " and ".join(INSIGHTFACE_FILES.values()))
    logger.info("The face models lie one folder deeper than usual and are used there: %s", nested[0])
    return nested[0]


def _existing(folder: Path, name: str) -> str:
    if not (folder / name).is_file():
        raise _incomplete(folder, name)
    return str(folder / name)


def _incomplete(folder: Path, missing: str) -> BundleError:
    present = ", ".join(sorted(path.name for path in folder.iterdir())) or "nothing"
    return BundleError(f"{missing} is missing in {folder}, which holds {present}. Fetch the bundle again.")


def _damaged(folder: Path, error: Exception) -> BundleError:
    return BundleError(
        f"A face model in {folder} is damaged or half downloaded ({error}). Delete the folder, fetch it again."
    )


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    from google.protobuf.message import DecodeError
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return (DecodeError, errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph, errors.InvalidArgument)
