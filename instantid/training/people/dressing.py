"""Putting figures together: body, eyes, brows, hair, clothes as one batch of triangles with materials.

Knows which mesh goes with which material; nothing about cameras or light.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from torch import Tensor

from instantid.errors import InvalidRequest

from . import complexion
from .assets import Assets, Mesh
from .body import Body, Posed, skin
from .description import Colour, Figure, Garment, Identity
from .hands import Hands
from .seats import Stool
from .unpacking import SKELETON

SKIN, CLOTH, HAIR, EYE, LASH, TEETH, GLASS, SEAT = range(8)
SEE_THROUGH = (HAIR, LASH, GLASS)
"""Materials whose texture's alpha says where they are."""
LASH_COLOUR = (0.003, 0.0015, 0.001)
EYE_MIXTURES = {"brown": ("brownlight", 0.2)}
"""Eyes whose texture alone looks wrong (that of brown ones is blood red), and what is mixed into them."""
BEARD = (0.04, 0.02, 0.01)
"""How much lighter and redder a beard is than the hair, linear."""
SEAT_CLOTH = "garments/fedora"
"""Felt: one texel of it is dyed."""
GAMMA = 2.2
LEGS = [SKELETON.index(f"{side}_{joint}") for side in ("left", "right") for joint in ("hip", "knee", "ankle")]
SKIN_VERTICES = 13380
"""Of the body mesh; those that follow are helpers that clothes hang on."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What one part of a figure is made of; colours linear."""

    kind: int
    texture: str
    other: str = ""
    mix: float = 0.0
    tint: Colour = (1.0, 1.0, 1.0)
    colour: Colour | None = None
    lower: Colour | None = None
    """Of the trousers of a suit."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Dressed:
    """Figures as triangles. N vertices, M triangles, P parts; every part belongs to one figure of the batch."""

    vertices: Tensor  # (N, 3) metres, world
    normals: Tensor  # (N, 3)
    faces: Tensor  # (M, 3) int64
    uv: Tensor  # (M, 3, 2)
    part: Tensor  # (M,) int64
    masks: Tensor  # (N, 6) as `complexion.MASKS`, 0..1
    materials: tuple[Material, ...]
    figure: Tensor  # (P,) int64
    body_start: tuple[int, ...]  # where each figure's body vertices start
    posed: tuple[Posed, ...]  # already standing on the floor


@dataclass(frozen=True, eq=False)
class _Part:
    ref: Tensor | None
    mix: Tensor | None
    offset: Tensor | None
    faces: Tensor
    uv: Tensor
    weights: Tensor
    neighbours: Tensor
    hides: Tensor | None
    lower: Tensor | None  # (F,) bool: which faces are trousers, where there are other faces too


class Wardrobe:
    """Every mesh on one device, made ready the first time it is worn."""

    def __init__(self, assets: Assets, device: torch.device) -> None:
        self.assets = assets
        self.device = device
        self.body = Body(assets, device)
        self.hands = Hands(assets, device)
        self.stool = Stool(device)
        self._parts: dict[str, _Part] = {}
        self._masks = torch.from_numpy(complexion.masks(assets)[:SKIN_VERTICES]).to(device)

    def dress(self, figures: Sequence[Figure]) -> Dressed:
        """Build all figures of a batch."""
        shapes = self.hands.bend(figures, self.body.shapes(figures))
        posed = self.body.pose(figures, shapes)
        vertices, faces, uvs, parts, tables, masks = [], [], [], [], [], []
        materials: list[Material] = []
        owners: list[int] = []
        starts: list[int] = []
        standing: list[Posed] = []
        count = 0
        for number, (figure, shape, pose) in enumerate(zip(figures, shapes, posed, strict=True)):
            worn = self._worn(figure)
            begin = len(vertices)
            starts.append(count)
            hidden = torch.zeros(SKIN_VERTICES, dtype=torch.bool, device=self.device)
            for name, _ in worn:
                hides = self._part(name).hides
                if hides is not None:
                    hidden |= hides[:SKIN_VERTICES]
            rim = self._rim(figure, shape)
            for name, material in worn:
                part = self._part(name)
                rest = shape[:SKIN_VERTICES] if part.ref is None else _fit(part, shape)
                gone = hidden if part.ref is None else None
                if rim is not None and name.startswith("hair/"):
                    gone = rest[:, 1] > rim
                shown = slice(None) if gone is None else ~gone[part.faces].all(1)
                vertices.append(skin(rest, part.weights, pose))
                faces.append(part.faces[shown] + count)
                uvs.append(part.uv[shown])
                parts.append(torch.full((len(faces[-1]),), len(materials), device=self.device))
                if material.lower is not None and part.lower is not None:
                    parts[-1] += part.lower
                tables.append((part.neighbours, part.faces, count))
                masks.append(
                    self._masks
                    if part.ref is None
                    else torch.zeros(len(rest), len(complexion.MASKS), device=self.device)
                )
                materials.append(material)
                owners.append(number)
                if material.lower is not None and part.lower is not None:
                    materials.append(replace(material, colour=material.lower))
                    owners.append(number)
                count += len(rest)
            standing.append(self._stand(figure, pose, vertices, begin))
            if figure.seat is not None:
                stool = self.stool
                vertices.append(stool.under(vertices[begin], standing[-1].places[0], figure.heading))
                faces.append(stool.faces + count)
                uvs.append(stool.uv)
                parts.append(torch.full((len(stool.faces),), len(materials), device=self.device))
                tables.append((stool.neighbours, stool.faces, count))
                masks.append(torch.zeros(len(vertices[-1]), len(complexion.MASKS), device=self.device))
                materials.append(Material(kind=SEAT, texture=SEAT_CLOTH, colour=_linear(figure.seat)))
                owners.append(number)
                count += len(vertices[-1])
        points = torch.cat(vertices)
        return Dressed(
            vertices=points,
            normals=_normals(points, tables),
            faces=torch.cat(faces),
            uv=torch.cat(uvs),
            part=torch.cat(parts),
            masks=torch.cat(masks),
            materials=tuple(materials),
            figure=torch.tensor(owners, device=self.device),
            body_start=tuple(starts),
            posed=tuple(standing),
        )

    def _stand(self, figure: Figure, pose: Posed, vertices: list[Tensor], begin: int) -> Posed:
        """Put the figure's lowest point on the floor at its place."""
        low = float(torch.stack([part[:, 1].min() for part in vertices[begin:]]).min())
        pelvis = pose.places[0].tolist()
        x, z = figure.place
        shift = torch.tensor([x - pelvis[0], -low, z - pelvis[2]], device=self.device)
        for at in range(begin, len(vertices)):
            vertices[at] = vertices[at] + shift
        return Posed(pose.rest, pose.turns, pose.places + shift)

    def _rim(self, figure: Figure, shape: Tensor) -> float | None:
        """The height above which a hat covers the hair, in the body at rest."""
        if figure.hat is None:
            return None
        part = self._part(f"garments/{figure.hat.name}")
        return float(_fit(part, shape)[:, 1].quantile(0.25))  # the brim

    def _worn(self, figure: Figure) -> list[tuple[str, Material]]:
        who = figure.identity
        hair_colour = _linear(figure.hair_colour or who.hair_colour)
        hair = who.hair if figure.hair is None else figure.hair or None
        brow = _brow_colour(who, hair_colour)
        other_eye, eye_mix = EYE_MIXTURES.get(who.eyes, (who.eyes, 0.0))
        worn = [
            ("body", Material(kind=SKIN, texture=f"skins/{who.skin}", other=f"skins/{who.skin_other or who.skin}",
                              mix=who.skin_mix, tint=who.skin_tint)),
            ("eyes/Low-Poly", Material(kind=EYE, texture=f"eyes/{who.eyes}", other=f"eyes/{other_eye}", mix=eye_mix)),
            ("teeth/Teeth_Base", Material(kind=TEETH, texture="teeth/Teeth_Base")),
            (f"brows/{who.brows}", Material(kind=LASH, texture=f"brows/{who.brows}", colour=brow)),
            (f"lashes/{who.lashes}", Material(kind=LASH, texture=f"lashes/{who.lashes}", colour=LASH_COLOUR)),
        ]  # fmt: skip
        if hair:
            worn.append((f"hair/{hair}", Material(kind=HAIR, texture=f"hair/{hair}", colour=hair_colour)))
        if who.beard:
            # the textures of beards are darker than those of hair, and beards redder than it
            colour = tuple(1.15 * part + more for part, more in zip(hair_colour, BEARD, strict=True))
            worn.append(
                (f"beards/{who.beard}", Material(kind=HAIR, texture=f"beards/{who.beard}", colour=colour))
            )
        things: list[tuple[Garment | None, int]] = [(garment, CLOTH) for garment in figure.clothes]
        for garment, kind in (*things, (figure.hat, CLOTH), (figure.glasses, GLASS)):
            if garment is not None:
                name = f"garments/{garment.name}"
                colour = _linear(garment.colour) if garment.colour else None
                lower = _linear(garment.lower) if garment.lower else None
                made = Material(kind=kind, texture=name, tint=garment.tint, colour=colour, lower=lower)
                worn.append((name, made))
        for name, material in worn:
            for wanted, there in ((name, self.assets.meshes), (material.texture, self.assets.textures)):
                if wanted != "body" and wanted not in there:
                    kind = wanted.split("/")[0]
                    known = ", ".join(
                        sorted(have.split("/", 1)[1] for have in there if have.startswith(kind + "/"))
                    )
                    raise InvalidRequest(
                        f"There is no “{wanted}” among the people's assets. There are: {known}."
                    )
        return worn

    def _part(self, name: str) -> _Part:
        if name not in self._parts:
            self._parts[name] = self._load(name)
        return self._parts[name]

    def _load(self, name: str) -> _Part:
        mesh: Mesh | None = self.assets.meshes.get(name)
        source = self.assets.body if mesh is None else vars(mesh)

        def put(key: str) -> Tensor | None:
            return torch.from_numpy(source[key]).to(self.device) if key in source else None

        ref = put("ref")
        own = SKIN_VERTICES if mesh is None else None
        lower = _trousers(mesh) if name.startswith("garments/") else None
        return _Part(
            ref=None if ref is None else ref.long(),
            mix=put("mix"),
            offset=put("offset"),
            faces=put("faces").long(),
            uv=put("uv"),
            weights=put("weights")[:own],
            neighbours=put("neighbours")[:own].long(),
            hides=put("hides") if name.startswith("garments/") else None,
            lower=None if lower is None else torch.from_numpy(lower).to(self.device),
        )


