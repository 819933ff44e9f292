"""The `annotator` stage: what reads a skeleton or a depth map off a photo, small, from pictures whose truth is known.

Both are published kinds of network: ViTPose (Xu et al. 2022, 2204.12484) with COCO's keypoints, and Depth Anything
(Yang et al. 2024, 2401.10891), for which near is bright.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, Protocol, TypeVar

import cv2
import numpy as np
import torch
from PIL import Image
from pydantic import Field
from torch import nn
from torch.nn import functional as F
from transformers import (
    BaseImageProcessor,
    DepthAnythingForDepthEstimation,
    DPTImageProcessor,
    PreTrainedModel,
    VitPoseForPoseEstimation,
    VitPoseImageProcessor,
)

from .. import bundles, mini
from ..controls import SEEN
from ..errors import InvalidRequest
from ..people import Frozen
from ..skeletons import OF_COCO, Skeleton, draw_skeletons, from_coco
from .bundle_file import name_part
from .loop import Figures
from .maps import draw_depth, skeletons_of
from .prepared import Prepared
from .settings import Share
from .sheets import lay_out

SPREAD = 2.0  # of a keypoint's heat, in places of its heatmap
BOXED = 1 / 1.25  # ViTPose's processor sees a quarter more than the box it is given
SHIFT = 0.1  # of a picture's side, at most
MEAN = STD = [0.5, 0.5, 0.5]


class Options(Frozen):
    """Of the annotator stage."""

    kind: Literal["pose", "depth"] = Field("pose", description="What it reads.")
    fresh: bool = Field(
        True, description="Begin with a small one that knows nothing; else go on with the bundle's."
    )
    zoom: float = Field(
        0.3, ge=0, lt=1, description="By how much pictures are shown smaller than usual at most."
    )
    turn: float = Field(15.0, ge=0, description="Degrees by which they are turned at most.")
    light: Share = Field(0.3, description="Largest change of brightness and of contrast.")
    grey: Share = Field(0.15, description="How often one is shown without its colours.")


class Reader(Protocol):
    """A kind of annotator."""

    unknown: str
    usual: float
    """How large a picture is shown, of its own size."""

    def net(self, bundle: Path, *, fresh: bool) -> PreTrainedModel:
        """The bundle's, or one that knows nothing."""

    def processor(self) -> BaseImageProcessor:
        """What its publisher's library shows it photos by."""

    def knows(self, index: int) -> bool:
        """Whether the truth of a picture is known."""

    def figures(
        self, net: PreTrainedModel, seen: torch.Tensor, chosen: np.ndarray, moves: Sequence[np.ndarray]
    ) -> Figures:
        """How wrong it reads pictures, (b, 3, s, s) from -1 to 1, that were moved so."""

    def read(self, net: PreTrainedModel, seen: torch.Tensor, move: np.ndarray) -> list[np.ndarray]:
        """The maps, (s, s, 3) uint8, of pictures that were moved so."""


class Poses:
    """Reads the skeleton of the one person in a picture."""

    unknown = "the skeleton of one person"
    usual = BOXED

    def __init__(self, prepared: Prepared):
        self._prepared = prepared

    def net(self, bundle: Path, *, fresh: bool) -> VitPoseForPoseEstimation:
        if fresh:
            return mini.pose_annotator(self._prepared.size, len(OF_COCO))
        return _own(bundle, "pose", VitPoseForPoseEstimation, self.processor())

    def processor(self) -> VitPoseImageProcessor:
        side = self._prepared.size
        return VitPoseImageProcessor(size={"height": side, "width": side}, image_mean=MEAN, image_std=STD)

    def knows(self, index: int) -> bool:
        return len(self._skeletons(index)) == 1

    def figures(self, net, seen, chosen, moves):
        heat = net(seen).heatmaps.float()
        wanted = np.stack(
            [self._heat(int(i), move, heat.shape[-1]) for i, move in zip(chosen, moves, strict=True)]
        )
        wanted = torch.from_numpy(wanted).to(heat.device)
        return {"loss": (heat - wanted).square().sum() / wanted.square().sum().clamp(min=1e-6)}

    def read(self, net, seen, move):
        back, size = cv2.invertAffineTransform(move), self._prepared.size
        drawn = []
        for maps in net(seen).heatmaps.float().cpu().numpy():
            points = []
            for heat in maps:
                y, x = np.unravel_index(heat.argmax(), heat.shape)
                place = np.array([x, y]) * ((size - 1) / (len(heat) - 1))
                points.append(tuple(back[:, :2] @ place + back[:, 2]) if heat.max() >= SEEN else None)
            drawn.append(np.asarray(draw_skeletons([from_coco(points)], size, size)))
        return drawn

    def _heat(self, index: int, move: np.ndarray, side: int) -> np.ndarray:
        """(17, side, side) float32: 1 where each of COCO's keypoints is."""
        [skeleton] = self._skeletons(index)
        heat, steps = np.zeros((len(OF_COCO), side, side), np.float32), np.arange(side)
        for row, point in enumerate(OF_COCO):
            if skeleton[point] is not None:
                place = (move[:, :2] @ skeleton[point] + move[:, 2]) * (side - 1) / (self._prepared.size - 1)
                across, down = np.exp(-((steps - place[:, None]) ** 2) / (2 * SPREAD**2))
                heat[row] = down[:, None] * across
        return heat

    def _skeletons(self, index: int) -> list[Skeleton]:
        return skeletons_of(self._prepared.records[index], self._prepared.size)


