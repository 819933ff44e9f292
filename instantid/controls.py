"""Photo → pose, canny or depth map: what the extra ControlNets see. Annotators load on first use, on the CPU."""

import cv2
import numpy as np
from PIL import Image

from .bundles import Bundle
from .request import ControlName

CANNY_LOW, CANNY_HIGH = 100, 200  # the reference's thresholds


class Annotators:
    """The map makers of a bundle. Keeps what it has loaded."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        self._loaded = {}

    def draw(self, name: ControlName, photo: Image.Image) -> Image.Image:
        """Read a map off a photo (RGB): an RGB picture of the same size.

        Raises:
            BundleError: the bundle has no annotator for `name`, or its weights are missing.
        """
        if name == "canny":
            edges = cv2.Canny(np.asarray(photo), CANNY_LOW, CANNY_HIGH)
            return Image.fromarray(edges).convert("RGB")
        if name not in self._loaded:
            path = str(self._bundle.require(f"annotators.{name}"))
            self._loaded[name] = _openpose(path) if name == "pose" else _depth(path)
        return self._loaded[name](photo)


def _openpose(path: str):
    from controlnet_aux import OpenposeDetector  # imports half of computer vision: only when asked for

    detector = OpenposeDetector.from_pretrained(path)

    def draw(photo: Image.Image) -> Image.Image:
        short = min(photo.size)
        drawn = detector(photo, detect_resolution=short, image_resolution=short, output_type="pil")
        return drawn.convert("RGB").resize(photo.size, Image.Resampling.BILINEAR)

    return draw


def _depth(path: str):
    from transformers import pipeline

    estimate = pipeline("depth-estimation", model=path, device="cpu")

    def draw(photo: Image.Image) -> Image.Image:
        depth = np.asarray(estimate(photo)["predicted_depth"], dtype=np.float32).squeeze()
        depth = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)  # near is bright
        grey = Image.fromarray((depth * 255).astype(np.uint8))
        return grey.resize(photo.size, Image.Resampling.BICUBIC).convert("RGB")

    return draw
