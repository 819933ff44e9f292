"""Photo → pose, canny or depth map: what the extra ControlNets see. Annotators load on first use, on the CPU."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import get_args

import cv2
import numpy as np
from PIL import Image

from .bundles import Bundle
from .errors import BundleError
from .request import ControlName

Draw = Callable[[Image.Image], Image.Image]
CANNY_LOW, CANNY_HIGH = 100, 200  # the reference's thresholds
POSE_SIDE = 512  # as in the reference: at this short side the skeleton's lines are drawn, 4 pixels to a side


def usable(bundle: Bundle) -> tuple[ControlName, ...]:
    """The extra ControlNets that can be used as things stand: their weights and their annotators are here."""
    present = {part.name for part in bundle.parts() if part.present}
    names = [name for name in get_args(ControlName) if f"controlnets.{name}" in present]
    if find_spec("controlnet_aux") is None and "pose" in names:
        names.remove("pose")  # the install without CUDA leaves it out
    return tuple(name for name in names if name == "canny" or f"annotators.{name}" in present)


class Annotators:
    """The map makers of a bundle. Keeps what it has loaded."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        self._loaded: dict[ControlName, Draw] = {}

    def draw(self, name: ControlName, photo: Image.Image) -> Image.Image:
        """Read a map off a photo (RGB): an RGB picture of the same size.

        Raises:
            BundleError: the bundle has no annotator for `name`, or its weights are missing or damaged.
        """
        if name == "canny":
            edges = cv2.Canny(np.asarray(photo), CANNY_LOW, CANNY_HIGH)
            return Image.fromarray(edges).convert("RGB")
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name](photo)

    def _load(self, name: ControlName) -> Draw:
        folder = self._bundle.require(f"annotators.{name}")
        try:
            return _openpose(folder) if name == "pose" else _depth(folder)
        except ModuleNotFoundError as error:
            raise BundleError(
                f"The {name} map needs {error.name}, which is not installed: the install without CUDA leaves it "
                "out. Use requirements.txt."
            ) from error
        except (OSError, EOFError, ValueError, KeyError, RuntimeError, UnpicklingError) as error:
            raise BundleError(
                f"The annotators.{name} of the bundle “{self._bundle.name}” cannot be loaded from {folder}: "
                f"{error}. Run: {self._bundle.fetch_command(f'annotators.{name}')}"
            ) from error


def _openpose(folder: Path) -> Draw:
    from controlnet_aux.open_pose import Body, OpenposeDetector  # imports half of computer vision

    # Hands and faces are not drawn, as in the reference: their two models stay on the disk.
    detector = OpenposeDetector(Body(str(folder / "body_pose_model.pth")))

    def draw(photo: Image.Image) -> Image.Image:
        return detector(photo, detect_resolution=POSE_SIDE, image_resolution=POSE_SIDE).resize(
            photo.size, Image.Resampling.BILINEAR
        )

    return draw


def _depth(folder: Path) -> Draw:
    from transformers import pipeline

    estimate = pipeline("depth-estimation", model=str(folder), device="cpu")

    def draw(photo: Image.Image) -> Image.Image:
        depth = estimate(photo)["predicted_depth"].squeeze().float().numpy()
        depth = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)  # near is bright
        grey = Image.fromarray((depth * 255).astype(np.uint8))
        return grey.resize(photo.size, Image.Resampling.BICUBIC).convert("RGB")

    return draw
