"""What is behind the figures, painted from a few colours and a seed. Linear colours, one (h, w, 3) per picture."""

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from instantid.errors import InvalidRequest

from .description import BACKGROUNDS, Picture
from .dressing import GAMMA


def paint(picture: Picture, device: torch.device) -> Tensor:
    """Paint one background, (h, w, 3) linear."""
    kind = picture.background.kind
    if kind not in BACKGROUNDS:
        raise InvalidRequest(f"There is no background “{kind}”. There are: {', '.join(BACKGROUNDS)}.")
    colours = torch.tensor(picture.background.colours, device=device) ** GAMMA
    first, last = colours[0], colours[-1]
    y = torch.linspace(0, 1, picture.height, device=device)[:, None, None]
    if kind == "plain":
        return first.expand(picture.height, picture.width, 3)
    random = np.random.default_rng(picture.background.seed)
    noise = torch.from_numpy(random.random((1, 1, 6, 6), dtype=np.float32)).to(device)
    noise = interpolate(noise, (picture.height, picture.width), mode="bicubic", align_corners=True)[
        0, 0, ..., None
    ]
    mix = (y + 0.5 * (noise - 0.5)).clamp(0, 1)
    return torch.lerp(first, last, mix)
