"""IdentityNet and the extra ControlNets as one: what the pipelines call at each step. Runs only what acts in it."""

from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import ControlNetModel, ControlNetUnionModel
from diffusers.models.controlnets.controlnet import ControlNetOutput
from diffusers.models.controlnets.multicontrolnet import MultiControlNetModel
from PIL import Image


@dataclass(frozen=True, eq=False)
class Guide:
    """An extra ControlNet's part in one picture.

    Args:
        name: of the control: "pose", "canny", "depth".
        net: a single ControlNet, or a Union model, which may serve several guides.
        map: RGB, of the canvas' size.
        strength: above 0.
        start, end: its window, in parts of the run.
        kind: which of a Union model's control types; None for a single ControlNet.
    """

    name: str
    net: ControlNetModel | ControlNetUnionModel
    map: Image.Image
    strength: float
    start: float = 0.0
    end: float = 1.0
    kind: int | None = None

    def acts_in(self, steps: int) -> bool:
        """Whether its window holds at least one whole step of a run of `steps`, as the pipelines count them."""
        return any(i / steps >= self.start and (i + 1) / steps <= self.end for i in range(steps))


class Nets(MultiControlNetModel):
    """IdentityNet first, then one entry per guide; strengths and maps are given to the pipelines in that order.

    A net whose scale is 0 in a step does not run (the pipelines multiply by 0 outside a net's window; InstantID
    and diffusers run it all the same). Guides of one Union model run in a single pass.
    """

    def __init__(self, identity_net: ControlNetModel, guides: Sequence[Guide]):
        super().__init__([identity_net, *(guide.net for guide in guides)])
        self._kinds = [None, *(guide.kind for guide in guides)]

    def forward(
        self,
        sample: torch.Tensor,
        timestep: torch.Tensor | float,
        encoder_hidden_states: torch.Tensor,
        controlnet_cond: list[torch.Tensor],
        conditioning_scale: list[float],
        return_dict: bool = True,
        **inputs: Any,
    ) -> ControlNetOutput | tuple[list[torch.Tensor], torch.Tensor]:
        """The residuals of all nets that act, summed in their order.

        Args:
            controlnet_cond: one map per entry, each (batch, 3, height, width), 0 to 1.
            conditioning_scale: one per entry, already 0 for those whose window this step lies outside.
        """
        down, mid = None, None
        for net, told in self._passes(sample, controlnet_cond, conditioning_scale):
            more, middle = net(
                sample, timestep, encoder_hidden_states, return_dict=False, **told, **inputs
            )  # called, not its forward: offloading hooks in there
            down = list(more) if down is None else [one + other for one, other in zip(down, more)]
            mid = middle if mid is None else mid + middle
        if down is None:  # nothing to add
            mid = sample.new_zeros(())
            down = [mid] * len(self.nets[0].controlnet_down_blocks)
        return ControlNetOutput(down, mid) if return_dict else (down, mid)

    def _passes(
        self, sample: torch.Tensor, maps: list[torch.Tensor], scales: list[float]
    ) -> Iterator[tuple[torch.nn.Module, dict[str, Any]]]:
        """Each network that acts in this step, once, and what is told to it alone."""
        together: dict[Hashable, list[int]] = {}
        for i, scale in enumerate(scales):
            if scale != 0:
                together.setdefault(i if self._kinds[i] is None else self.nets[i], []).append(i)
        for entries in together.values():
            net = self.nets[entries[0]]
            if self._kinds[entries[0]] is None:
                (i,) = entries
                yield net, {"controlnet_cond": maps[i], "conditioning_scale": scales[i]}
            else:
                kinds = [self._kinds[i] for i in entries]
                types = sample.new_zeros(len(sample), net.config.num_control_type)
                types[:, kinds] = (
                    1  # (batch, control types), as StableDiffusionXLControlNetUnionPipeline lays it out
                )
                yield (
                    net,
                    {
                        "controlnet_cond": [maps[i] for i in entries],
                        "conditioning_scale": [scales[i] for i in entries],
                        "control_type": types,
                        "control_type_idx": kinds,
                    },
                )
