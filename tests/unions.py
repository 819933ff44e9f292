"""A tiny Union model in the published layout, untrained, yet it acts."""

import inspect
from pathlib import Path

import torch
from diffusers import ControlNetUnionModel, UNet2DConditionModel

from instantid.loading import UNION_MARK


def make_union(unet: UNet2DConditionModel, *, kinds: int = 6) -> ControlNetUnionModel:
    """A Union model that fits `unet`, with `kinds` control types (xinsir's has 6, its promax 8)."""
    width = unet.config.block_out_channels[0]
    known = inspect.signature(ControlNetUnionModel.__init__).parameters
    settings = {name: value for name, value in unet.config.items() if name in known}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        union = ControlNetUnionModel.from_config(
            settings
            | {
                "conditioning_embedding_out_channels": (16, 32, 96, 256),
                "num_control_type": kinds,
                "num_trans_channel": width,
                "num_trans_head": 4,
                "num_proj_channel": width,
            }
        )
        outlets = [*union.controlnet_down_blocks, union.controlnet_mid_block, union.spatial_ch_projs]
        for outlet in outlets:  # zero as built: the model would add nothing
            torch.nn.init.normal_(outlet.weight, std=outlet.weight[0].numel() ** -0.5)
        for layer in union.controlnet_cond_embedding.modules():
            if isinstance(layer, torch.nn.Conv2d):
                torch.nn.init.normal_(layer.weight, std=(2 / layer.weight[0].numel()) ** 0.5)
    assert UNION_MARK in union.state_dict()
    return union.eval()


def save_union(folder: Path, unet: UNet2DConditionModel, *, kinds: int = 6) -> Path:
    """The same as its publisher lays it out."""
    make_union(unet, kinds=kinds).save_pretrained(folder)
    return folder
