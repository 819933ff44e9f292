"""Photo → pose, canny or depth map: what the extra ControlNets see. Annotators load on first use."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, get_args

import cv2
import numpy as np
from PIL import Image

from .bundles import Bundle
from .errors import BundleError
from .images import fingerprint
from .memo import Memo
from .request import Control, ControlName
from .skeletons import OF_COCO, draw_skeletons, from_coco
from .skeletons import SIDE as POSE_SIDE

if TYPE_CHECKING:
    import torch

Draw = Callable[[Image.Image], Image.Image]
METRIC = ("glpn", "zoedepth", "depth_pro")  # kinds of depth network that give metres: far is large
NEAREST = 0.1  # metres; nothing is nearer
SEEN = 0.3  # score from which on ViTPose's keypoints are drawn, as its authors draw them


def net_part(bundle: Bundle, name: ControlName) -> str | None:
    """The bundle's part that serves a control: a ControlNet of its own, else the Union model, else None."""
    parts = (f"controlnets.{name}", "controlnets.union")
    return next((part for part in parts if bundle.has(part)), None)


def usable(bundle: Bundle) -> tuple[ControlName, ...]:
    """The controls that can be used as things stand, with a ready map at least: their ControlNet is here."""
    return tuple(
        name for name in get_args(ControlName) if (part := net_part(bundle, name)) and bundle.present(part)
    )


def readable(bundle: Bundle) -> tuple[ControlName, ...]:
    """The maps that can be read off a photo as things stand; canny always, the others by an annotator."""
    names = [
        name for name in get_args(ControlName) if name == "canny" or bundle.present(f"annotators.{name}")
    ]
    without = find_spec("controlnet_aux") is None  # the install without CUDA leaves it out
    if without and "pose" in names and _is_openpose(bundle.require("annotators.pose")):
        names.remove("pose")
    return tuple(names)


class Annotators:
    """The map makers of a bundle. Keeps what it has loaded.

    Args:
        device: where they run; None: the CPU, which serves where the card is short of room.
    """

    def __init__(self, bundle: Bundle, device: "torch.device | None" = None):
        self._bundle = bundle
        self._device = device or "cpu"
        self._loaded: dict[ControlName, Draw] = {}
        self._drawn: Memo[Image.Image] = Memo(8)

    def draw(self, name: ControlName, photo: Image.Image, control: Control) -> Image.Image:
        """Read a map off a photo (RGB): an RGB picture of the same size. Canny takes `control`'s thresholds.

        The last few are kept: the cells of a comparison share theirs.

        Raises:
            BundleError: the bundle has no annotator for `name`, or its weights are missing or damaged.
        """
        asked = (control.low, control.high) if name == "canny" else ()
        return self._drawn((name, asked, fingerprint(photo)), lambda: self._draw(name, photo, control))

    def _draw(self, name: ControlName, photo: Image.Image, control: Control) -> Image.Image:
        if name == "canny":
            edges = cv2.Canny(np.asarray(photo), control.low, control.high)
            return Image.fromarray(edges).convert("RGB")
        if name not in self._loaded:
            self._loaded[name] = self._load(name)
        return self._loaded[name](photo)

    def _load(self, name: ControlName) -> Draw:
        part = f"annotators.{name}"
        if not self._bundle.has(part):
            raise BundleError(
                f"The bundle “{self._bundle.name}” has no {part}, which reads the {name} map off a photo: give a "
                f"ready map, set {name} to 0, or add the part to the bundle."
            )
        folder = self._bundle.require(part)
        try:
            if name == "depth":
                return _depth(folder, self._device)
            return (_openpose if _is_openpose(folder) else _vitpose)(folder, self._device)
        except ModuleNotFoundError as error:
            raise BundleError(
                f"The {name} map needs {error.name}, which is not installed: the install without CUDA leaves it "
                "out. Use requirements.txt."
            ) from error
        except (OSError, EOFError, ValueError, KeyError, RuntimeError, UnpicklingError) as error:
            raise BundleError(
                f"The {part} of the bundle “{self._bundle.name}” cannot be loaded from {folder}: {error}. Run: "
                f"{self._bundle.fetch_command(part)}"
            ) from error


def _is_openpose(folder: Path) -> bool:
    """Whether a pose annotator is OpenPose's weights, as lllyasviel has them; else it is transformers' ViTPose."""
    return not (folder / "config.json").exists()


def _openpose(folder: Path, device: "torch.device | str") -> Draw:
    from controlnet_aux.open_pose import Body, OpenposeDetector  # imports half of computer vision

    # Hands and faces are not drawn, as in the reference: their two models stay on the disk.
    detector = OpenposeDetector(Body(str(folder / "body_pose_model.pth")).to(device))

    def draw(photo: Image.Image) -> Image.Image:
        return detector(photo, detect_resolution=POSE_SIDE, image_resolution=POSE_SIDE).resize(
            photo.size, Image.Resampling.BILINEAR
        )

    return draw


def _vitpose(folder: Path, device: "torch.device | str") -> Draw:
    """ViTPose (Xu et al. 2022, 2204.12484), which takes the whole photo for one person's."""
    import torch
    from transformers import AutoImageProcessor, VitPoseForPoseEstimation

    processor = AutoImageProcessor.from_pretrained(folder)
    model = VitPoseForPoseEstimation.from_pretrained(folder).to(device).eval()
    if model.config.num_labels != len(OF_COCO) or model.config.backbone_config.num_experts != 1:
        raise ValueError("it is not a ViTPose for COCO's 17 keypoints alone, as vitpose-base-simple is")

    def draw(photo: Image.Image) -> Image.Image:
        boxes = [[[0.0, 0.0, float(photo.width), float(photo.height)]]]  # left, top, width, height
        inputs = processor(photo, boxes=boxes, return_tensors="pt").to(device)
        with torch.no_grad():
            seen = model(**inputs)
        [[person]] = processor.post_process_pose_estimation(seen, boxes=boxes)
        places, scores = person["keypoints"].tolist(), person["scores"].flatten().tolist()
        points = [
            tuple(place) if score >= SEEN else None for place, score in zip(places, scores, strict=True)
        ]
        return draw_skeletons([from_coco(points)], *photo.size)

    return draw


def _depth(folder: Path, device: "torch.device | str") -> Draw:
    """How near each place is, as MiDaS tells it, which depth ControlNets were trained on: near is bright."""
    from transformers import AutoConfig, pipeline

    config = AutoConfig.from_pretrained(folder)
    metric = config.model_type in METRIC or getattr(config, "depth_estimation_type", "") == "metric"
    estimate = pipeline("depth-estimation", model=str(folder), device=device)

    def draw(photo: Image.Image) -> Image.Image:
        depth = estimate(photo)["predicted_depth"].squeeze().float().cpu().numpy()
        if metric:
            depth = 1 / np.maximum(depth, NEAREST)
        depth = (depth - depth.min()) / max(float(np.ptp(depth)), 1e-6)
        grey = Image.fromarray((depth * 255).astype(np.uint8))
        return grey.resize(photo.size, Image.Resampling.BICUBIC).convert("RGB")

    return draw
