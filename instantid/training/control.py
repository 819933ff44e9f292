"""The `control` stage: a ControlNet for one kind of map, or a Union model for all three, while the UNet stays as it
is (Zhang et al. 2023, 2302.05543; xinsir/controlnet-union-sdxl-1.0).
"""

import inspect
import random
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from PIL import Image
from pydantic import Field
from torch import nn

from .. import bundles
from ..errors import InvalidRequest
from ..guides import UNION_KINDS
from ..loading import load_controlnet
from ..request import Control, ControlName
from .base import drawn_caption
from .beginnings import begin_controlnet
from .bundle_file import name_part
from .denoising import Conditions, Denoiser, Noise, without_text
from .loop import Figures
from .maps import Maps
from .prepared import Prepared
from .settings import Share
from .sheets import lay_out

UNION_TYPES = 6  # of xinsir's Union model; the engine knows three of them
Kinds = tuple[ControlName, ...]


class Options(Noise):
    """Of the control stage."""

    kinds: Kinds = Field(
        tuple(UNION_KINDS), description="One: a ControlNet of its own. All three: one Union model."
    )
    fresh: bool = Field(
        True, description="Begin with a copy of the UNet; else go on with the bundle's own net."
    )
    drop_text: Share = Field(
        0.5, description="How often the text is left out, so that the map has to tell all."
    )


