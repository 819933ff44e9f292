"""A request's controls → guides: which ControlNet follows which map, how strongly and when. Owns the loaded nets."""

from collections.abc import Mapping

import torch
from diffusers import ControlNetModel, ControlNetUnionModel, UNet2DConditionModel
from PIL import Image

from .bundles import Bundle
from .controls import net_part, usable
from .errors import BundleError, InvalidRequest
from .loading import ControlNet, controlnet_bytes, load_controlnet
from .nets import Guide
from .request import Control, ControlName

# xinsir's order, kept by the promax variant: openpose, depth, soft edges, thin lines, normals, segments, …
UNION_KINDS: dict[ControlName, int] = {"pose": 0, "depth": 1, "canny": 3}


class ControlNets:
    """The extra ControlNets of a bundle. Each is loaded when it is first needed, and kept."""

    def __init__(self, bundle: Bundle):
        self._bundle = bundle
        self._loaded: dict[str, ControlNet] = {}

    def guides(
        self,
        controls: Mapping[ControlName, Control],
        maps: Mapping[str, Image.Image],
        unet: UNet2DConditionModel,
    ) -> list[Guide]:
        """What takes part in a picture, in the order of `controls`; what has strength 0 is left out.

        Args:
            maps: by control, RGB, of the canvas' size.
            unet: what the nets are to fit; those loaded now take its precision, and lie on the CPU.

        Raises:
            InvalidRequest: the bundle has no ControlNet for one of the controls.
            BundleError, DownloadError: a ControlNet cannot be loaded.
        """
        found = []
        for name, control in active(controls).items():
            part = check_control(self._bundle, name)
            found.append(
                Guide(
                    name=name,
                    net=self._net(part, unet),
                    map=maps[name],
                    strength=control.strength,
                    start=control.start,
                    end=control.end,
                    kind=UNION_KINDS[name] if _is_union(part) else None,
                )
            )
        return found

    def weight_bytes(self, dtype: torch.dtype) -> int:
        """Memory that the nets on this machine take once all are loaded; told by their descriptions alone."""
        parts = {net_part(self._bundle, name) for name in usable(self._bundle)}
        return sum(controlnet_bytes(self._bundle, part, dtype, _kind(part)) for part in parts)

    def _net(self, part: str, unet: UNet2DConditionModel) -> ControlNet:
        if part not in self._loaded:
            net = load_controlnet(self._bundle, part, unet, _kind(part))
            if _is_union(part) and net.config.num_control_type <= max(UNION_KINDS.values()):
                raise BundleError(
                    f"The {part} of the bundle “{self._bundle.name}” knows {net.config.num_control_type} kinds of "
                    f"maps; {max(UNION_KINDS.values()) + 1} at least are wanted, in the order of "
                    "xinsir/controlnet-union-sdxl-1.0."
                )
            self._loaded[part] = net
        return self._loaded[part]


def check_control(bundle: Bundle, name: ControlName) -> str:
    """The bundle's part that serves a control.

    Raises:
        InvalidRequest: it has none.
    """
    part = net_part(bundle, name)
    if part is None:
        raise InvalidRequest(f"The bundle “{bundle.name}” has no {name} ControlNet: set {name} to 0.")
    return part


def active(controls: Mapping[ControlName, Control]) -> dict[ControlName, Control]:
    """The controls that take part: those with a strength above 0."""
    return {name: control for name, control in controls.items() if control.strength > 0}


def _is_union(part: str) -> bool:
    return part == "controlnets.union"


def _kind(part: str) -> type[ControlNet]:
    return ControlNetUnionModel if _is_union(part) else ControlNetModel
