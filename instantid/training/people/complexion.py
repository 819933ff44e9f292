"""What a skin has besides its texture: lipstick, stubble, red cheeks, freckles, moles; and underwear, always."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from instantid.errors import InvalidRequest

from .assets import Assets
from .description import Identity
from .unpacking import SKELETON

KINDS = ("freckles", "moles", "redness", "stubble", "lips")
MASKS = ("lips", "beard", "cheeks", "face", "chest", "hips")
SIDES = ("left", "right")
UNDERWEAR = 0.3
MOST_MOLES = 7
CHEEKS = ((0.047, 0.683, 0.125), (-0.047, 0.683, 0.125), (0.0, 0.692, 0.165))
"""Middles of the cheeks and the nose's tip on the mesh at rest, metres."""
FRECKLE = 1 / 420
"""How far apart freckles lie, in the skin's texture coordinates; the face is about 0.25 wide there."""


def masks(assets: Assets) -> np.ndarray:
    """Give how far each body vertex belongs to `MASKS`, (vertices, 6) float32 0..1."""
    at = assets.body["vertices"]
    cheeks = sum(np.exp(-((at - middle) ** 2).sum(1) / (2 * 0.019**2)) for middle in np.array(CHEEKS))
    face = ((at[:, 1] > 0.625) & (at[:, 1] < 0.80) & (at[:, 2] > 0.075)).astype(np.float32)
    lips = assets.body["lips"]
    arms = assets.body["weights"][
        :, [SKELETON.index(f"{side}_{j}") for side in SIDES for j in ("shoulder", "elbow")]
    ]
    torso = arms.sum(1) < 0.4
    chest = torso & (np.abs(at[:, 1] - 0.375) < 0.06)
    hips = (at[:, 1] > -0.07) & (at[:, 1] < 0.14) & (np.abs(at[:, 0]) < 0.25)
    return np.stack(
        [lips, assets.body["beard"] * (1 - lips), cheeks.clip(0, 1), face, chest, hips], 1
    ).astype(np.float32)


class Complexions:
    """The skins of a batch, one a figure."""

    def __init__(self, people: Sequence[Identity], assets: Assets, device: torch.device) -> None:
        for person in people:
            unknown = set(person.complexion) - set(KINDS)
            if unknown:
                raise InvalidRequest(
                    f"There is no complexion “{min(unknown)}”. There are: {', '.join(KINDS)}."
                )
        self.strength = torch.tensor(
            [[person.complexion.get(kind, 0.0) for kind in KINDS] for person in people]
        )
        self.strength = self.strength.to(device).float()
        self.women = torch.tensor([person.sex < 0.5 for person in people], device=device)
        faces, uv = assets.body["faces"], assets.body["uv"]
        middle = assets.body["vertices"][faces].mean(1)
        spots = np.nonzero((middle[:, 1] > 0.63) & (middle[:, 1] < 0.79) & (middle[:, 2] > 0.08))[0]
        rows = np.zeros((len(people), MOST_MOLES, 4), np.float32)  # u, v, 1 / radius², strength
        for row, person in zip(rows, people, strict=True):
            random = np.random.default_rng(person.seed)
            count = round(person.complexion.get("moles", 0.0) * MOST_MOLES)
            for mole in row[:count]:
                radius = random.uniform(0.0011, 0.0026)
                mole[:] = *uv[random.choice(spots)].mean(0), 1 / radius**2, random.uniform(0.35, 0.8)
        self.moles = torch.from_numpy(rows).to(device)

    def apply(self, colour: Tensor, person: Tensor, uv: Tensor, mask: Tensor) -> Tensor:
        """Change skin colours (n, 3) of persons (n,) at uv (n, 2) where masks (n, 6) say."""
        freckles, _, redness, stubble, lips = self.strength[person][..., None].unbind(1)
        on_lips, on_beard, on_cheeks, on_face, on_chest, on_hips = mask[..., None].unbind(1)
        flush = torch.tensor([1.04, 0.74, 0.74], device=colour.device)
        colour = colour * torch.lerp(torch.ones_like(flush), flush, on_cheeks * redness)
        stick = torch.tensor([0.62, 0.09, 0.12], device=colour.device) * (0.35 + colour.mean(1, keepdim=True))
        colour = torch.lerp(colour, stick, on_lips * lips * 0.75)
        bristle = 0.55 + 0.45 * _chance(uv, FRECKLE / 2, 3.0)
        blue = torch.tensor([0.42, 0.50, 0.56], device=colour.device)
        colour = torch.lerp(colour, colour * blue, (on_beard * stubble * bristle * 0.8).clamp(0, 1))
        spotted = (
            ((_chance(uv, FRECKLE, 7.0) - 0.72) / 0.28).clamp(0, 1) * freckles * (0.25 + on_cheeks) * on_face
        )
        brown = torch.tensor([0.72, 0.55, 0.42], device=colour.device)
        colour = torch.lerp(colour, colour * brown, spotted.clamp(0, 1))
        for mole in self.moles.unbind(1):
            at = mole[person]
            near = torch.exp(-((uv - at[:, :2]) ** 2).sum(1) * at[:, 2]) * at[:, 3]
            dark = torch.tensor([0.35, 0.22, 0.16], device=colour.device)
            colour = torch.lerp(colour, colour * dark, near[:, None])
        # nobody is ever without underwear, whatever is worn over it
        worn = (on_hips > 0.5) | ((on_chest > 0.5) & self.women[person][:, None])
        return torch.where(worn, UNDERWEAR, colour)


def _chance(uv: Tensor, cell: float, salt: float) -> Tensor:
    """(n, 1) a number 0..1 for each cell of the texture."""
    at = (uv / cell).floor()
    return (((at[:, :1] * 12.9898 + at[:, 1:] * 78.233 + salt).sin() * 43758.5453) % 1.0).abs()