class ControlTask(nn.Module):
    """Learns to paint what maps show.

    Args:
        bundle: whose base stays.
        chosen: which pictures of `prepared` to learn from; those without any of the maps are left out.
        shown: whose maps and captions the sample sheet paints.

    Raises:
        InvalidRequest: kinds are neither one nor all, or no picture has such a map.
    """

    name = "control"

    def __init__(
        self, bundle: Path, prepared: Prepared, chosen: np.ndarray, shown: np.ndarray, options: Options
    ):
        super().__init__()
        if len(options.kinds) != 1 and sorted(options.kinds) != sorted(UNION_KINDS):
            raise InvalidRequest(
                f"The control stage trains one kind of map, or {', '.join(UNION_KINDS)} together: with a Union "
                f"model the page offers all of them. Got kinds: {', '.join(options.kinds) or 'none'}."
            )
        denoiser = self.denoiser = Denoiser(bundle)
        union = len(options.kinds) > 1
        self._part = "controlnets.union" if union else f"controlnets.{options.kinds[0]}"
        if options.fresh:
            net = begin_controlnet(denoiser.unet, denoiser.vae)
            self.net = _as_union(net) if union else net
        else:
            kind = ControlNetUnionModel if union else ControlNetModel
            self.net = load_controlnet(bundles.open_bundle(bundle), self._part, denoiser.unet, kind)
        self.net.requires_grad_(True)
        if union:
            _keep_apart(self.net)
        self._prepared, self._options, self._maps = prepared, options, Maps(prepared, bundle)
        self._chosen = np.array([i for i in chosen if self._kinds(i)], np.int64)
        self._shown = [i for i in shown if len(self._kinds(i)) == len(options.kinds)]
        if not len(self._chosen):
            raise InvalidRequest(
                f"No picture in {prepared.folder} that is learned from has a map of {options.kinds[0]}: rendered "
                "people have all kinds, photos have only canny."
            )

    def __len__(self) -> int:
        return len(self._chosen)

    def forward(self, indices: Sequence[int]) -> Figures:
        """The denoising loss of these pictures, each told by some of its maps."""
        chosen, denoiser = self._chosen[list(indices)], self.denoiser
        latents = torch.from_numpy(self._prepared.latents(chosen)).float().to(denoiser.unet.device)
        records = [self._prepared.records[i] for i in chosen]
        conditions = denoiser.read([drawn_caption(record) for record in records], records)
        dropped = torch.rand(len(chosen), device=latents.device) < self._options.drop_text
        conditions = without_text(conditions, denoiser.read([""]), dropped)
        # Drawn once: a net reads each set of kinds by itself, and a few pictures take nearly as long as many.
        drawn = random.sample(self._options.kinds, random.randint(1, len(self._options.kinds)))
        own = [self._kinds(i) for i in chosen]
        told = [tuple(kind for kind in kinds if kind in drawn) or _some(kinds) for kinds in own]
        return {
            "loss": denoiser.loss(latents, self._guided(conditions, chosen, told, vary=True), self._options)
        }

    def sheet(self) -> Image.Image | None:
        """The pictures; below, each kind of map and what it gives, what all give together, and what none gives."""
        if not self._shown:
            return None
        kinds, count = self._options.kinds, len(self._shown)
        texts = [self._prepared.records[i]["caption"] for i in self._shown]
        told, empty = self.denoiser.read(texts), self.denoiser.read([""] * count)

        def paint(kinds: Kinds) -> np.ndarray:
            sets = [kinds] * count
            given, against = (self._guided(each, self._shown, sets) for each in (told, empty))
            return self.denoiser.paint(given, against)

        rows = [*self._prepared.images(self._shown)]
        for kind in kinds:
            rows += [self._maps.draw(kind, i, Control()) for i in self._shown]
            rows += [*paint((kind,))]
        if len(kinds) > 1:
            rows += [*paint(kinds)]
        return lay_out([*rows, *self.denoiser.paint(told, empty)], columns=count)

    def save(self, bundle: Path) -> None:
        """Write controlnets/KIND, or controlnets/union, which takes the place of all kinds in bundle.json."""
        source = self._part.replace(".", "/")
        self.net.save_pretrained(bundle / source)
        replaced = (
            [f"controlnets.{kind}" for kind in self._options.kinds] if len(self._options.kinds) > 1 else []
        )
        name_part(bundle, self._part, source, instead_of=replaced)

    def _kinds(self, index: int) -> Kinds:
        """Which of the maps a picture has."""
        known = self._maps.kinds_of(index)
        return tuple(kind for kind in self._options.kinds if kind in known)

    def _guided(
        self, conditions: Conditions, chosen: Sequence[int], told: Sequence[Kinds], *, vary: bool = False
    ) -> Conditions:
        """The conditions with what the net makes of each picture's maps.

        Args:
            told: the kinds of each picture's maps.
            vary: read edges by thresholds that are drawn, as ControlNet's authors did.
        """
        together: dict[Kinds, list[int]] = {}  # a net takes the same kinds for all of a batch
        for row, kinds in enumerate(told):
            together.setdefault(kinds, []).append(row)
        maps = {
            kinds: [
                np.stack([self._maps.draw(kind, chosen[row], _control(vary)) for row in rows])
                for kind in kinds
            ]
            for kinds, rows in together.items()
        }
        back = torch.tensor([row for rows in together.values() for row in rows]).argsort()

        def residuals(noisy, timesteps, added):
            parts = [
                self._read(
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

        return replace(conditions, residuals=residuals)

    def _read(
        self,
        kinds: Kinds,
        maps: Sequence[torch.Tensor],
        noisy: torch.Tensor,
        timesteps: torch.Tensor,
        hidden: torch.Tensor,
        added: dict[str, torch.Tensor],
    ) -> tuple[Sequence[torch.Tensor], torch.Tensor]:
        """What the net makes of pictures that all have these kinds of maps, as `Nets` calls it at strength 1."""
        if isinstance(self.net, ControlNetModel):
            told = {"controlnet_cond": maps[0]}
        else:
            places = [UNION_KINDS[kind] for kind in kinds]
            types = noisy.new_zeros(len(noisy), self.net.config.num_control_type)
            types[:, places] = 1
            told = {"controlnet_cond": list(maps), "control_type": types, "control_type_idx": places}
        return self.net(noisy, timesteps, hidden, added_cond_kwargs=added, return_dict=False, **told)


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
