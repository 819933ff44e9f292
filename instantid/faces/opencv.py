"""Faces by OpenCV's two small models, YuNet and SFace."""

from pathlib import Path

import cv2
import numpy as np

from .finder import FaceFinder, Found
from .problems import damaged, incomplete

OPENCV_FILES = ("face_detection_yunet_2023mar.onnx", "face_recognition_sface_2021dec.onnx")
OPENCV_SAME = (
    0.363  # cosine from which on SFace calls two photos the same person's, by opencv_zoo's own choice
)
# Motorcycles and cheetahs score up to 0.78; faces too large for a size score less, with poor keypoints, and are
# better seen at the next one.
OPENCV_SCORE = 0.8


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
            self.detection_file, self.recognition_file = Path(detector), Path(recogniser)
            self.model = f"{self.recognition_file.stem}, {self.dimension}"
        except cv2.error as error:
            raise damaged(folder, error) from error
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


def _existing(folder: Path, name: str) -> str:
    if not (folder / name).is_file():
        raise incomplete(folder, name)
    return str(folder / name)
