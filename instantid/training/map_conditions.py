"""What the UNet is told of maps while it learns, and the ControlNet that learns to tell it.

One kind of map: a ControlNet of its own (Zhang et al. 2023, 2302.05543). All of them: one Union model
(xinsir/controlnet-union-sdxl-1.0).
"""

import inspect
import random
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from torch import nn

from .. import bundles
from ..guides import UNION_KINDS
from ..loading import load_controlnet
from ..request import Control, ControlName
from .beginnings import begin_controlnet, upper_part
from .bundle_file import name_part
from .conditions import Conditions
from .denoising import Denoiser
from .map_code import AT, MapCode
from .maps import Maps
from .prepared import Prepared, some_of

UNION_TYPES = 6  # of xinsir's Union model; the engine knows three of them
ALONE = 0.5  # share of batches with one kind of map, as most pictures are made; the others have one to all
KNOWN = 512  # pictures that tell how much latents vary
Kinds = tuple[ControlName, ...]
ALL_KINDS: Kinds = tuple(UNION_KINDS)


class MapConditions(nn.Module):
    """Reads maps of `prepared`; its net learns.

    Args:
        denoiser: whose UNet hears of them.
        kinds: one, or all.
        fresh: begin with a copy of the UNet, which adds nothing; else go on with the bundle's net.
    """

    def __init__(self, bundle: Path, denoiser: Denoiser, prepared: Prepared, kinds: Kinds, *, fresh: bool):
        super().__init__()
        union = len(kinds) > 1
        self.kinds, self.part = kinds, part_of(kinds)
        if fresh:
            net = begin_controlnet(denoiser.unet, denoiser.vae)
            self.net = _as_union(net) if union else net
        else:
            kind = ControlNetUnionModel if union else ControlNetModel
            self.net = load_controlnet(bundles.open_bundle(bundle), self.part, denoiser.unet, kind)
        self.net.requires_grad_(True)
        if union:
            _keep_apart(self.net)
        self.maps = Maps(prepared, bundle)
        self._prepared = prepared

    def kinds_of(self, index: int) -> Kinds:
        """Which of the maps a picture has."""
        known = self.maps.kinds_of(index)
        return tuple(kind for kind in self.kinds if kind in known)

    def drawn(self, chosen: Sequence[int]) -> list[Kinds]:
        """Some of each picture's kinds. Drawn once for all: a net reads each set of kinds by itself, and a few
        pictures take nearly as long as many."""
        count = 1 if random.random() < ALONE else random.randint(1, len(self.kinds))
        drawn = random.sample(self.kinds, count)
        own = [self.kinds_of(i) for i in chosen]
        return [tuple(kind for kind in kinds if kind in drawn) or _some(kinds) for kinds in own]

    def guided(
        self, conditions: Conditions, chosen: Sequence[int], told: Sequence[Kinds], *, vary: bool = False
    ) -> Conditions:
        """The conditions with what the net makes of each picture's maps, beside what ControlNets say already.

        Args:
            told: the kinds of each picture's maps.
            vary: read edges by thresholds that are drawn, as ControlNet's authors did.
        """
        said = self._saying(self.net, conditions, chosen, told, vary)

        def residuals(noisy, timesteps, added):
            down, middle = said(noisy, timesteps, added)
            if conditions.residuals is None:
                return down, middle
            others, other = conditions.residuals(noisy, timesteps, added)
            return [one + two for one, two in zip(down, others, strict=True)], middle + other

        return replace(conditions, residuals=residuals)

    def say(
        self,
        denoiser: Denoiser,
        conditions: Conditions,
        chosen: Sequence[int],
        told: Sequence[Kinds],
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        *,
        vary: bool = False,
    ) -> torch.Tensor:
        """The code that a Union net writes of pictures' maps; only the layers that write it run."""
        said = self._saying(upper_part(self.net, AT, levels=1), conditions, chosen, told, vary)
        down, _ = said(noisy, timesteps, denoiser.beside(noisy, conditions))
        return self.code.read(down[AT])

    @cached_property
    def code(self) -> MapCode:
        """How a Union net writes down what it foretells."""
        known = some_of(np.arange(len(self._prepared)), KNOWN)
        return MapCode(self.net, self._prepared.latents(known))

    def _saying(
        self,
        net: ControlNetModel | ControlNetUnionModel,
        conditions: Conditions,
        chosen: Sequence[int],
        told: Sequence[Kinds],
        vary: bool,
    ) -> Callable[..., tuple[list[torch.Tensor], torch.Tensor]]:
        """What a net adds for pictures with these maps, as `Conditions.residuals` is called."""
        together: dict[Kinds, list[int]] = {}  # a net takes the same kinds for all of a batch
        for row, kinds in enumerate(told):
            together.setdefault(kinds, []).append(row)
        maps = {
            kinds: [
                np.stack([self.maps.draw(kind, chosen[row], _control(vary)) for row in rows])
                for kind in kinds
            ]
            for kinds, rows in together.items()
        }
        back = torch.tensor([row for rows in together.values() for row in rows]).argsort()

        def residuals(noisy, timesteps, added):
            parts = [
                _read(
                    net,
                    kinds,
                    [
                        torch.from_numpy(each).to(noisy.device).permute(0, 3, 1, 2) / 255
                        for each in maps[kinds]
                    ],
                    noisy[rows],
                    timesteps[rows],
                    conditions.hidden[rows],
                    {name: value[rows] for name, value in added.items()},
                )
                for kinds, rows in together.items()
            ]
            down = [torch.cat(level)[back] for level in zip(*(down for down, _ in parts), strict=True)]
            return down, torch.cat([middle for _, middle in parts])[back]

        return residuals

    def save(self, bundle: Path) -> None:
        """Write controlnets/KIND, or controlnets/union, which takes the place of all kinds in bundle.json."""
        source = self.part.replace(".", "/")
        self.net.save_pretrained(bundle / source)
        replaced = [f"controlnets.{kind}" for kind in self.kinds] if len(self.kinds) > 1 else []
        name_part(bundle, self.part, source, instead_of=replaced)