class Depths:
    """Reads how near each place is, in no unit."""

    unknown = "the depth"
    usual = 1.0

    def __init__(self, prepared: Prepared):
        self._prepared = prepared

    def net(self, bundle: Path, *, fresh: bool) -> DepthAnythingForDepthEstimation:
        if fresh:
            return mini.depth_annotator(self._prepared.size)
        return _own(bundle, "depth", DepthAnythingForDepthEstimation, self.processor())

    def processor(self) -> DPTImageProcessor:
        side = self._prepared.size
        return DPTImageProcessor(
            size={"height": side, "width": side},
            image_mean=MEAN,
            image_std=STD,
            keep_aspect_ratio=True,
            ensure_multiple_of=mini.ANNOTATOR_PATCH,
        )

    def knows(self, index: int) -> bool:
        return bool(self._prepared.depth([index]).any())

    def figures(self, net, seen, chosen, moves):
        found, size = net(seen).predicted_depth.float(), (self._prepared.size,) * 2
        depths = map(draw_depth, self._prepared.depth(chosen))
        moved = [cv2.warpAffine(each[..., 0], move, size) for each, move in zip(depths, moves, strict=True)]
        wanted = torch.from_numpy(np.stack(moved)).to(found) / 255
        flat = [(each - each.mean(dim=(1, 2), keepdim=True)).flatten(1) for each in (found, wanted)]
        apart = (1 - F.cosine_similarity(*flat, dim=1)).mean()
        return {"loss": (found - wanted).abs().mean() + apart, "apart": apart}

    def read(self, net, seen, move):
        return [
            draw_depth(255 * (depth.max() - depth))
            for depth in net(seen).predicted_depth.float().cpu().numpy()
        ]


Net = TypeVar("Net", bound=PreTrainedModel)
READERS: dict[str, type[Reader]] = {"pose": Poses, "depth": Depths}


class AnnotatorTask(nn.Module):
    """Learns to read a map off a picture.

    Args:
        bundle: whose annotator is gone on with, or that gets one.
        chosen: which pictures of `prepared` to learn from; those whose truth is unknown are left out.
        shown: what the sample sheet reads.

    Raises:
        InvalidRequest: of no picture the truth is known.
    """

    name = "annotator"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        self._reader: Reader = READERS[options.kind](prepared)
        self.net = self._reader.net(bundle, fresh=options.fresh)
        self._prepared, self._shown, self._options = prepared, shown, options
        self._chosen = np.array([i for i in chosen if self._reader.knows(i)], np.int64)
        if not len(self._chosen):
            raise InvalidRequest(
                f"Of no picture in {prepared.folder} {self._reader.unknown} is known: rendered people have it."
            )

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """How wrong pictures are read that are turned, shifted and lit anew each time."""
        chosen = self._chosen[list(indices)]
        moves = [self._drawn_move() for _ in chosen]
        return self._reader.figures(self.net, self._lit(self._seen(chosen, moves)), chosen, moves)

    @torch.no_grad()
    def sheet(self) -> Image.Image | None:
        """Pictures; below, what is read off each."""
        if not len(self._shown):
            return None
        move = self._move()
        seen = self._seen(self._shown, [move] * len(self._shown))
        maps = self._reader.read(self.net, seen, move)
        return lay_out([*self._prepared.images(self._shown), *maps], columns=len(self._shown))

    def save(self, bundle: Path) -> None:
        """Write annotators/KIND."""
        part = f"annotators.{self._options.kind}"
        folder = part.replace(".", "/")
        self.net.save_pretrained(bundle / folder)
        self._reader.processor().save_pretrained(bundle / folder)
        name_part(bundle, part, folder, began_as="base" if self._options.fresh else part)

    def _drawn_move(self) -> np.ndarray:
        zoom, turn, across, down = torch.rand(4).tolist()
        move = self._move(1 - self._options.zoom * zoom, self._options.turn * (2 * turn - 1))
        move[:, 2] += SHIFT * self._prepared.size * (2 * np.array([across, down]) - 1)
        return move

    def _move(self, scale: float = 1.0, turn: float = 0.0) -> np.ndarray:
        """(2, 3) float64: of pixels, around the middle."""
        middle = (self._prepared.size - 1) / 2
        return cv2.getRotationMatrix2D((middle, middle), turn, scale * self._reader.usual)

    def _seen(self, chosen: Sequence[int], moves: Sequence[np.ndarray]) -> torch.Tensor:
        """(b, 3, s, s) from -1 to 1: moved pictures, black around."""
        size = (self._prepared.size,) * 2
        images = self._prepared.images(chosen)
        moved = [cv2.warpAffine(image, move, size) for image, move in zip(images, moves, strict=True)]
        return torch.from_numpy(np.stack(moved)).permute(0, 3, 1, 2).to(self.net.device) / 127.5 - 1

    def _lit(self, pixels: torch.Tensor) -> torch.Tensor:
        limit = self._options.light
        drawn = torch.rand(3, len(pixels), 1, 1, 1).to(pixels.device)
        pixels = torch.where(drawn[0] < self._options.grey, pixels.mean(dim=1, keepdim=True), pixels)
        return (pixels * (1 + limit * (2 * drawn[1] - 1)) + limit * (2 * drawn[2] - 1)).clamp(-1, 1)


def _own(bundle: Path, kind: str, model: type[Net], processor: BaseImageProcessor) -> Net:
    """The bundle's annotator, if this stage made it: a published one sees pictures otherwise, or in another size."""
    folder = bundles.open_bundle(bundle).require(f"annotators.{kind}")
    try:
        theirs = type(processor).from_pretrained(folder)
        alike = ("size", "image_mean", "image_std")
        if all(getattr(theirs, name) == getattr(processor, name) for name in alike):
            return model.from_pretrained(folder)
    except (OSError, ValueError):
        pass  # OpenPose's, say
    raise InvalidRequest(
        f"The annotators.{kind} of {bundle} is not one that this stage made of pictures of this size: choose "
        "fresh: true, or data of the size that it was trained on."
    )
