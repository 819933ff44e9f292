"""Faces by insightface's models, such as antelopev2. The only home of that library."""

import logging
from pathlib import Path

import numpy as np
from PIL import Image

from ..images import to_bgr
from ..people import Face
from .finder import ATTEMPTS, FaceFinder, Found
from .problems import damaged, incomplete

logger = logging.getLogger(__name__)

INSIGHTFACE_FILES = {"detection": "scrfd_10g_bnkps.onnx", "recognition": "glintr100.onnx"}  # of antelopev2
INSIGHTFACE_AGE = "genderage.onnx"  # antelopev2's too; without it ages are not told
INSIGHTFACE_SCORE = 0.5  # the reference's


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
        unreadable = _onnxruntime_errors()
        try:
            # One session for all sizes: by default insightface builds another for each of `ATTEMPTS`.
            analysis = FaceAnalysis(
                str(folder),
                allowed_modules=[*INSIGHTFACE_FILES, "genderage"],
                providers=providers,
                static_shape_sessions=False,
            )
        except AssertionError as error:  # its way of saying that no file is a detection model
            raise incomplete(folder, INSIGHTFACE_FILES["detection"]) from error
        except unreadable as error:
            raise damaged(folder, error) from error
        if "recognition" not in analysis.models:
            raise incomplete(folder, INSIGHTFACE_FILES["recognition"])
        analysis.prepare(0 if len(providers) > 1 else -1, INSIGHTFACE_SCORE, (ATTEMPTS[0].size,) * 2)
        self._detector, self._recogniser = analysis.models["detection"], analysis.models["recognition"]
        self._ages = analysis.models.get("genderage")
        width, height = self._recogniser.input_size
        self.dimension = self._recogniser.get_feat(np.zeros((height, width, 3), np.uint8)).size
        self.recognition_file = Path(self._recogniser.model_file)
        self.detection_file = Path(self._detector.model_file)
        self.model = f"{self.recognition_file.stem}, {self.dimension}"

    def age(self, image: Image.Image, face: Face) -> int | None:
        from insightface.app.common import Face as Detection

        if self._ages is None:
            return None
        with self._lock:
            _gender, years = self._ages.get(to_bgr(image), Detection(bbox=face.box))
        return max(0, years)

    def _detect(self, bgr: np.ndarray, size: int) -> Found:
        boxes, keypoints = self._detector.detect(bgr, input_size=(size, size))
        return boxes[:, :4], keypoints

    def _embed(self, bgr: np.ndarray, box: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
        from insightface.app.common import Face as Detection

        # `embedding`, not `normed_embedding`: the identity adapter wants the norm
        return self._recogniser.get(bgr, Detection(bbox=box, kps=keypoints))


def _unnested(folder: Path) -> Path:
    """Find the model files: antelopev2.zip has a folder of its own inside (insightface#2725)."""
    if any(folder.glob("*.onnx")):
        return folder
    nested = [inner for inner in sorted(folder.iterdir()) if inner.is_dir() and any(inner.glob("*.onnx"))]
    if len(nested) != 1:
        raise incomplete(folder, " and ".join(INSIGHTFACE_FILES.values()))
    logger.info("The face models lie one folder deeper than usual and are used there: %s", nested[0])
    return nested[0]


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    from google.protobuf.message import DecodeError
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    return (DecodeError, errors.Fail, errors.InvalidProtobuf, errors.InvalidGraph, errors.InvalidArgument)
