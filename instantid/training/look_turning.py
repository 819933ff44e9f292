"""How looks turn what differs between photos, as latents: a black and white film takes away colours, a jungle walls.

Of each look there are a few pictures only. So it is taken for linear: one way of mixing channels, the same
everywhere, and how much of it there is at each place.
"""

from collections.abc import Callable

import numpy as np
import torch

from .face_regression import ridge
from .prepared import Prepared

MIXING_PRIOR = 300.0  # latents' places that speak for what all looks have in common
GAIN_PRIOR = 4.0  # pictures that speak for the same everywhere
FEWEST = 6  # pictures that tell of a look
MOST = 2.0  # times as much at a place


class LookTurning:
    """Turns how two photos differ into how the same two would in a look.

    Args:
        chosen: which pictures of `prepared` to learn from.
        photo_of: a picture → the photo that it shows in another look, or itself.
    """

    def __init__(self, prepared: Prepared, chosen: np.ndarray, photo_of: Callable[[int], int]):
        self._mixings: dict[str, torch.Tensor] = {}
        self._gains: dict[str, torch.Tensor] = {}
        drawn: dict[str, list[tuple[int, int]]] = {}
        for i in chosen.tolist():
            if (photo := photo_of(i)) != i:
                drawn.setdefault(prepared.records[i]["look"], []).append((photo, i))
        often = {look: np.array(pairs) for look, pairs in drawn.items() if len(pairs) >= FEWEST}
        if often:
            self._learn(prepared, often)

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

    def _learn(self, prepared: Prepared, drawn: dict[str, np.ndarray]) -> None:
        photos, shown = (
            {look: prepared.latents(pairs[:, place]).astype(np.float32) for look, pairs in drawn.items()}
            for place in (0, 1)
        )
        mean = np.concatenate(list(photos.values())).mean(axis=0)
        known = {look: each - mean for look, each in photos.items()}
        wanted = {look: each - each.mean(axis=0) for look, each in shown.items()}
        every = (_channels(np.concatenate(list(each.values()))) for each in (known, wanted))
        usual = _mixing(*every, 1.0)
        for look in drawn:
            x, y = known[look], wanted[look]
            seen = _channels(x)
            mixing = usual + _mixing(seen, _channels(y) - seen @ usual, MIXING_PRIOR)
            mixed = np.einsum("nchw,cd->ndhw", x, mixing)
            fits, size = (mixed * y).sum(axis=(0, 1)), np.square(mixed).sum(axis=(0, 1))
            prior = GAIN_PRIOR * size.mean() / len(x)
            gain = ((fits + prior) / (size + prior)).clip(0, MOST)
            self._mixings[look], self._gains[look] = torch.from_numpy(mixing), torch.from_numpy(gain)


def _channels(latents: np.ndarray) -> np.ndarray:
    """(n, c, h, w) → (n · h · w, c)."""
    return latents.transpose(0, 2, 3, 1).reshape(-1, latents.shape[1])


def _mixing(known: np.ndarray, wanted: np.ndarray, prior: float) -> np.ndarray:
    """(c, c) from channels (m, c) of photos to those in a look, with so many places that speak for nothing."""
    return ridge(known, wanted, prior * float(np.square(known).mean()))