def part_of(kinds: Kinds) -> str:
    """What a bundle calls the net of these kinds."""
    return "controlnets.union" if len(kinds) > 1 else f"controlnets.{kinds[0]}"


def _as_union(net: ControlNetModel) -> ControlNetUnionModel:
    """A Union model with a ControlNet's weights: its own `from_unet` knows SDXL's widths alone. Always the same."""
    width = net.config.block_out_channels[0]
    own = {"num_control_type": UNION_TYPES, "num_trans_channel": width, "num_proj_channel": width}
    known = inspect.signature(ControlNetUnionModel.__init__).parameters
    settings = {name: value for name, value in net.config.items() if name in known}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        union = ControlNetUnionModel.from_config(settings | own)
    union.load_state_dict(net.state_dict(), strict=False)
    # Which kinds there are says nothing yet: the copied blocks see the time as they are used to.
    nn.init.zeros_(union.control_add_embedding.linear_2.weight)
    nn.init.zeros_(union.control_add_embedding.linear_2.bias)
    return union


def _keep_apart(net: ControlNetUnionModel) -> None:
    """Let each picture of a batch be read alone, as it is where pictures are made.

    In xinsir's code and diffusers' the attention over kinds takes the batch for the sequence: pictures of one batch
    look at each other. The engine's batch is one picture, with and without the prompt, so there it looks at itself.
    """

    def attend(attention: nn.MultiheadAttention, tokens: torch.Tensor) -> torch.Tensor:
        alone = tokens.flatten(0, 1)[None]  # (1, pictures · kinds, c): a sequence of one, many times
        return attention(alone, alone, alone, need_weights=False)[0].reshape(tokens.shape)

    for layer in net.transformer_layes:
        layer.attention = partial(attend, layer.attn)


def _some(kinds: Kinds) -> Kinds:
    """One to all of them, in their order."""
    count = int(torch.randint(len(kinds), ())) + 1
    drawn = torch.randperm(len(kinds))[:count].sort().values
    return tuple(kinds[i] for i in drawn)


def _control(vary: bool) -> Control:
    if not vary:
        return Control()
    low = int(torch.randint(50, 151, ()))
    return Control(low=low, high=low + int(torch.randint(50, 151, ())))


def _read(
    net: ControlNetModel | ControlNetUnionModel,
    kinds: Kinds,
    maps: Sequence[torch.Tensor],
    noisy: torch.Tensor,
    timesteps: torch.Tensor,
    hidden: torch.Tensor,
    added: dict[str, torch.Tensor],
) -> tuple[Sequence[torch.Tensor], torch.Tensor]:
    """What a net makes of pictures that all have these kinds of maps, as `Nets` calls it at strength 1."""
    if isinstance(net, ControlNetModel):
        told = {"controlnet_cond": maps[0]}
    else:
        places = [UNION_KINDS[kind] for kind in kinds]
        types = noisy.new_zeros(len(noisy), net.config.num_control_type)
        types[:, places] = 1
        told = {"controlnet_cond": list(maps), "control_type": types, "control_type_idx": places}
    return net(noisy, timesteps, hidden, added_cond_kwargs=added, return_dict=False, **told)
