"""ControlNets as training begins with them: the UNet's first half, silent, and a way in that lets maps through."""

from typing import TypeVar

import torch
from diffusers import AutoencoderKL, ControlNetModel, UNet2DConditionModel
from torch import nn

from ..mini import map_channels

Net = TypeVar("Net", bound=ControlNetModel)


def begin_controlnet(
    unet: UNet2DConditionModel, vae: AutoencoderKL, kind: type[Net] = ControlNetModel
) -> Net:
    """A ControlNet that copies the UNet and adds nothing yet (Zhang et al. 2023, section 3.1); the same each time.

    Its maps are as large as pictures, and are halved as often as this VAE halves those.
    """
    channels = map_channels(len(vae.config.block_out_channels), unet.config.block_out_channels[0])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = kind.from_unet(unet, conditioning_embedding_out_channels=channels)
        # torch's own start would dim the map a thousandfold on its way in; He's keeps it. The last layer stays zero.
        way_in = net.controlnet_cond_embedding
        for layer in (way_in.conv_in, *way_in.blocks):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
    return net