def _trousers(mesh: Mesh) -> np.ndarray | None:
    """Which faces (F,) belong to pieces of a garment that hang on the legs; None when all or none do."""
    ends = np.concatenate([mesh.faces[:, :2], mesh.faces[:, 1:]]).T
    graph = coo_matrix((np.ones(ends.shape[1]), ends), shape=(len(mesh.ref), len(mesh.ref)))
    count, piece = connected_components(graph, directed=False)
    on_legs = np.bincount(piece, mesh.weights[:, LEGS].sum(1), count) / np.bincount(piece, minlength=count)
    lower = (on_legs > 0.4)[piece[mesh.faces[:, 0]]]
    return lower if lower.any() and not lower.all() else None


def _brow_colour(who: Identity, hair: Colour) -> Colour:
    """A shade of the hair: darker on men; on women lighter, with skin between the hairs."""
    if who.brow_colour:
        return _linear(who.brow_colour)
    if who.sex >= 0.5:
        return tuple(0.75 * part for part in hair)
    return tuple(0.9 * part + more for part, more in zip(hair, (0.035, 0.022, 0.015), strict=True))


def _linear(colour: Colour) -> Colour:
    return tuple(part**GAMMA for part in colour)


def _fit(part: _Part, shape: Tensor) -> Tensor:
    """Hang a mesh on a body (V, 3), both at rest."""
    a, b, c = (shape.index_select(0, part.ref[:, corner]) * part.mix[:, corner, None] for corner in range(3))
    return a + b + c + part.offset


def _normals(points: Tensor, tables: list[tuple[Tensor, Tensor, int]]) -> Tensor:
    """Smooth normals; gathered from each vertex's faces rather than scattered, so that CUDA adds in one order."""
    found = []
    for neighbours, faces, start in tables:
        own = points[start : start + len(neighbours)]
        a, b, c = (own.index_select(0, faces[:, corner]) for corner in range(3))
        flat = torch.cat([torch.linalg.cross(b - a, c - a), points.new_zeros(1, 3)])
        total = flat.index_select(0, neighbours[:, 0])
        for column in range(1, neighbours.shape[1]):
            total += flat.index_select(0, neighbours[:, column])
        found.append(total)
    return torch.nn.functional.normalize(torch.cat(found), dim=1)
