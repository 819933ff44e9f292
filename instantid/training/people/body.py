"""From a description to the naked body: its shape at rest, its skeleton posed, its vertices where they then are.

Knows MakeHuman's mesh through `assets`; nothing about clothes, cameras or light. V is the body's vertices with the
helper vertices that clothes hang on, J the joints of `SKELETON`.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from instantid.errors import InvalidRequest

from .assets import Assets
from .description import JOINTS, Figure, Identity
from .unpacking import SKELETON

PARENTS = {
    "waist": "pelvis", "chest": "waist", "neck": "chest", "head": "neck", "left_eye": "head", "right_eye": "head",
    **{f"{side}_{joint}": f"{side}_{above}" if above != "chest" and above != "pelvis" else above
       for side in ("left", "right") for joint, above in (
        ("collar", "chest"), ("shoulder", "collar"), ("elbow", "shoulder"), ("wrist", "elbow"),
        ("hip", "pelvis"), ("knee", "hip"), ("ankle", "knee"))},
}  # fmt: skip
"""Parents come before their children."""
YOUNG, OLD = 25.0, 90.0
KEPT = 64
"""Bodies at rest that are kept, a quarter of a megabyte each."""
ARM_AWAY, FOREARM_FRONT, LEG_AWAY = 9.0, 10.0, 3.0
"""How standing straight differs from limbs hanging plumb, degrees."""


@dataclass(frozen=True, eq=False)
class Posed:
    """A figure's skeleton in the world before it is put on the floor: x' = turns[j] @ (x - rest[j]) + places[j]."""

    rest: Tensor  # (J, 3)
    turns: Tensor  # (J, 3, 3)
    places: Tensor  # (J, 3)


def shape_weights(identity: Identity, assets: Assets) -> dict[int, float]:
    """Say how much of each row of `assets.rows` this body takes. Raises InvalidRequest on an unknown shape."""
    found: dict[int, float] = {}

    def add(row: int, weight: float) -> None:
        if abs(weight) > 1e-4:
            found[row] = found.get(row, 0.0) + weight

    old = min(max((identity.age - YOUNG) / (OLD - YOUNG), 0.0), 1.0)
    races = dict(zip(("african", "asian", "caucasian"), identity.ancestry, strict=True))
    for sex, of_sex in (("male", identity.sex), ("female", 1 - identity.sex)):
        for age, of_age in (("young", 1 - old), ("old", old)):
            share = of_sex * of_age
            for race, of_race in races.items():
                add(assets.macro[f"{race}-{sex}-{age}"], share * of_race)
            for muscle, of_muscle in _thirds(identity.muscle):
                for weight, of_weight in _thirds(identity.weight):
                    kind = f"{sex}-{age}-{muscle}muscle-{weight}weight"
                    part = share * of_muscle * of_weight
                    add(assets.macro[f"universal-{kind}"], part)
                    end = "max" if identity.height > 0 else "min"
                    add(assets.macro[f"{kind}-{end}height"], part * abs(identity.height))
                    end = "ideal" if identity.proportions > 0 else "uncommon"
                    row = assets.macro.get(f"{kind}-{end}proportions")
                    if row is not None:
                        add(row, part * abs(identity.proportions))
    for name, weight in identity.shape.items():
        if name not in assets.shapes:
            raise InvalidRequest(
                f"There is no shape “{name}”; `Assets.shapes` has the {len(assets.shapes)} there are."
            )
        negative, positive = assets.shapes[name]
        if weight > 0 and positive >= 0:
            add(positive, weight)
        elif weight < 0 and negative >= 0:
            add(negative, -weight)
        else:  # a shape that only goes one way is taken back by as much
            add(max(negative, positive), weight if positive >= 0 else -weight)
    return found


def _thirds(value: float) -> tuple[tuple[str, float], ...]:
    return ("average", 1 - abs(value)), ("max", max(value, 0.0)), ("min", max(-value, 0.0))


class Body:
    """The body's arrays on one device."""

    def __init__(self, assets: Assets, device: torch.device) -> None:
        self.assets = assets
        self.device = device
        body = assets.body
        self.vertices = torch.from_numpy(body["vertices"]).to(device)
        self.weights = torch.from_numpy(body["weights"]).to(device)
        self.joints = torch.from_numpy(body["joints"]).to(device).long()
        self.rows = torch.from_numpy(assets.rows)
        if device.type != "cpu":
            self.rows = self.rows.to(device)
        self._kept: dict[tuple[tuple[int, float], ...], Tensor] = {}

    def shapes(self, figures: Sequence[Figure]) -> Tensor:
        """Give each figure's body at rest, (figures, V, 3) metres, expression included."""
        shapes = []
        for figure in figures:
            moved = self._at_rest(shape_weights(figure.identity, self.assets))
            for name in figure.expression:
                if name not in self.assets.expressions:
                    known = ", ".join(sorted(self.assets.expressions))
                    raise InvalidRequest(f"There is no expression “{name}”. There are: {known}.")
            units = {self.assets.expressions[name]: weight for name, weight in figure.expression.items()}
            shapes.append(moved + self._sum(units) if units else moved)
        return torch.stack(shapes)

    def _at_rest(self, weights: dict[int, float]) -> Tensor:
        """The body (V, 3) without an expression. Pictures of one person follow each other, so the last are kept."""
        key = tuple(sorted(weights.items()))
        if key not in self._kept:
            if len(self._kept) == KEPT:
                del self._kept[next(iter(self._kept))]
            self._kept[key] = self.vertices + self._sum(weights)
        return self._kept[key]

    def _sum(self, weights: dict[int, float]) -> Tensor:
        rows = self.rows[torch.tensor(list(weights), device=self.rows.device)].float()  # (rows, V * 3)
        return (torch.tensor(list(weights.values()), device=self.device) @ rows).view(-1, 3)

    def pose(self, figures: Sequence[Figure], shapes: Tensor) -> list[Posed]:
        """Turn each figure's joints as it says, at the origin, facing its heading."""
        rest = shapes[:, self.joints].mean(2).double().cpu()  # (figures, J, 3); few numbers, so on the CPU
        posed = []
        for figure, joints in zip(figures, rest, strict=True):
            turns, places = _turn(figure, joints)
            posed.append(Posed(*(part.float().to(self.device) for part in (joints, turns, places))))
        return posed


