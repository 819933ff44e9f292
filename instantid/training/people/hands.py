"""What hands do: fingers bent on the body at rest, before it is posed, so that only the hands' vertices are touched.

Angles are degrees a finger's three bones bend towards the palm, from how the mesh was modelled: flat and spread.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from instantid.errors import InvalidRequest

from .assets import Assets
from .description import HANDS, Figure

Bends = tuple[tuple[float, float, float], ...]

STRETCHED = (-4.0, 3.0, 2.0)
CURLED = (68.0, 88.0, 52.0)
# Of the thumb and the four fingers, and how far the fingers close up sideways, 0..1.
POSES: dict[str, tuple[Bends, float]] = {
    "flat": (((0.0, 0.0, 0.0),) * 5, 0.0),
    "open": (((-6.0, 2.0, 4.0), STRETCHED, STRETCHED, STRETCHED, STRETCHED), 0.15),
    "relaxed": (((4.0, 8.0, 12.0), (9.0, 15.0, 8.0), (14.0, 19.0, 11.0), (18.0, 22.0, 12.0), (20.0, 22.0, 12.0)),
                0.7),
    "fist": (((18.0, 34.0, 48.0), CURLED, CURLED, CURLED, CURLED), 0.9),
    "pointing": (((18.0, 34.0, 48.0), STRETCHED, CURLED, CURLED, CURLED), 0.8),
}  # fmt: skip
THUMB, MIDDLE, LITTLE = 0, 2, 4


class Hands:
    """The body's fingers on one device."""

    def __init__(self, assets: Assets, device: torch.device) -> None:
        self.vertices = torch.from_numpy(assets.body["hands"]).to(device).long()
        self.weights = torch.from_numpy(assets.body["fingers"]).to(device)
        self.knuckles = torch.from_numpy(assets.body["knuckles"]).to(device).long()

    def bend(self, figures: Sequence[Figure], shapes: Tensor) -> Tensor:
        """Give bodies at rest (figures, V, 3) with the fingers bent as `Figure.hands` says.

        Raises:
            InvalidRequest: there is no such pose of a hand.
        """
        unknown = {name for figure in figures for name in figure.hands} - set(POSES)
        if unknown:
            raise InvalidRequest(f"Hands cannot be “{min(unknown)}”. There are: {', '.join(HANDS)}.")
        device = shapes.device
        wanted = [[POSES[name] for name in figure.hands] for figure in figures]
        bends = torch.tensor([[bend for bend, _ in hands] for hands in wanted], device=device)  # (F, 2, 5, 3)
        close = torch.tensor([[closed for _, closed in hands] for hands in wanted], device=device)  # (F, 2)
        joints = shapes[:, self.knuckles].mean(3).unflatten(1, (2, 5))  # (F, 2, 5, 4, 3)
        axes, gather = _axes(joints), _gather(joints, close)
        turn, place = gather, joints[..., 0, :]
        moved, flat = torch.zeros_like(shapes[:, self.vertices]), shapes[:, self.vertices]
        for bone in range(3):
            if bone:
                reach = joints[..., bone, :] - joints[..., bone - 1, :]
                place = place + (turn @ reach[..., None])[..., 0]
            turn = turn @ about(axes, bends[..., bone])
            shift = place - (turn @ joints[..., bone, :, None])[..., 0]
            weight = self.weights[:, bone::3]  # (hands, 10)
            each = torch.einsum("vk,fkij->fvij", weight, turn.flatten(1, 2))
            moved = moved + (each @ flat[..., None])[..., 0] + weight @ shift.flatten(1, 2)
        still = 1 - self.weights.sum(1)[:, None]
        return shapes.index_copy(1, self.vertices, moved + still * flat)


def about(axis: Tensor, degrees: Tensor) -> Tensor:
    """(…, 3, 3) turning by degrees (…) about unit axes (…, 3) (Rodrigues)."""
    x, y, z = axis.unbind(-1)
    zero = torch.zeros_like(x)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero], -1).unflatten(-1, (3, 3))
    angle = degrees.deg2rad()[..., None, None]
    return torch.eye(3, device=axis.device) + angle.sin() * cross + (1 - angle.cos()) * (cross @ cross)


def _axes(joints: Tensor) -> Tensor:
    """What each finger bends about, (figures, 2, 5, 3), so that more degrees close the hand."""
    knuckles, tips = joints[..., 0, :], joints[..., 3, :]
    along = normalize(tips - knuckles, dim=-1)
    # a left hand bends about the line from its index to its little finger, a right hand about the opposite
    side = torch.tensor([-1.0, 1.0], device=joints.device)[:, None]
    across = side * (knuckles[..., 1, :] - knuckles[..., LITTLE, :])
    across = across[..., None, :].expand_as(along)
    axes = across - (across * along).sum(-1, keepdim=True) * along
    # the thumb closes towards a point before the middle fingers' knuckles
    palm = normalize(torch.linalg.cross(across[..., MIDDLE, :], along[..., MIDDLE, :]), dim=-1)
    target = (knuckles[..., MIDDLE, :] + knuckles[..., 3, :]) / 2 + 0.03 * palm
    thumb = torch.linalg.cross(along[..., THUMB, :], target - joints[..., THUMB, 1, :])
    return normalize(torch.cat([thumb[..., None, :], axes[..., 1:, :]], -2), dim=-1)


def _gather(joints: Tensor, close: Tensor) -> Tensor:
    """Turn fingers (figures, 2, 5, 3, 3) sideways to the middle one by shares (figures, 2); not the thumb."""
    along = normalize(joints[..., 3, :] - joints[..., 0, :], dim=-1)
    cross = torch.linalg.cross(along, along[..., MIDDLE, None, :].expand_as(along))
    sine = cross.norm(dim=-1, keepdim=True)
    share = close[..., None] * torch.tensor([0.0, 1, 1, 1, 1], device=joints.device)
    return about(cross / sine.clamp(min=1e-6), sine[..., 0].clamp(max=1).asin().rad2deg() * share)
