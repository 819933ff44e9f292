"""How looks turn what differs between photos, as latents: a black and white film takes away colours, a jungle walls.

Of each look there are a few pictures only. So it is taken for linear: one way of mixing channels, the same
everywhere, and how much of it there is at each place.
"""

import numpy as np
import torch

from .people.looks import PHOTO
from .prepared import Prepared

MIXING_PRIOR = 300.0  # latents' places that speak for what all looks have in common
GAIN_PRIOR = 4.0  # pictures that speak for the same everywhere
FEWEST = 6  # pictures that tell of a look
MOST = 2.0  # times as much at a place


class LookTurning:
    """Turns how two photos differ into how the same two would in a look.

    Args:
        chosen: which pictures of `prepared` to learn from. Those of a scene in other looks lie after its photo.
    """

    def __init__(self, prepared: Prepared, chosen: np.ndarray):
        photos, drawn, photo = [], [], -1
        for i in sorted(chosen.tolist()):
            record = prepared.records[i]
            if record["look"] == PHOTO:
                photo = i
            elif photo >= 0 and prepared.records[photo]["scene"] == record["scene"]:
                photos.append(photo)
                drawn.append(i)
        self._mixings: dict[str, torch.Tensor] = {}
        self._gains: dict[str, torch.Tensor] = {}
        names = np.array([prepared.records[i]["look"] for i in drawn], dtype=object)
        looks = [look for look in dict.fromkeys(names) if (names == look).sum() >= FEWEST]
        if looks:
            self._learn(prepared.latents(photos), prepared.latents(drawn), names, looks)

    def __len__(self) -> int:
        return len(self._mixings)

    @property
    def looks(self) -> list[str]:
        """Those that are known."""
        return list(self._mixings)

    def turned(self, differing: torch.Tensor, looks: list[str]) -> torch.Tensor:
        """(n, c, h, w): the same differences in these looks."""
        mixings, gains = (
            torch.stack([known[look] for look in looks]) for known in (self._mixings, self._gains)
        )
        return gains[:, None] * torch.einsum("nchw,ncd->ndhw", differing, mixings)

    def _learn(self, photos: np.ndarray, drawn: np.ndarray, names: np.ndarray, looks: list[str]) -> None:
        known = photos.astype(np.float32) - photos.astype(np.float32).mean(axis=0)
        wanted = drawn.astype(np.float32)
        for look in looks:
            wanted[names == look] -= wanted[names == look].mean(axis=0)
        few = ~np.isin(names, looks)
        wanted[few], known[few] = 0, 0
        channels = known.shape[1]
        usual = _mixing(known, wanted, np.zeros((channels, channels), np.float32), 1.0)
        for look in looks:
            of_it = names == look
            x, y = known[of_it], wanted[of_it]
            mixing = _mixing(x, y, usual, MIXING_PRIOR)
            mixed = np.einsum("nchw,cd->ndhw", x, mixing)
            fits, size = (mixed * y).sum(axis=(0, 1)), np.square(mixed).sum(axis=(0, 1))
            prior = GAIN_PRIOR * size.mean() / len(x)
            gain = ((fits + prior) / (size + prior)).clip(0, MOST)
            self._mixings[look], self._gains[look] = torch.from_numpy(mixing), torch.from_numpy(gain)


def _mixing(known: np.ndarray, wanted: np.ndarray, usual: np.ndarray, prior: float) -> np.ndarray:
    """(c, c) from channels of (n, c, h, w) photos to those in a look; with less to go by, the more as usual."""
    x, y = (each.transpose(0, 2, 3, 1).reshape(-1, each.shape[1]) for each in (known, wanted))
    scale = prior * np.square(x).mean()
    within = x.T @ x + scale * np.eye(x.shape[1], dtype=x.dtype)
    return np.linalg.solve(within, x.T @ y + scale * usual)
