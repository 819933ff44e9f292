"""The truth about a picture, from its geometry: where face and body points land, what hides them, who is where."""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from .assets import Assets
from .camera import View
from .description import BODY_KEYPOINTS, Picture
from .dressing import SKIN_VERTICES, Dressed
from .truth import FigureTruth, Truth
from .unpacking import SKELETON

NOSE, LEFT_MOUTH, RIGHT_MOUTH = 297, 7184, 3736
"""Vertices of the hm08 mesh: the tip of the nose, the outermost of the lips on either side."""
PUPIL = 0.0143
"""Metres from an eye's middle to the front of its iris."""
FACE_AHEAD, BODY_AHEAD, HIP_AHEAD = 0.018, 0.13, 0.19
"""Metres something must be in front of a point to hide it: more than a pair of glasses, more than a limb is thick."""


class Landmarks:
    """Which vertices are the head, the face and its points."""

    def __init__(self, assets: Assets, device: torch.device) -> None:
        body = assets.body
        at = torch.from_numpy(body["vertices"])[:SKIN_VERTICES]
        head = torch.from_numpy(body["weights"])[:SKIN_VERTICES, SKELETON.index("head")] > 0.5
        self.head = torch.nonzero(head).squeeze(1).to(device)
        self.face = torch.nonzero(head & (at[:, 2] > 0.06) & (at[:, 1] < 0.80)).squeeze(1).to(device)
        self.points = torch.tensor([NOSE, RIGHT_MOUTH, LEFT_MOUTH], device=device)

    def box(self, frame: str, dressed: Dressed, figure: int) -> Tensor:
        """Give the points (n, 3) of a figure that a frame must hold."""
        start = dressed.body_start[figure]
        places = dressed.posed[figure].places
        if frame == "body":
            return dressed.vertices[start : start + SKIN_VERTICES : 5]
        points = [dressed.vertices[self.head + start]]
        joints = {"head": (), "bust": ("left_shoulder", "right_shoulder"), "half": ("left_hip", "right_hip")}[
            frame
        ]
        if frame == "half":
            joints += ("left_shoulder", "right_shoulder")
        points += [places[SKELETON.index(joint)][None] for joint in joints]
        return torch.cat(points)

    def measure(
        self,
        *,
        pictures: Sequence[Picture],
        views: Sequence[View],
        dressed: Dressed,
        of_figure: Sequence[int],
        people: Tensor,
        depth: Tensor,
    ) -> Iterator[Truth]:
        """Give each picture's truth. people (pictures, h, w) uint8 and depth (pictures, h, w) are as in `Truth`."""
        eyes = [SKELETON.index(name) for name in ("right_eye", "left_eye")]
        body = [SKELETON.index(name) for name in BODY_KEYPOINTS]
        faces, joints, boxes = [], [], []
        for start, posed in zip(dressed.body_start, dressed.posed, strict=True):
            pupils = posed.places[eyes] + posed.turns[eyes][:, :, 2] * PUPIL
            faces.append(torch.cat([pupils, dressed.vertices[self.points + start]]))
            joints.append(posed.places[body])
            boxes.append(dressed.vertices[self.face + start])
        points = torch.cat([torch.stack(faces), torch.stack(joints), torch.stack(boxes)], 1).cpu().double()
        turns = torch.stack([posed.turns[SKELETON.index("head")] for posed in dressed.posed]).cpu().double()
        depth, people = depth.cpu(), people.cpu()
        for number, (picture, view) in enumerate(zip(pictures, views, strict=True)):
            truths = []
            for at in (at for at, owner in enumerate(of_figure) if owner == number):
                there = (points[at] - view.eye) @ view.turn.T
                pixels = there[:, :2] / there[:, 2:] * view.focal + torch.tensor(
                    view.centre, dtype=torch.float64
                )
                visible = _visible(pixels[:17], there[:17, 2], depth[number])
                low, high = pixels[17:].amin(0), pixels[17:].amax(0)
                place = len(truths) + 1
                truths.append(
                    FigureTruth(
                        number=picture.figures[len(truths)].identity.number,
                        face_keypoints=pixels[:5].float().numpy(),
                        face_visible=visible[:5].numpy(),
                        face_box=(*low.tolist(), *high.tolist()),
                        body_keypoints=pixels[5:17].float().numpy(),
                        body_visible=visible[5:].numpy(),
                        head_angles=_angles(view.turn @ turns[at]),
                        share=float((people[number] == place).float().mean()),
                    )
                )
            yield Truth(
                figures=tuple(truths),
                depth=depth[number].numpy(),
                people=people[number].numpy(),
                intrinsics=_intrinsics(view),
                extrinsics=_extrinsics(view),
            )


def _visible(pixels: Tensor, away: Tensor, depth: Tensor) -> Tensor:
    h, w = depth.shape
    x, y = pixels.floor().long().unbind(1)
    inside = (x >= 0) & (y >= 0) & (x < w) & (y < h) & (away > 0)
    ahead = torch.full((17,), BODY_AHEAD)
    ahead[:5] = FACE_AHEAD
    ahead[[5 + BODY_KEYPOINTS.index(f"{side}_hip") for side in ("left", "right")]] = HIP_AHEAD
    nearest = depth[y.clamp(0, h - 1), x.clamp(0, w - 1)]
    return inside & (nearest > away - ahead)


def _angles(turn: Tensor) -> tuple[float, float, float]:
    """(yaw, pitch, roll) of a head that in camera coordinates (x right, y down, z forward) is turned so."""
    front, up = turn[:, 2], turn[:, 1]  # where the nose and the crown point
    yaw = math.degrees(math.atan2(float(front[0]), -float(front[2])))
    pitch = math.degrees(math.asin(max(-1.0, min(1.0, -float(front[1])))))
    roll = math.degrees(math.atan2(float(up[0]), -float(up[1])))
    return yaw, pitch, roll


def _intrinsics(view: View) -> np.ndarray:
    x, y = view.centre
    return torch.tensor([[view.focal, 0, x], [0, view.focal, y], [0, 0, 1]]).numpy()


def _extrinsics(view: View) -> np.ndarray:
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = view.turn
    matrix[:3, 3] = -view.turn @ view.eye
    return matrix.float().numpy()