def skin(vertices: Tensor, weights: Tensor, posed: Posed) -> Tensor:
    """Move vertices (n, 3) with the joints by their weights (n, J)."""
    shift = posed.places - (posed.turns @ posed.rest[..., None])[..., 0]
    both = torch.cat([posed.turns, shift[..., None]], -1).reshape(len(SKELETON), 12)
    x, y, z = vertices[:, :1], vertices[:, 1:2], vertices[:, 2:]
    each = (weights @ both.view(-1, 3, 4).transpose(1, 2).reshape(len(SKELETON), 12)).view(-1, 4, 3)
    return each[:, 0] * x + each[:, 1] * y + each[:, 2] * z + each[:, 3]


def _turn(figure: Figure, rest: Tensor) -> tuple[Tensor, Tensor]:
    unknown = set(figure.pose) - set(JOINTS)
    if unknown:
        raise InvalidRequest(f"There is no joint “{min(unknown)}” to pose. There are: {', '.join(JOINTS)}.")
    at = {joint: rest[index] for index, joint in enumerate(SKELETON)}
    frames = {"pelvis": about("y", figure.heading)}
    turns = {"pelvis": frames["pelvis"]}
    places = {"pelvis": at["pelvis"]}
    for joint, parent in PARENTS.items():
        places[joint] = places[parent] + turns[parent] @ (at[joint] - at[parent])
        if joint.endswith("_eye"):
            left, up = figure.gaze
            frames[joint] = frames[parent] @ about("y", left) @ about("x", -up)
        else:
            frames[joint] = frames[parent] @ euler(joint, figure.pose.get(joint, (0.0, 0.0, 0.0)))
        turns[joint] = frames[joint] @ _straighten(joint, at)
    return torch.stack([turns[joint] for joint in SKELETON]), torch.stack(
        [places[joint] for joint in SKELETON]
    )


def _straighten(joint: str, at: dict[str, Tensor]) -> Tensor:
    """Turn a limb from how the mesh was modelled (arms out, elbows bent) to hanging down."""
    side, _, name = joint.partition("_")
    out = 1.0 if side == "left" else -1.0
    if name == "shoulder":
        return _swing(at[f"{side}_elbow"] - at[joint], about("z", out * ARM_AWAY) @ DOWN)
    if name in ("elbow", "wrist"):
        down = about("z", out * ARM_AWAY * 0.5) @ about("x", -FOREARM_FRONT) @ DOWN
        return _swing(at[f"{side}_wrist"] - at[f"{side}_elbow"], down)
    if name in ("hip", "knee"):
        below = at[f"{side}_knee"] if name == "hip" else at[f"{side}_ankle"]
        return _swing(below - at[joint], about("z", out * LEG_AWAY) @ DOWN)
    return torch.eye(3, dtype=torch.float64)


DOWN = torch.tensor([0.0, -1.0, 0.0], dtype=torch.float64)


def euler(joint: str, angles: tuple[float, float, float]) -> Tensor:
    """(3, 3) of (forward, outward, twist) degrees, as `Figure.pose` says."""
    forward, outward, twist = angles
    if joint.startswith("left_"):
        return about("x", -forward) @ about("z", outward) @ about("y", twist)
    if joint.startswith("right_"):
        return about("x", -forward) @ about("z", -outward) @ about("y", -twist)
    return about("x", forward) @ about("z", -outward) @ about("y", twist)


def about(axis: str, degrees: float) -> Tensor:
    """(3, 3) float64 turning counter-clockwise about an axis seen from its positive end."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    rows = {
        "x": [[1, 0, 0], [0, c, -s], [0, s, c]],
        "y": [[c, 0, s], [0, 1, 0], [-s, 0, c]],
        "z": [[c, -s, 0], [s, c, 0], [0, 0, 1]],
    }[axis]
    return torch.tensor(rows, dtype=torch.float64)


def _swing(start: Tensor, end: Tensor) -> Tensor:
    """The smallest turn that takes one direction to another (Rodrigues)."""
    start, end = start / start.norm(), end / end.norm()
    x, y, z = torch.linalg.cross(start, end).tolist()
    k = torch.tensor([[0, -z, y], [z, 0, -x], [-y, x, 0]], dtype=torch.float64)
    return torch.eye(3, dtype=torch.float64) + k + k @ k / (1 + start @ end)
